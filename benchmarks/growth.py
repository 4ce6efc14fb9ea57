"""Growth: what a list and an idle run take with 1,000,000 rows in each big table, against 10,000.

Both databases have the same shape. Some lists are made to be hard: a plan whose customers are the oldest of
all, a customer with a handful of rows among the million.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from benchmarks.bench import Bench
from benchmarks.client import billy_client
from benchmarks.figures import Figure, growth, side_by_side
from benchmarks.population import Billy, Population, guid, load_settings
from billy import clock
from billy.billing_run import run

SMALL = 10_000
LARGE = 1_000_000
PLANS = 100
BLOCK = 30
"""Lists, or runs, that are made in a row."""
BLOCKS = 5

OFTEN_BILLED = 100
"""Customers who have an invoice for each of many months; the others have one."""
MONTHS = 24

_CUSTOMER = f"/v1/customers/{guid('CU', 23)}"
_SUBSCRIPTION = f"/v1/subscriptions/{guid('SU', 23)}"
_PLAN = f"/v1/plans/{guid('PL', 7)}"
_OLD_PLAN = f"/v1/plans/{guid('PL', PLANS + 1)}"
_INVOICE = f"/v1/invoices/{guid('IV', 23)}"
LISTS = {
    "customers": "/v1/customers",
    "plans": "/v1/plans",
    "subscriptions": "/v1/subscriptions",
    "invoices": "/v1/invoices",
    "transactions": "/v1/transactions",
    "a customer's subscriptions": f"{_CUSTOMER}/subscriptions",
    "a customer's invoices": f"{_CUSTOMER}/invoices",
    "a customer's transactions": f"{_CUSTOMER}/transactions",
    "a plan's customers": f"{_PLAN}/customers",
    "an old plan's customers": f"{_OLD_PLAN}/customers",
    "a plan's subscriptions": f"{_PLAN}/subscriptions",
    "a plan's invoices": f"{_PLAN}/invoices",
    "a plan's transactions": f"{_PLAN}/transactions",
    "a subscription's invoices": f"{_SUBSCRIPTION}/invoices",
    "a subscription's transactions": f"{_SUBSCRIPTION}/transactions",
    "an invoice's transactions": f"{_INVOICE}/transactions",
    "customers by processor_uri": "/v1/customers?processor_uri=/customers/23",
    "customers by external_id": "/v1/customers?external_id=none",
    "plans by external_id": "/v1/plans?external_id=none",
    "subscriptions by external_id": "/v1/subscriptions?external_id=none",
    "invoices by external_id": "/v1/invoices?external_id=none",
    "invoices by invoice_type": "/v1/invoices?invoice_type=customer",
}


def measure(bench: Bench) -> Iterator[Figure]:
    """Each list, and a run that finds nothing to do."""
    sizes = (bench.size(SMALL), bench.size(LARGE))
    urls = [bench.server.migrated(f"growth_{size}") for size in sizes]
    small_key, large_key = (_fill(url, size) for url, size in zip(urls, sizes, strict=True))
    small_settings, large_settings = (load_settings(url) for url in urls)
    with billy_client(small_settings, small_key) as small, billy_client(large_settings, large_key) as large:
        for name, path in LISTS.items():
            yield _figure(f"growth, {name}", "lists/s", partial(small.get, path), partial(large.get, path))
    billys = [Billy.over(url) for url in urls]
    yield _figure("growth, a run with nothing due", "runs/s", *(partial(_idle_run, billy) for billy in billys))
    for billy in billys:
        billy.close()


def _figure(name: str, unit: str, small: Callable[[], object], large: Callable[[], object]) -> Figure:
    def rate(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        for _ in range(BLOCK):
            work()
        return BLOCK / (time.perf_counter() - began)

    small(), large()  # the first of a kind compiles its statement, and reads from the disk
    smalls, larges = side_by_side(lambda: rate(small), lambda: rate(large), times=BLOCKS)
    return growth(name, unit, smalls, larges)


def _idle_run(billy: Billy) -> None:
    summary = run(billy.sessions, billy.settings, billy.submitter, clock.utc_now())
    assert not any(summary.as_dict().values()), summary


def _fill(url: str, number: int) -> str:
    """Returns the API key. A tenth of the customers, the oldest, are those of an old plan."""
    population = Population(url)
    population.plans(PLANS + 1)
    old, new = range(1, number // 10 + 1), range(number // 10 + 1, number + 1)
    soon = population.now + timedelta(days=28)
    with population.in_bulk():
        population.customers(number)
        population.subscriptions(old, plans=range(PLANS + 1, PLANS + 2), next_invoice_at=soon)
        population.subscriptions(new, plans=range(1, PLANS + 1), next_invoice_at=soon)
        population.invoices(range(1, number + 1))
        for month in range(1, MONTHS):
            population.invoices(range(1, OFTEN_BILLED + 1), month=month, after=number + month * OFTEN_BILLED)
    population.close()
    return population.api_key
