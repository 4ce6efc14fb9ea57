"""Stripe's API, as far as Billy and its users touch it, as a program that can be told to misbehave.

Everything is kept in memory. Idempotency keys are replayed, answers of 500 too; a key with other values is
refused, and one that is being worked on is a 409. Each secret key is an account of its own::

    from billy.testing.stripe_simulator import Chaos, StripeSimulator

    with StripeSimulator.started() as simulator:
        key = simulator.new_key()
        method = simulator.payment_method(key, "succeeds")
        run_my_program(simulator.url, key, method)
        assert [intent["amount"] for intent in simulator.ledger()] == [1000]

``simulator.settle(id, "succeeded")`` ends a payment that is processing and calls back, ``simulator.dispute(id)``
opens a dispute, ``simulator.down()`` and ``.hanging()`` are outages, and ``simulator.chaos`` loses answers.

Simulated: customers, payment methods, payment intents, refunds, transfers, accounts, disputes, events and webhook
endpoints: create, retrieve, list with ``created`` and paging, attach, cancel, webhooks with signatures. Unknown
parameters are refused, as Stripe refuses them. Not simulated: search, expansion, everything else.
"""

from __future__ import annotations

from billy.testing.chaos import Chaos, Fault
from billy.testing.stripe_simulator.service import BEHAVIORS, Behavior
from billy.testing.stripe_simulator.simulator import StripeSimulator

__all__ = ["BEHAVIORS", "Behavior", "Chaos", "Fault", "StripeSimulator"]
