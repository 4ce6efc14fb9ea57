"""What stories are told with: a company's own client, and runs of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from billy.billing_run import run
from billy.models.run import Summary
from billy.verification import violations
from tests.support.client import Client

Bill = Callable[[], Summary]


@pytest.fixture
def bill(sessions: Any, settings: Any, submitter: Any, clock: Any) -> Bill:
    """One scheduler run at the clock's time."""
    return lambda: run(sessions, settings, submitter, clock.now)


@pytest.fixture
def company(api: Any, bystander: Any) -> Client:
    """The story's company; another one must not be touched by it."""
    client: Client = api.company()
    return client


@pytest.fixture(autouse=True)
def the_books_hold(sessions: Any) -> Iterator[None]:
    """However a story goes, no invariant is broken at its end."""
    yield
    with sessions() as session:
        assert list(violations(session)) == []


def at(text: str) -> datetime:
    """``2013-01-31`` or ``2013-01-31 10:00`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def subscribe(
    company: Client, *, frequency: str = "monthly", amount: int = 1000, card: str = "/cards/ok", **params: Any
) -> dict[str, Any]:
    """A customer on a new plan."""
    plan = company.post("/v1/plans", {"plan_type": "debit", "frequency": frequency, "amount": amount}).json
    customer = company.post("/v1/customers").json
    subscription = {"plan_guid": plan["guid"], "customer_guid": customer["guid"], "funding_instrument_uri": card}
    answer: dict[str, Any] = company.post("/v1/subscriptions", {**subscription, **params}).json
    return answer


def invoices_of(company: Client, subscription: dict[str, Any]) -> list[dict[str, Any]]:
    """All its invoices, oldest first."""
    page = company.get(f"/v1/subscriptions/{subscription['guid']}/invoices", {"limit": 1000}).json
    return list(reversed(page["items"]))


def transactions_of(company: Client, subscription: dict[str, Any]) -> list[dict[str, Any]]:
    """All its transactions, oldest first."""
    page = company.get(f"/v1/subscriptions/{subscription['guid']}/transactions", {"limit": 1000}).json
    return list(reversed(page["items"]))


def days_of(invoices: list[dict[str, Any]]) -> list[str]:
    """The dates they are for."""
    return [invoice["scheduled_at"][:10] for invoice in invoices]
