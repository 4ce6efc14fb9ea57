"""A thousand charges over a network that loses, delays, halves and denies what was done: each happens once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import urllib3
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.models import Invoice, InvoiceStatus
from billy.settings import Settings
from billy.submission import Submitter
from billy.testing.balanced_simulator import BalancedSimulator, Chaos
from billy.verification import violations
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

CHARGES = 1000
COMPANIES = 4
PATIENCE = 180
"""Seconds. It takes some twenty on an idle machine."""

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
}
"""Every fault there is but a delivery in duplicate, from which a processor without idempotency saves nobody."""


@pytest.fixture
def simulator() -> Iterator[BalancedSimulator]:
    with BalancedSimulator.started() as simulator:
        yield simulator


@pytest.fixture
def ini(ini: dict[str, str], simulator: BalancedSimulator) -> dict[str, str]:
    return {
        **ini,
        "billy.processor_factory": "billy.processors.balanced.Balanced",
        "billy.balanced.base_url": simulator.url,
        # Short enough to wait for; what the network delays is done before a look-up is conclusive.
        "billy.transaction.call_deadline": "0.6s",
        "billy.transaction.lease": "1.8s",
        "billy.transaction.settle_time": "0.5s",
        "billy.transaction.silence_schedule": "0.3s",
    }


@pytest.fixture
def due(make: Factories, clock: FrozenClock, simulator: BalancedSimulator, bystander: Bystander) -> None:
    """A thousand subscriptions of several companies with an invoice due each."""
    clock.now = datetime.now(UTC)
    for _ in range(COMPANIES):
        key = simulator.new_key()
        company = make.company(processor_key=key)
        customer, plan = make.customer(company), make.plan(company)
        card = new_card(simulator, key)
        for _ in range(CHARGES // COMPANIES):
            make.subscription(company, customer=customer, plan=plan, funding_instrument_uri=card)


def new_card(simulator: BalancedSimulator, key: str) -> str:
    card = {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2039}
    headers = urllib3.make_headers(basic_auth=f"{key}:")
    href: str = urllib3.request("POST", f"{simulator.url}/cards", json=card, headers=headers).json()["cards"][0]["href"]
    return href


@pytest.mark.postgresql
def test_a_thousand_charges_over_a_bad_network_are_a_thousand_in_the_processors_ledger(
    due: None,
    simulator: BalancedSimulator,
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
    ledger = [entry for entry in simulator.ledger() if entry.status != "failed"]
    assert len(ledger) == CHARGES
    assert len({entry.meta["billy.transaction_guid"] for entry in ledger}) == CHARGES
    with sessions() as session:
        assert list(violations(session)) == []
