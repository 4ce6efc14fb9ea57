"""Billy, a recurring billing server.

==============  =================================================================================
app             the WSGI application, put together from top to bottom
settings        every option of the ini
models          the rules: plans, customers, subscriptions, invoices, transactions
processors      adapters to payment processors
api             HTTP: what is accepted, what is answered, what goes wrong
submission      claim, commit, call, record: where the database and a processor meet
books           the invoices that something is recorded on, locked and written together
recording       what an answer or an event of a processor means for the records
reconciliation  asking the processor about what it has not told
recovery        after a restore: what the books may lack is looked up first
billing_run     one run of the scheduler: file what is due, submit what is open, reconcile; callers are its threads
standing        how the books stand, counted once; metrics tells it to Prometheus
overview        the same with the records behind it, and what needs a person: billy status
chronicle       the story of one record, in the order of time: billy show
forecast        what will be filed and charged: billy forecast
scripts         the commands
client          a client of the API, which needs nothing else of this package
testing         a simulator of a processor's service, for the tests of whoever needs one
db, schema      engine, sessions, commits; migrations
statements      the statements that a run lives from, and that the two databases do differently
verification    whether the books hold, asked in SQL
errors          everything that is raised on purpose
clock, guid     what time it is, ids that sort by it
secrets, log    keys at rest, and logs that do not tell them, gunicorn's own (gunicorn_log) included
==============  =================================================================================
"""

from __future__ import annotations

from typing import Any


def main(global_config: dict[str, str], **ini: Any) -> Any:
    """The WSGI application for an ini's section that says ``use = egg:billy``."""
    from billy.app import main  # late, so that importing billy loads no web framework

    return main(global_config, **ini)
