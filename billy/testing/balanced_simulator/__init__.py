"""Balanced Payments, revision 1.1 of its API, as a program that can be told to misbehave.

The service closed in 2015. What is here speaks its protocol, as far as recorded answers, the vendor's
specification and the vendor's own client tell it, so that an adapter can be tested over real HTTP. Everything
is kept in memory. There is no idempotency, as there was none: two identical POSTs are two charges::

    from billy.testing.balanced_simulator import BalancedSimulator, Chaos

    with BalancedSimulator.started() as simulator:
        key = simulator.new_key()           # the user name for basic auth
        run_my_program(simulator.url, key)
        assert [entry.amount for entry in simulator.ledger()] == [1000]

``simulator.settle(href, "succeeded")`` ends a pending record and calls back, ``simulator.down()`` and
``.hanging()`` are outages, and ``simulator.chaos = Chaos(probabilities={"drop-after": 0.1}, seed=1)`` loses
one answer in ten after the charge. Magic card numbers misbehave one by one.

``billy balanced-simulator`` serves the same, and ``/simulator/…`` tells and does the same over HTTP:
``docs/balanced_simulator.md``. ``BalancedSimulator(…).app`` is a WSGI application for other servers.

Not simulated: orders, settlements and external accounts (their lists are empty), ``/transactions``, form
encoding, and limits that nobody documented.
"""

from __future__ import annotations

from billy.testing.balanced_simulator.app import App
from billy.testing.balanced_simulator.courier import Delivery
from billy.testing.balanced_simulator.magic import CARDS, OUR_CARDS
from billy.testing.balanced_simulator.service import Entry, by_submission_key
from billy.testing.balanced_simulator.simulator import BalancedSimulator
from billy.testing.chaos import Chaos, Fault
from billy.testing.http_app import Received

__all__ = [
    "CARDS",
    "OUR_CARDS",
    "App",
    "BalancedSimulator",
    "Chaos",
    "Delivery",
    "Entry",
    "Fault",
    "Received",
    "by_submission_key",
]
