"""The same thousand charges by Stripe, whose server knows idempotency and whose network also delivers twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.models import Invoice, InvoiceStatus
from billy.settings import Settings
from billy.submission import Submitter
from billy.testing.stripe_simulator import Chaos, StripeSimulator
from billy.verification import violations
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

CHARGES = 1000
CUSTOMERS = 40
"""Of four companies. A look-up reads all that a customer was charged."""
PATIENCE = 180
"""Seconds. It takes some thirty on an idle machine."""

FAULTS = {
    "drop-before": 0.03,
    "error-before": 0.03,
    "slow-down": 0.03,
    "delay-before": 0.02,
    "drop-after": 0.03,
    "error-after": 0.03,
    "half": 0.03,
    "trickle": 0.02,
    "delay-after": 0.02,
    "twice": 0.03,
}
"""Every fault there is."""


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator.started() as simulator:
        yield simulator


@pytest.fixture
def ini(ini: dict[str, str], simulator: StripeSimulator) -> dict[str, str]:
    return {
        **ini,
        "billy.processor_factory": "billy.processors.stripe.Stripe",
        "billy.stripe.base_url": simulator.url,
        # Short enough to wait for; what the network delays is done before a look-up is conclusive.
        "billy.transaction.call_deadline": "0.6s",
        "billy.transaction.lease": "1.8s",
        "billy.transaction.settle_time": "0.5s",
        "billy.transaction.silence_schedule": "0.3s",
    }


@pytest.fixture
def due(
    make: Factories, clock: FrozenClock, settings: Settings, simulator: StripeSimulator, bystander: Bystander
) -> None:
    """A thousand subscriptions with an invoice due each."""
    clock.now = datetime.now(UTC)
    stripe = settings.make_processor_factory()
    for number in range(CUSTOMERS):
        if number % 10 == 0:
            key = simulator.new_key()
            company = make.company(processor_key=key)
            plan = make.plan(company)
        uri = stripe(key).create_customer(f"CU{number}")
        customer = make.customer(company, processor_uri=uri)
        method = simulator.payment_method(key, "succeeds")
        for _ in range(CHARGES // CUSTOMERS):
            make.subscription(company, customer=customer, plan=plan, funding_instrument_uri=method)


@pytest.mark.postgresql
def test_a_thousand_charges_over_a_bad_network_are_a_thousand_in_stripes_ledger(
    due: None,
    simulator: StripeSimulator,
    sessions: sessionmaker[Session],
    settings: Settings,
    submitter: Submitter,
    clock: FrozenClock,
) -> None:
    simulator.chaos = Chaos(probabilities=FAULTS, methods=("GET", "POST"), delay=0.8, seed=1)
    statuses: Counter[InvoiceStatus] = Counter()
    give_up = time.monotonic() + PATIENCE
    while statuses[InvoiceStatus.SETTLED] < CHARGES:
        assert time.monotonic() < give_up, f"after {PATIENCE} s: {statuses}"
        clock.now = datetime.now(UTC)
        run(sessions, settings, submitter, clock.now, concurrency=32)
        with sessions() as session:
            statuses = Counter(session.scalars(select(Invoice.status).where(Invoice.subscription_guid.is_not(None))))

    faults = simulator.chaos.shown()["injected"]
    assert set(faults) == set(FAULTS), f"not every fault was met: {faults}"
    ledger = simulator.ledger()
    assert len(ledger) == CHARGES
    assert {intent["status"] for intent in ledger} == {"succeeded"}
    assert len({intent["metadata"]["billy.transaction_guid"] for intent in ledger}) == CHARGES
    with sessions() as session:
        assert list(violations(session)) == []
