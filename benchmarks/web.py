"""Requests a second over one connection: Billy against a bare Pyramid application over the bare driver.

Both are behind the same server with the same settings (``served``), on databases that were equal, and answer the
same to the letter. Client, server and PostgreSQL take turns, so the figure is what a request takes in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count

import orjson

from benchmarks.bench import Bench
from benchmarks.figures import Figure, side_by_side, speed
from benchmarks.population import SECRET_KEY, a_month_ago, guid
from benchmarks.served import Client, served

ROWS = 10_000
BLOCK = 200
"""Requests that are made in a row."""
BLOCKS = 9

_OWN = {"guid", "created_at", "updated_at"}
"""What cannot be the same in the answers to two POSTs."""


def measure(bench: Bench) -> Iterator[Figure]:
    """The four kinds of requests that matter most."""
    url = bench.server.migrated("web")
    population = a_month_ago(url, bench.size(ROWS))
    population.close()
    with (
        bench.server.copied("web") as copy,
        served("floor", copy, SECRET_KEY, population.api_key) as floor,
        served("billy", url, SECRET_KEY, population.api_key) as billy,
    ):
        yield from _side_by_side(bench, floor, billy)


def _side_by_side(bench: Bench, floor: Client, billy: Client) -> Iterator[Figure]:
    numbers = count()

    def get_subscription(client: Client) -> bytes:
        return client.get(f"/v1/subscriptions/{guid('SU', 1 + next(numbers) % bench.size(ROWS))}")

    def post_invoice(client: Client) -> bytes:
        return client.post("/v1/invoices", f"customer_guid={guid('CU', 7)}&amount=1000".encode())

    path = f"/v1/subscriptions/{guid('SU', 7)}"
    for request in (lambda client: client.get(path), _get_transactions, _get_invoices, post_invoice):
        with floor.connected(), billy.connected():
            bare, ours = (orjson.loads(request(client)) for client in (floor, billy))
        assert _comparable(bare) == _comparable(ours), f"the floor does other work: {bare} {ours}"
    yield _figure(bench, "GET a subscription", floor, billy, get_subscription, least=0.5, aim=0.7)
    yield _figure(bench, "list 20 transactions", floor, billy, _get_transactions, least=0.35, aim=0.6)
    yield _figure(bench, "list 20 invoices", floor, billy, _get_invoices, least=0.35, aim=0.6)
    yield _figure(bench, "POST an invoice", floor, billy, post_invoice, least=0.4, aim=0.7)


def _get_transactions(client: Client) -> bytes:
    return client.get("/v1/transactions")


def _get_invoices(client: Client) -> bytes:
    return client.get("/v1/invoices")


def _comparable(answer: dict[str, object]) -> dict[str, object]:
    is_new = answer.get("invoice_type") == "customer"
    return {name: value for name, value in answer.items() if not (is_new and name in _OWN)}


def _figure(
    bench: Bench,
    name: str,
    floor: Client,
    billy: Client,
    request: Callable[[Client], bytes],
    *,
    least: float,
    aim: float,
) -> Figure:
    block = bench.size(BLOCK)

    def rate(client: Client) -> float:
        with client.connected():
            began = time.perf_counter()
            for _ in range(block):
                request(client)
            return block / (time.perf_counter() - began)

    floors, billys = side_by_side(lambda: rate(floor), lambda: rate(billy), times=BLOCKS)
    return speed(name, "requests/s", floors, billys, least=least, aim=aim)
