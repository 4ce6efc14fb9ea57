"""How fast Billy is, as ratios to floors that are measured in the same run.

A floor is what the same work costs with the bare driver and no code of Billy's: the same rows in the same
tables with the same indexes, on the same server, a moment before or after. So a ratio means the same on a
fast machine and on a slow or busy one. ``python -m benchmarks`` (``make bench``) measures everything.

==============  =================================================================================
server          PostgreSQL of our own, with ``fsync = on``, and copies of databases in it
population      rows by the thousand, ``INSERT … SELECT generate_series``
processor       a processor that always says yes, after a given time
figures         medians, ratios, and what they have to be
report          the table, and the same as JSON
filing          invoices a second
submitting      transactions a second, from claim to recorded invoice
bare            what a web request costs without Billy
served          Billy and that behind the server of production.ini
web             requests a second
client          requests without a server
growth          the same with a hundred times as many rows
memory          the peak of a long run
processes       many runs over one database
==============  =================================================================================
"""
