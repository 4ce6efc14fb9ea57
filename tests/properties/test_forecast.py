"""The forecast: what it says of a day is what is filed on that day."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billy.forecast import Expected, Forecast
from billy.models import Frequency, InvoiceStatus, PlanType, TransactionType
from billy.models.schedule import due_at
from billy.models.subscription import DueSubscription, Filed, file_missed

NOW = datetime(2024, 2, 27, 13, 30, tzinfo=UTC)


@st.composite
def subscriptions(draw: Any) -> DueSubscription:
    """On any schedule that began in the last three years or begins in the next two months, some invoices behind."""
    started_at = NOW + timedelta(minutes=draw(st.integers(-3 * 365 * 24 * 60, 60 * 24 * 60)))
    due = DueSubscription(
        company_guid="CP1",
        guid="SU1",
        customer_guid="CU1",
        plan_guid="PL1",
        plan_type=draw(st.sampled_from(PlanType)),
        frequency=draw(st.sampled_from(Frequency)),
        interval=draw(st.integers(1, 3)),
        amount=draw(st.integers(0, 10_000)),
        funding_instrument_uri=draw(st.sampled_from([None, "/cards/1"])),
        appears_on_statement_as=None,
        started_at=started_at,
        next_invoice_at=started_at,
        invoice_count=0,
    )
    up_to_date = file_missed(due, NOW, most=10_000)
    count = max(up_to_date.invoice_count - draw(st.integers(0, 3)), 0)
    next_at = due_at(started_at, due.frequency, due.interval, count)
    return replace(due, invoice_count=count, next_invoice_at=next_at)


@given(st.lists(subscriptions(), max_size=5), st.integers(1, 70))
def test_what_is_foretold_of_a_day_is_filed_on_that_day(subscriptions: list[DueSubscription], days: int) -> None:
    forecast = Forecast.blank(NOW, days)
    for due in subscriptions:
        forecast.file(due)

    assert len(forecast.days) == days
    foretold = {None: forecast.overdue, **{day.day: day.expected for day in forecast.days}}
    assert {day: expected for day, expected in foretold.items() if expected.invoices} == filed(subscriptions, days)


def filed(subscriptions: list[DueSubscription], days: int) -> dict[date | None, Expected]:
    """What runs at ``NOW`` (None) and at the end of each of these days file."""
    midnight = datetime.combine(NOW.date(), time(), UTC)
    runs = [midnight + timedelta(days=number + 1, microseconds=-1) for number in range(days)]
    found: dict[date | None, Expected] = {}
    for due in subscriptions:
        for day, now in [(None, NOW), *((at.date(), at) for at in runs)]:
            rows = file_missed(due, now)
            due = replace(due, invoice_count=rows.invoice_count, next_invoice_at=rows.next_invoice_at)
            if rows.invoices:
                count(found.setdefault(day, Expected()), rows)
    return found


def count(expected: Expected, rows: Filed) -> None:
    expected.invoices += len(rows.invoices)
    expected.charges += len(rows.transactions)
    for charge in rows.transactions:
        name = charge["transaction_type"].value
        setattr(expected, name, getattr(expected, name) + charge["amount"])
    for invoice in rows.invoices:
        if invoice["status"] is InvoiceStatus.STAGED:
            expected.waiting += 1
            expected.waiting_amount += invoice["amount"]


@given(subscriptions(), st.integers(1, 40))
def test_the_days_and_what_is_overdue_add_up_to_the_total(due: DueSubscription, days: int) -> None:
    forecast = Forecast.blank(NOW, days)
    forecast.file(due)
    for amount, minutes in ((500, -1), (700, 1), (900, 60 * 24 * days - 60 * 14)):
        forecast.attempt(TransactionType.REFUND, amount, NOW + timedelta(minutes=minutes))

    parts = [forecast.overdue, *(day.expected for day in forecast.days)]
    for each in fields(Expected):
        assert getattr(forecast.total, each.name) == sum(getattr(part, each.name) for part in parts)
    assert (forecast.overdue.attempts_refund, forecast.total.attempts_refund) == (500, 2100)
