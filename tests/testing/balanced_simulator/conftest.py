"""A simulator on a port of its own, a company with a key, a stranger without one, and a bystander."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from tests.testing.balanced_simulator.client import Client, client_of


@pytest.fixture
def simulator() -> Iterator[BalancedSimulator]:
    """It is slow for so long that nobody waits for it, and tries again at once."""
    with BalancedSimulator.started(slow=60, retry_delay=0.01) as simulator:
        yield simulator


@pytest.fixture
def api(simulator: BalancedSimulator, bystanding: None) -> Iterator[Client]:
    """A company with a marketplace and much in its escrow. Nothing that it does may move the bystander."""
    with client_of(simulator.url, simulator.new_key()) as client:
        yield client


@pytest.fixture
def stranger(simulator: BalancedSimulator, bystanding: None) -> Iterator[Client]:
    """Somebody without a key."""
    with client_of(simulator.url, None) as client:
        yield client


@pytest.fixture
def other(simulator: BalancedSimulator) -> Iterator[Client]:
    """Another company, with a record of each kind."""
    with client_of(simulator.url, simulator.new_key()) as client:
        customer = client.customer(name="Bystander")
        card = client.card("4342561111111118")
        client.put(card["href"], {"customer": customer["href"]})
        debit = client.debit(card, meta={"billy.submission_key": "bystander-1"})
        client.post(f"{debit['href']}/refunds", {"amount": 10})
        client.post(f"{card['href']}/card_holds", {"amount": 10})
        credit = client.credit(client.verified())
        client.post(f"{credit['href']}/reversals", {"amount": 10})
        simulator.settle(client.debit()["href"], "disputed")
        client.post("/callbacks", {"url": "http://127.0.0.1:9/bystander"})
        yield client


@pytest.fixture
def bystanding(simulator: BalancedSimulator, other: Client) -> Iterator[None]:
    """After the test, not one record of the other company may have changed."""
    assert other.key is not None
    company = simulator.store.by_key[other.key]

    def records() -> dict[str, object]:
        with simulator.store.lock:
            return {record.id: copy.deepcopy(record.shown()) for record in company.records.values()}

    before = records()
    yield
    assert records() == before, "another company, which had no part in this, has changed"
