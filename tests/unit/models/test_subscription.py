"""Filing, one invoice for each period; and what a change or a cancel means for what comes next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from billy.errors import InvalidOperationError, MoneyMoving
from billy.models import (
    Company,
    Customer,
    Frequency,
    Invoice,
    InvoiceStatus,
    InvoiceType,
    Plan,
    PlanType,
    SubmitStatus,
    Subscription,
    TransactionStatus,
    TransactionType,
    lock_invoice,
    lock_invoices,
)
from billy.models.subscription import DueSubscription, Filed, file_missed
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


def due(**values: Any) -> DueSubscription:
    """A monthly subscription over 1000 cents that begins at START and has filed nothing yet."""
    defaults: dict[str, Any] = {
        "company_guid": "CP1",
        "guid": "SU1",
        "customer_guid": "CU1",
        "plan_guid": "PL1",
        "plan_type": PlanType.DEBIT,
        "frequency": Frequency.MONTHLY,
        "interval": 1,
        "amount": 1000,
        "funding_instrument_uri": "/cards/1",
        "appears_on_statement_as": "Trees Inc",
        "started_at": START,
        "next_invoice_at": START,
        "invoice_count": 0,
    }
    return DueSubscription(**{**defaults, **values})


def day(month: int, number: int) -> datetime:
    return START.replace(month=month, day=number)


def periods(filed: Filed) -> list[datetime]:
    return [invoice["scheduled_at"] for invoice in filed.invoices]


@pytest.fixture
def subscription(now: datetime) -> Subscription:
    """On paper, of a plan that nobody needs to look at."""
    return Subscription(
        guid="SU1",
        funding_instrument_uri="/cards/1",
        next_invoice_at=now,
        invoice_count=3,
        created_at=now,
        updated_at=now,
    )


# Filing


def test_nothing_is_filed_before_a_period_begins() -> None:
    filed = file_missed(due(), START - timedelta(microseconds=1))

    assert (filed.invoices, filed.transactions) == ([], [])
    assert (filed.invoice_count, filed.next_invoice_at) == (0, START)


def test_an_invoice_is_filed_the_moment_its_period_begins() -> None:
    filed = file_missed(due(), START)

    assert periods(filed) == [START]
    assert (filed.invoice_count, filed.next_invoice_at) == (1, day(2, 29))


def test_d25_every_missed_period_is_filed_once_with_its_own_date() -> None:
    filed = file_missed(due(), day(6, 1))

    assert periods(filed) == [START, day(2, 29), day(3, 31), day(4, 30), day(5, 31)]
    assert (filed.invoice_count, filed.next_invoice_at) == (5, day(6, 30))


def test_filing_goes_on_after_what_was_filed_before() -> None:
    filed = file_missed(due(invoice_count=2, next_invoice_at=day(3, 31)), day(4, 30))

    assert periods(filed) == [day(3, 31), day(4, 30)]
    assert (filed.invoice_count, filed.next_invoice_at) == (4, day(5, 31))


def test_filing_stops_at_its_bound_and_the_next_call_goes_on() -> None:
    first = file_missed(due(), day(6, 1), most=2)

    rest = file_missed(due(invoice_count=first.invoice_count, next_invoice_at=first.next_invoice_at), day(6, 1))

    assert first.next_invoice_at <= day(6, 1)
    assert periods(first) == [START, day(2, 29)]
    assert periods(rest) == [day(3, 31), day(4, 30), day(5, 31)]


def test_guids_are_in_the_order_of_the_periods() -> None:
    filed = file_missed(due(), START + timedelta(days=3650))

    guids = [invoice["guid"] for invoice in filed.invoices]
    assert len(guids) > 100
    assert guids == sorted(set(guids))


def test_an_invoice_carries_what_the_subscription_says() -> None:
    (invoice,) = file_missed(due(), START + HOUR).invoices

    assert (invoice["invoice_type"], invoice["transaction_type"]) == (InvoiceType.SUBSCRIPTION, TransactionType.DEBIT)
    assert (invoice["company_guid"], invoice["customer_guid"]) == ("CP1", "CU1")
    assert (invoice["subscription_guid"], invoice["plan_guid"]) == ("SU1", "PL1")
    assert (invoice["amount"], invoice["funding_instrument_uri"]) == (1000, "/cards/1")
    assert (invoice["appears_on_statement_as"], invoice["created_at"]) == ("Trees Inc", START + HOUR)


def test_with_an_instrument_each_invoice_is_charged() -> None:
    filed = file_missed(due(), day(2, 29))

    assert [invoice["status"] for invoice in filed.invoices] == [InvoiceStatus.PROCESSING] * 2
    assert [charge["invoice_guid"] for charge in filed.transactions] == [invoice["guid"] for invoice in filed.invoices]
    assert {charge["amount"] for charge in filed.transactions} == {1000}
    assert {charge["funding_instrument_uri"] for charge in filed.transactions} == {"/cards/1"}
    assert {charge["submit_status"] for charge in filed.transactions} == {SubmitStatus.STAGED}


def test_without_an_instrument_invoices_wait_for_one() -> None:
    filed = file_missed(due(funding_instrument_uri=None), START)

    assert [invoice["status"] for invoice in filed.invoices] == [InvoiceStatus.STAGED]
    assert filed.transactions == []


def test_a_period_for_nothing_is_settled_without_a_charge() -> None:
    filed = file_missed(due(amount=0), START)

    assert [invoice["status"] for invoice in filed.invoices] == [InvoiceStatus.SETTLED]
    assert filed.transactions == []


def test_a_plan_that_pays_out_files_credits() -> None:
    filed = file_missed(due(plan_type=PlanType.CREDIT), START)

    assert filed.invoices[0]["transaction_type"] is TransactionType.CREDIT
    assert filed.transactions[0]["transaction_type"] is TransactionType.CREDIT


def test_a_charge_is_named_by_its_subscription_and_period() -> None:
    filed = file_missed(due(), day(2, 29))

    assert [charge["submission_key"] for charge in filed.transactions] == [
        "SU1/20240131T123000.000000Z/1-1",
        "SU1/20240229T123000.000000Z/1-1",
    ]


def test_a_period_that_is_filed_again_after_a_restored_back_up_has_the_same_key() -> None:
    filed = file_missed(due(), day(4, 1))

    again = file_missed(due(invoice_count=1, next_invoice_at=day(2, 29)), day(5, 1))

    keys = [charge["submission_key"] for charge in filed.transactions]
    assert [charge["submission_key"] for charge in again.transactions][:2] == keys[1:]


def test_periods_a_microsecond_apart_have_different_keys() -> None:
    other = START + timedelta(microseconds=1)

    (first,) = file_missed(due(), other).transactions
    (second,) = file_missed(due(started_at=other, next_invoice_at=other), other).transactions

    assert first["submission_key"] != second["submission_key"]


# Changing and canceling


@pytest.mark.parametrize(("own", "effective"), [(None, 1000), (700, 700), (0, 0)])
def test_a_subscriptions_own_amount_goes_before_the_plans(own: int | None, effective: int) -> None:
    subscription = Subscription(amount=own)
    set_committed_value(subscription, "plan", Plan(amount=1000))

    assert subscription.effective_amount == effective


def test_a_canceled_subscription_says_when_and_keeps_its_next_date(subscription: Subscription, now: datetime) -> None:
    subscription.cancel(now + HOUR)

    assert (subscription.canceled, subscription.canceled_at) == (True, now + HOUR)
    assert (subscription.next_invoice_at, subscription.invoice_count) == (now, 3)


def test_a_subscription_is_canceled_once(subscription: Subscription, now: datetime) -> None:
    subscription.cancel(now)

    with pytest.raises(InvalidOperationError, match=r"^Cannot cancel a canceled subscription$"):
        subscription.cancel(now + HOUR)

    assert (subscription.canceled_at, subscription.updated_at) == (now, now)


def test_d47_a_change_sets_what_it_names_and_leaves_the_rest(subscription: Subscription, now: datetime) -> None:
    subscription.change({"amount": 700, "appears_on_statement_as": "Shrubs"}, now)

    assert (subscription.amount, subscription.appears_on_statement_as) == (700, "Shrubs")
    assert subscription.funding_instrument_uri == "/cards/1"


def test_d47_a_change_can_take_a_value_back(subscription: Subscription, now: datetime) -> None:
    subscription.change({"funding_instrument_uri": None}, now)

    assert subscription.funding_instrument_uri is None


def test_a_change_of_anything_else_is_a_bug(subscription: Subscription, now: datetime) -> None:
    with pytest.raises(AssertionError):
        subscription.change({"started_at": now + HOUR}, now)


def test_a_canceled_subscription_cannot_be_changed(subscription: Subscription, now: datetime) -> None:
    subscription.cancel(now)

    with pytest.raises(InvalidOperationError, match=r"^Cannot change a canceled subscription$"):
        subscription.change({"funding_instrument_uri": "/cards/2"}, now)

    assert subscription.funding_instrument_uri == "/cards/1"


def test_d23_a_cancel_moves_updated_at(subscription: Subscription, now: datetime) -> None:
    subscription.cancel(now + HOUR)

    assert subscription.updated_at == now + HOUR


def test_d23_a_change_moves_updated_at(subscription: Subscription, now: datetime) -> None:
    subscription.change({"amount": 700}, now + HOUR)

    assert subscription.updated_at == now + HOUR


# Stored


@pytest.fixture
def stored(make: Factories, clock: FrozenClock) -> Subscription:
    """A stored subscription, monthly over 1000 cents, whose first invoice is due."""
    return make.subscription(make.company())


def unpaid(session: Session, subscription: Subscription) -> list[Invoice]:
    return lock_invoices(session, Invoice.subscription_guid == subscription.guid)


@pytest.mark.usefixtures("bystander")
def test_filing_stores_invoices_and_charges_and_advances_the_subscription(
    session: Session, stored: Subscription, clock: FrozenClock
) -> None:
    subscription = session.merge(stored)

    filed = subscription.file_due(session, clock.move(months=1))

    session.commit()
    session.expunge_all()
    subscription = session.get_one(Subscription, (stored.company_guid, stored.guid))
    assert (subscription.invoice_count, subscription.next_invoice_at) == (
        2,
        clock.now.replace(month=clock.now.month + 1),
    )
    assert [invoice.scheduled_at for invoice in unpaid(session, stored)] == [stored.started_at, clock.now]
    assert [charge and charge.invoice_guid for _, charge in filed] == [invoice.guid for invoice, _ in filed]


@pytest.mark.usefixtures("bystander")
def test_filing_twice_at_one_time_files_once(session: Session, stored: Subscription, clock: FrozenClock) -> None:
    subscription = session.merge(stored)
    subscription.file_due(session, clock.now)

    again = subscription.file_due(session, clock.now)
    session.commit()

    assert again == []
    assert len(unpaid(session, stored)) == 1


@pytest.mark.parametrize("amount", [None, 700])
def test_the_scheduler_reads_of_a_subscription_what_the_api_does(
    session: Session, make: Factories, amount: int | None
) -> None:
    subscription = make.subscription(make.company(), amount=amount, appears_on_statement_as="Trees")
    make.filed(subscription)
    subscription = session.get_one(Subscription, (subscription.company_guid, subscription.guid))

    row = session.execute(
        select(*DueSubscription.columns())
        .join(Plan, (Plan.company_guid == Subscription.company_guid) & (Plan.guid == Subscription.plan_guid))
        .where(Subscription.company_guid == subscription.company_guid)
    ).one()

    assert DueSubscription(*row) == DueSubscription.of(subscription)


@pytest.mark.usefixtures("bystander")
def test_d11_its_unpaid_invoices_can_be_canceled_with_it(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock
) -> None:
    clock.move(months=1)
    make.filed(stored)
    subscription = session.merge(stored)

    subscription.cancel_open_invoices(session, clock.now)

    session.commit()
    invoices = unpaid(session, stored)
    assert [invoice.status for invoice in invoices] == [InvoiceStatus.CANCELED] * 2
    assert [invoice.charges[0].submit_status for invoice in invoices] == [SubmitStatus.CANCELED] * 2


@pytest.mark.usefixtures("bystander")
def test_d11_a_cancel_alone_leaves_what_was_filed_owed(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock
) -> None:
    make.filed(stored)

    session.merge(stored).cancel(clock.now)

    session.commit()
    (invoice,) = unpaid(session, stored)
    assert (invoice.status, invoice.charges[0].submit_status) == (InvoiceStatus.PROCESSING, SubmitStatus.STAGED)


@pytest.mark.usefixtures("bystander")
def test_a_paid_invoice_is_not_canceled_with_its_subscription(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock
) -> None:
    (paid,) = make.filed(stored)
    invoice = lock_invoice(session, session.merge(paid))
    invoice.charges[0].accept("/debits/1", TransactionStatus.SUCCEEDED, clock.now)
    invoice.follow_charges(clock.now)
    session.commit()

    session.merge(stored).cancel_open_invoices(session, clock.now)
    session.commit()

    assert invoice.status is InvoiceStatus.SETTLED


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("verb", [Subscription.cancel_open_invoices, Subscription.move_open_invoices])
def test_nothing_changes_where_one_of_several_invoices_is_being_charged(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock, verb: Callable[..., None]
) -> None:
    clock.move(months=1)
    make.filed(stored)
    _, second = unpaid(session, stored)
    second.charges[0].in_doubt = True
    session.commit()
    subscription = session.merge(stored)

    with pytest.raises(MoneyMoving):
        verb(subscription, session, clock.now)

    session.rollback()
    first, second = unpaid(session, stored)
    assert (first.status, first.charges[0].submit_status) == (InvoiceStatus.PROCESSING, SubmitStatus.STAGED)
    assert (len(first.charges), len(second.charges)) == (1, 1)


@pytest.mark.usefixtures("bystander")
def test_d47_its_unpaid_invoices_can_be_moved_to_another_instrument(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock
) -> None:
    clock.move(months=1)
    make.filed(stored)
    subscription = session.merge(stored)
    subscription.change({"funding_instrument_uri": "/cards/2"}, clock.now)

    subscription.move_open_invoices(session, clock.now)

    session.commit()
    for invoice in unpaid(session, stored):
        assert [charge.submit_status for charge in invoice.charges] == [SubmitStatus.CANCELED, SubmitStatus.STAGED]
        assert [charge.funding_instrument_uri for charge in invoice.charges] == ["/cards/ok", "/cards/2"]
        assert (invoice.status, invoice.funding_instrument_uri) == (InvoiceStatus.PROCESSING, "/cards/2")


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("verb", [Subscription.cancel_open_invoices, Subscription.move_open_invoices])
def test_another_subscriptions_invoices_are_left_alone(
    session: Session, make: Factories, stored: Subscription, clock: FrozenClock, verb: Callable[..., None]
) -> None:
    company, customer, plan = (
        session.get_one(Company, stored.company_guid),
        session.get_one(Customer, (stored.company_guid, stored.customer_guid)),
        session.get_one(Plan, (stored.company_guid, stored.plan_guid)),
    )
    session.commit()
    other = make.subscription(company, customer=customer, plan=plan)
    make.filed(other)
    make.filed(stored)

    verb(session.merge(stored), session, clock.now + HOUR)

    session.commit()
    (invoice,) = unpaid(session, other)
    assert (invoice.status, invoice.updated_at, len(invoice.charges)) == (InvoiceStatus.PROCESSING, clock.now, 1)
