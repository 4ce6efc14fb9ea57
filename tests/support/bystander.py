"""Another company, which no test means: not one of its rows may move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from billy.db import read_only
from billy.models import Base, Company, Customer, Invoice, Plan, Subscription
from tests.support.factories import Factories

# No clock that a test moves comes this far, so nothing of the bystander's is ever due by right.
FAR_AWAY = datetime(2999, 1, 1, tzinfo=UTC)


@dataclass
class Bystander:
    """One record of each kind, among them what a careless query would catch: an open charge, a refund."""

    company: Company
    api_key: str
    plan: Plan
    customer: Customer
    subscription: Subscription
    staged: Invoice
    """Waits for an instrument."""
    invoice: Invoice
    """Has an open charge."""
    settled: Invoice
    """Has a charge that succeeded."""


def make_bystander(make: Factories) -> Bystander:
    """A company with one record of each kind, none of them due."""
    company = make.company(processor_key="the-bystander's-processor-key", name="Bystander")
    plan = make.plan(company, external_id="the-bystander's-plan")
    customer = make.customer(company, external_id="the-bystander's-customer")
    return Bystander(
        company=company,
        api_key=make.keys[company.guid],
        plan=plan,
        customer=customer,
        subscription=make.subscription(company, customer=customer, plan=plan, started_at=FAR_AWAY),
        staged=make.invoice(company, customer=customer, external_id="the-bystander's-order"),
        invoice=make.invoice(
            company, customer=customer, funding_instrument_uri="/cards/ok", charge={"next_attempt_at": FAR_AWAY}
        ),
        settled=make.paid_invoice(company, customer=customer, processor_uri="/debits/the-bystander's"),
    )


def snapshot(engine: Engine, bystander: Bystander) -> dict[str, list[dict[str, Any]]]:
    """All its rows, by table, as plain values."""
    rows = {}
    with read_only(engine).connect() as connection:
        for table in Base.metadata.sorted_tables:
            owner = table.c.get("company_guid", table.c.guid if table.name == "company" else None)
            if owner is not None:
                statement = table.select().where(owner == bystander.company.guid).order_by(*table.primary_key)
                rows[table.name] = [dict(row) for row in connection.execute(statement).mappings()]
    return rows


@contextmanager
def unmoved(engine: Engine, bystander: Bystander) -> Iterator[None]:
    """Assert that the block leaves every row of the bystander as it was."""
    before = snapshot(engine, bystander)
    yield
    assert snapshot(engine, bystander) == before, "a row of a company that had no part in this was changed"
