"""Filing: however often and however late it runs, and wherever it stops, each period has one invoice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billy.models import Frequency, InvoiceStatus, PlanType
from billy.models.schedule import due_at
from billy.models.subscription import DueSubscription, file_missed

START = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)

subscriptions = st.builds(
    DueSubscription,
    company_guid=st.just("CP1"),
    guid=st.just("SU1"),
    customer_guid=st.just("CU1"),
    plan_guid=st.just("PL1"),
    plan_type=st.sampled_from(PlanType),
    frequency=st.sampled_from(Frequency),
    interval=st.integers(1, 5),
    amount=st.integers(50, 10_000),
    funding_instrument_uri=st.sampled_from([None, "/cards/1"]),
    appears_on_statement_as=st.none(),
    started_at=st.just(START),
    next_invoice_at=st.just(START),
    invoice_count=st.just(0),
)
runs = st.lists(st.tuples(st.integers(0, 120), st.integers(1, 50)), min_size=1, max_size=8)


def file_in_runs(due: DueSubscription, runs: list[tuple[int, int]]) -> tuple[DueSubscription, list[Any], list[Any]]:
    """What several runs file, each so many days after the one before and with a bound of its own."""
    invoices, transactions, now = [], [], START - timedelta(days=30)
    for days, most in runs:
        now += timedelta(days=days)
        filed = file_missed(due, now, most=most)
        assert len(filed.invoices) <= most
        invoices += filed.invoices
        transactions += filed.transactions
        due = replace(due, invoice_count=filed.invoice_count, next_invoice_at=filed.next_invoice_at)
    # … and a last one that has no bound.
    filed = file_missed(due, now)
    due = replace(due, invoice_count=filed.invoice_count, next_invoice_at=filed.next_invoice_at)
    assert due.next_invoice_at > now
    return due, invoices + filed.invoices, transactions + filed.transactions


@given(subscriptions, runs)
def test_each_period_is_filed_once_at_its_own_date_whenever_runs_come(
    due: DueSubscription, runs: list[tuple[int, int]]
) -> None:
    after, invoices, _ = file_in_runs(due, runs)

    numbers = range(len(invoices))
    assert [invoice["scheduled_at"] for invoice in invoices] == [
        due_at(START, due.frequency, due.interval, number) for number in numbers
    ]
    assert after.invoice_count == len(invoices)
    assert after.next_invoice_at == due_at(START, due.frequency, due.interval, len(invoices))


@given(subscriptions, runs)
def test_guids_are_in_the_order_of_periods_over_all_runs(due: DueSubscription, runs: list[tuple[int, int]]) -> None:
    _, invoices, transactions = file_in_runs(due, runs)

    for made in (invoices, transactions):
        guids = [row["guid"] for row in made]
        assert guids == sorted(set(guids))


@given(subscriptions, runs, runs)
def test_a_period_has_the_same_submission_key_whichever_run_files_it(
    due: DueSubscription, some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    due = replace(due, funding_instrument_uri="/cards/1")
    _, _, first = file_in_runs(due, some)
    _, _, second = file_in_runs(due, others)

    keys, others_keys = ([charge["submission_key"] for charge in charges] for charges in (first, second))
    both = min(len(keys), len(others_keys))
    assert keys[:both] == others_keys[:both]
    assert len({*keys, *others_keys}) == max(len(keys), len(others_keys))


@given(subscriptions, runs)
def test_an_invoice_has_one_charge_over_its_amount_if_there_is_an_instrument(
    due: DueSubscription, runs: list[tuple[int, int]]
) -> None:
    _, invoices, transactions = file_in_runs(due, runs)

    charged = [(charge["invoice_guid"], charge["amount"]) for charge in transactions]
    if due.funding_instrument_uri is None:
        assert charged == []
        assert {invoice["status"] for invoice in invoices} <= {InvoiceStatus.STAGED}
    else:
        assert charged == [(invoice["guid"], due.amount) for invoice in invoices]
        assert {invoice["status"] for invoice in invoices} <= {InvoiceStatus.PROCESSING}
