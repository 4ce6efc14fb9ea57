"""Many at once: nothing is lost, nothing is counted twice, and nothing is made of nothing."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import urllib3

from billy.testing.balanced_simulator import BalancedSimulator, Chaos, Fault, by_submission_key
from tests.testing.balanced_simulator.client import Client

THREADS = 32
CHARGES = 1000


def test_the_ledger_counts_exactly_what_was_acted_on(api: Client, simulator: BalancedSimulator) -> None:
    """A thousand charges by somebody who looks up when in doubt, as Billy does, with everything going wrong."""
    card = api.card()
    simulator.chaos = Chaos(
        probabilities={
            **dict.fromkeys((Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER), 0.05),
            **dict.fromkeys((Fault.HALF, Fault.SLOW_DOWN, Fault.DELAY_AFTER), 0.05),
        },
        seed=random.randrange(10**6),
        delay=0.01,
    )
    answered = Counter[str]()
    lock = threading.Lock()

    def charge(number: int) -> None:
        key = f"TX{number}-1"
        body = {"amount": 100 + number, "meta": {"billy.submission_key": key}}
        while not api.get(f"/debits?meta.billy.submission_key={key}&status[in]=pending,succeeded,failed").items:
            try:
                status = api.send("POST", f"{card['href']}/debits", body).status
            except urllib3.exceptions.ProtocolError:
                status = 0
            with lock:
                answered["yes" if status == 201 else "no"] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(charge, range(CHARGES)))

    entries = simulator.ledger(key=api.key)
    assert by_submission_key(entries) == {
        f"TX{number}-1": {"total": 1, "not_failed": 1} for number in range(CHARGES)
    }
    assert sorted(entry.amount for entry in entries) == [100 + number for number in range(CHARGES)]
    injected = Counter(received.fault for received in simulator.requests() if received.fault)
    assert sum(injected.values()) > CHARGES / 5
    assert dict(injected) == simulator.chaos.shown()["injected"]
    lost_after = injected[Fault.DROP_AFTER] + injected[Fault.ERROR_AFTER] + injected[Fault.HALF]
    assert answered["yes"] == CHARGES - lost_after


def test_refunds_at_once_do_not_exceed_their_debit(api: Client, simulator: BalancedSimulator) -> None:
    debit = api.debit(amount=1000)
    with ThreadPoolExecutor(THREADS) as pool:
        statuses = list(
            pool.map(lambda _: api.send("POST", f"{debit['href']}/refunds", {"amount": 100}).status, range(THREADS))
        )
    assert statuses.count(201) == 10
    assert sum(entry.amount for entry in simulator.ledger(key=api.key) if entry.type == "refunds") == 1000


def test_a_card_is_claimed_by_one_of_many(simulator: BalancedSimulator, stranger: Client) -> None:
    details = {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2999}
    token = stranger.post("/cards", details).item
    clients = [Client(simulator.url, simulator.new_key()) for _ in range(8)]
    barrier = threading.Barrier(len(clients))

    def claim(client: Client) -> int:
        barrier.wait()
        return client.send("GET", token["href"]).status

    with ThreadPoolExecutor(len(clients)) as pool:
        statuses = list(pool.map(claim, clients))
    for client in clients:
        client.pool.clear()
    assert sorted(statuses) == [200] + [404] * 7


def test_a_number_of_attempts_is_kept_under_fire(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card("4999990000000049")
    with ThreadPoolExecutor(8) as pool:
        path = f"{card['href']}/debits"
        statuses = Counter(pool.map(lambda _: api.send("POST", path, {"amount": 1}).status, range(40)))
    assert statuses == {402: 2, 201: 38}
