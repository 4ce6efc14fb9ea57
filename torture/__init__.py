"""Whether Billy ever loses or doubles a charge: programs that do to it what production will.

Every case gets a world of its own (a database, a processor's ledger in a file, an ini), real processes do
the work in it, something terrible happens to them, and after the lease another run goes over what is left.
Then the books are compared with the ledger. The sandbox's idempotency is off: a ledger that forgives would
hide what we look for; Balanced has none. ``python -m torture --seconds 300 --seed 1`` (``make torture``) does it all.

==================  =====================================================================================
crash_points        SIGKILL before and after every commit and every call of a processor
bad_network         Balanced behind real sockets, and everything that can happen between
bad_database        restarts, cut connections, locks, full disks, deadlocks
bad_times           suspended processes, slow calls, wrong clocks, restored back-ups
constraints         a Billy that forgets a check, which the database has to stop
races               the API from several threads against runs in four processes
model               any story over the real API, compared with a simple model after each step
------------------  -----------------------------------------------------------------------------------
case                a case, and what it came to
watch               the points of a process at which something can happen to it
world, scenes       the database, ledger and ini of a case, and what is in them at the beginning
processes, acts     processes, and what is done in one
stage               a world with its processes, as a case handles it
audit               the books against the ledger
==================  =====================================================================================

The product has no hook for any of this: ``watch`` finds the commits and calls by itself, and names them, so
a new step is covered on the day it is written.

Whether the torture would notice is tried by hand. In a copy of the checkout take one safeguard away, and it
must fail: the fence (``_is_held`` in ``billy.recording``), the doubt (``in_doubt=True`` of the claims), the
look-up (in ``Submitter.perform``), ``uq_transaction_charge_alive`` (in the migration).
"""

import warnings

# Pyramid 2.1 imports it; there is nothing that somebody who tortures Billy could do about that.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
