"""What the tables refuse, on either database: whatever the code above them does wrong, this cannot happen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session, sessionmaker

from billy.guid import new_guid
from billy.models import (
    ApiKey,
    Base,
    Customer,
    Invoice,
    Plan,
    Subscription,
    Transaction,
    TransactionEvent,
    TransactionStatus,
    TransactionType,
    lock,
    lock_invoice,
    lock_invoices,
)
from billy.models.base import lock_all
from billy.models.invoice import new_charge, new_invoice
from billy.models.transaction import new_transaction
from tests.support import databases
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.postgresql), "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The databases that a deployment may choose, one after the other."""
    if request.param == "sqlite":
        return databases.copy_sqlite(request.getfixturevalue("_sqlite_template"), tmp_path / "billy.sqlite")
    engine: Engine = request.getfixturevalue("_worker_database")
    databases.empty(engine)
    return engine.url.render_as_string(hide_password=False)


# What must never be stored


class Books:
    """A company with one record of each kind, made when first asked for, and further rows past all rules."""

    def __init__(self, session: Session, make: Factories, now: datetime) -> None:
        self.session, self.make, self.now = session, make, now
        self.company = make.company()

    @cached_property
    def plan(self) -> Plan:
        return self.make.plan(self.company)

    @cached_property
    def customer(self) -> Customer:
        return self.make.customer(self.company)

    @cached_property
    def subscription(self) -> Subscription:
        owners = {"customer": self.customer, "plan": self.plan}
        return self.make.subscription(self.company, **owners)

    @cached_property
    def filed(self) -> Invoice:
        (invoice,) = self.make.filed(self.subscription)
        return invoice

    @cached_property
    def order(self) -> Invoice:
        return self.make.invoice(self.company, customer=self.customer)

    @cached_property
    def paid(self) -> Invoice:
        return self.make.paid_invoice(self.company, customer=self.customer)

    @cached_property
    def charge(self) -> Transaction:
        (charge,) = self.paid.charges
        return charge

    def row(self, prefix: str) -> dict[str, Any]:
        return {"company_guid": self.company.guid, "guid": new_guid(prefix, self.now), "created_at": self.now}

    def a_plan(self, **values: Any) -> Plan:
        ordinary = {"plan_type": "debit", "frequency": "monthly", "interval": 1, "amount": 1000, "deleted": False}
        return Plan(**{**self.row("PL"), "updated_at": self.now, **ordinary, **values})

    def a_customer(self, **values: Any) -> Customer:
        return Customer(**{**self.row("CU"), "updated_at": self.now, "deleted": False, **values})

    def a_subscription(self, **values: Any) -> Subscription:
        ordinary = {
            "customer_guid": self.customer.guid,
            "plan_guid": self.plan.guid,
            "started_at": self.now,
            "next_invoice_at": self.now,
            "invoice_count": 0,
            "updated_at": self.now,
        }
        return Subscription(**{**self.row("SU"), **ordinary, **values})

    def an_invoice(self, **values: Any) -> Invoice:
        ordinary = {"company_guid": self.company.guid, "customer_guid": self.customer.guid, "amount": 1000}
        made = new_invoice(self.now, **{**ordinary, **{k: v for k, v in values.items() if k not in PAST_RULES}})
        return Invoice(**{**made, **values})

    def a_filed_invoice(self, **values: Any) -> Invoice:
        ordinary = {
            "subscription_guid": self.subscription.guid,
            "plan_guid": self.plan.guid,
            "scheduled_at": self.now + timedelta(days=31),
        }
        return self.an_invoice(**{**ordinary, **values})

    def a_charge(self, **values: Any) -> Transaction:
        return Transaction(**{**new_charge(self.now, self.order, amount=1000, number=1), **values})

    def a_refund(self, **values: Any) -> Transaction:
        ordinary = {
            "company_guid": self.company.guid,
            "invoice_guid": self.paid.guid,
            "customer_guid": self.customer.guid,
            "transaction_type": TransactionType.REFUND,
            "amount": 1000,
            "refund_of_guid": self.charge.guid,
        }
        return Transaction(**{**new_transaction(self.now, **ordinary), **values})

    def an_event(self, **values: Any) -> TransactionEvent:
        ordinary = {
            "transaction_guid": self.charge.guid,
            "processor_id": "event-1",
            "status": TransactionStatus.SUCCEEDED,
            "occurred_at": self.now,
        }
        return TransactionEvent(**{**self.row("TE"), **ordinary, **values})

    def a_key(self) -> ApiKey:
        return ApiKey(**self.row("AK"), key_hash="0" * 64)

    def store(self, *records: Base) -> None:
        for record in records:
            self.session.add(record)
            self.session.flush()
        self.session.commit()


PAST_RULES = {"invoice_type", "status", "total_adjustment_amount", "guid"}


@pytest.fixture
def books(session: Session, make: Factories, clock: FrozenClock) -> Books:
    return Books(session, make, clock.now)


def name_of(error: IntegrityError) -> str:
    """The constraint that was broken: by name on PostgreSQL, by columns where SQLite has no more to say."""
    diagnosis = getattr(error.orig, "diag", None)
    return diagnosis.constraint_name if diagnosis else str(error.orig)


NEVER: list[tuple[str, str, str, Callable[[Books], list[Base]]]] = [
    # what, its constraint on PostgreSQL, what SQLite says, the rows
    (
        "a plan of less than nothing",
        "ck_plan_amount_not_negative",
        "ck_plan_amount_not_negative",
        lambda books: [books.a_plan(amount=-1)],
    ),
    (
        "a plan without a period",
        "ck_plan_interval_positive",
        "ck_plan_interval_positive",
        lambda books: [books.a_plan(interval=0)],
    ),
    (
        "two plans of one external id",
        "uq_plan_company_guid_external_id",
        "plan.company_guid, plan.external_id",
        lambda books: [books.a_plan(external_id="1"), books.a_plan(external_id="1")],
    ),
    (
        "two customers of one external id",
        "uq_customer_company_guid_external_id",
        "customer.company_guid, customer.external_id",
        lambda books: [books.a_customer(external_id="1"), books.a_customer(external_id="1")],
    ),
    (
        "two subscriptions of one external id",
        "uq_subscription_company_guid_external_id",
        "subscription.company_guid, subscription.external_id",
        lambda books: [books.a_subscription(external_id="1"), books.a_subscription(external_id="1")],
    ),
    (
        "a subscription for less than nothing",
        "ck_subscription_amount_not_negative",
        "ck_subscription_amount_not_negative",
        lambda books: [books.a_subscription(amount=-1)],
    ),
    (
        "a negative number of invoices",
        "ck_subscription_invoice_count_not_negative",
        "ck_subscription_invoice_count_not_negative",
        lambda books: [books.a_subscription(invoice_count=-1)],
    ),
    (
        "an invoice over less than nothing",
        "ck_invoice_amount_not_negative",
        "ck_invoice_amount_not_negative",
        lambda books: [books.an_invoice(amount=-1, total_adjustment_amount=2)],
    ),
    (
        "D7: an invoice that adjustments make negative",
        "ck_invoice_effective_amount_not_negative",
        "ck_invoice_effective_amount_not_negative",
        lambda books: [books.an_invoice(amount=1000, total_adjustment_amount=-1001)],
    ),
    (
        "D15: two invoices for one period",
        "uq_invoice_company_guid_subscription_guid_scheduled_at",
        "invoice.company_guid, invoice.subscription_guid, invoice.scheduled_at",
        lambda books: [books.a_filed_invoice(scheduled_at=books.filed.scheduled_at)],
    ),
    (
        "two invoices for one order",
        "uq_invoice_company_guid_customer_guid_external_id",
        "invoice.company_guid, invoice.customer_guid, invoice.external_id",
        lambda books: [books.an_invoice(external_id="1"), books.an_invoice(external_id="1")],
    ),
    (
        "a subscription's invoice without a period",
        "ck_invoice_subscription_invoice_has_schedule",
        "ck_invoice_subscription_invoice_has_schedule",
        lambda books: [books.a_filed_invoice(scheduled_at=None)],
    ),
    (
        "a subscription's invoice without a plan",
        "ck_invoice_subscription_invoice_has_schedule",
        "ck_invoice_subscription_invoice_has_schedule",
        lambda books: [books.a_filed_invoice(plan_guid=None)],
    ),
    (
        "a subscription's invoice that calls itself an order",
        "ck_invoice_subscription_invoice_has_schedule",
        "ck_invoice_subscription_invoice_has_schedule",
        lambda books: [books.a_filed_invoice(invoice_type="customer")],
    ),
    (
        "D7: a charge of nothing",
        "ck_transaction_amount_positive",
        "ck_transaction_amount_positive",
        lambda books: [books.a_charge(amount=0)],
    ),
    (
        "a charge of less than nothing",
        "ck_transaction_amount_positive",
        "ck_transaction_amount_positive",
        lambda books: [books.a_charge(amount=-1)],
    ),
    (
        "D4: a refund that names no charge",
        "ck_transaction_refund_names_its_charge",
        "ck_transaction_refund_names_its_charge",
        lambda books: [books.a_refund(refund_of_guid=None)],
    ),
    (
        "a debit that calls itself the refund of another",
        "ck_transaction_refund_names_its_charge",
        "ck_transaction_refund_names_its_charge",
        lambda books: [books.a_refund(transaction_type=TransactionType.DEBIT, submit_status="failed")],
    ),
    (
        "a negative number of attempts",
        "ck_transaction_counts_not_negative",
        "ck_transaction_counts_not_negative",
        lambda books: [books.a_charge(attempt=-1)],
    ),
    (
        "two charges to submit on one invoice",
        "uq_transaction_charge_alive",
        "transaction.company_guid, transaction.invoice_guid",
        lambda books: [books.a_charge(), books.a_charge()],
    ),
    (
        "a charge to retry beside one to submit",
        "uq_transaction_charge_alive",
        "transaction.company_guid, transaction.invoice_guid",
        lambda books: [books.a_charge(), books.a_charge(submit_status="retrying")],
    ),
    (
        "a charge to submit beside one that is pending at the processor",
        "uq_transaction_charge_alive",
        "transaction.company_guid, transaction.invoice_guid",
        lambda books: [books.a_charge(submit_status="done", status="pending"), books.a_charge()],
    ),
    (
        "a pay-out to submit beside a debit",
        "uq_transaction_charge_alive",
        "transaction.company_guid, transaction.invoice_guid",
        lambda books: [books.a_charge(), books.a_charge(transaction_type=TransactionType.CREDIT)],
    ),
    (
        "D44: one event of the processor twice",
        "uq_transaction_event_company_guid_transaction_guid_processor_id",
        "transaction_event.company_guid, transaction_event.transaction_guid, transaction_event.processor_id",
        lambda books: [books.an_event(), books.an_event()],
    ),
    (
        "one API key for two companies",
        "uq_api_key_key_hash",
        "api_key.key_hash",
        lambda books: [books.a_key(), books.a_key()],
    ),
]


@pytest.mark.parametrize(("name", "words", "rows"), [pytest.param(*case, id=what) for what, *case in NEVER])
def test_the_database_refuses(books: Books, name: str, words: str, rows: Callable[[Books], list[Base]]) -> None:
    *before, last = rows(books)
    books.store(*before)

    with pytest.raises(IntegrityError) as refusal:
        books.store(last)

    assert name_of(refusal.value) in (name, *(f"{kind} constraint failed: {words}" for kind in ("CHECK", "UNIQUE")))


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda books: [books.a_plan(amount=0), books.a_plan(), books.a_plan()], id="plans without an id"),
        pytest.param(lambda books: [books.a_customer(), books.a_customer()], id="customers without an external id"),
        pytest.param(lambda books: [books.an_invoice(), books.an_invoice()], id="orders without an external id"),
        pytest.param(lambda books: [books.an_invoice(amount=0)], id="an invoice over nothing"),
        pytest.param(lambda books: [books.an_invoice(amount=99_999_999_999)], id="an invoice over the most there is"),
        pytest.param(lambda books: [books.a_filed_invoice()], id="the next period of a subscription"),
        pytest.param(
            lambda books: [books.a_charge(submit_status="done", status="failed"), books.a_charge()],
            id="a charge after one that failed",
        ),
        pytest.param(
            lambda books: [
                books.a_charge(submit_status="canceled"),
                books.a_charge(submit_status="failed"),
                books.a_charge(),
            ],
            id="a charge after others that were given up",
        ),
        pytest.param(
            lambda books: [books.a_charge(submit_status="done", status="succeeded") for _ in range(2)],
            id="two charges that succeeded: a fact",
        ),
        pytest.param(lambda books: [books.a_refund(), books.a_refund()], id="two open refunds of one charge"),
        pytest.param(lambda books: [books.an_event(), books.an_event(processor_id="event-2")], id="two events"),
    ],
)
def test_the_database_accepts(books: Books, rows: Callable[[Books], list[Base]]) -> None:
    stored = rows(books)

    books.store(*stored)

    assert all(inspect(record).persistent for record in stored)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("plan", "plan_type"),
        ("plan", "frequency"),
        ("invoice", "invoice_type"),
        ("invoice", "transaction_type"),
        ("invoice", "status"),
        ("transaction", "transaction_type"),
        ("transaction", "submit_status"),
        ("transaction", "status"),
    ],
)
def test_an_unknown_status_or_type_is_refused(books: Books, table: str, column: str) -> None:
    record = {"plan": "plan", "invoice": "order", "transaction": "charge"}[table]
    guid = getattr(books, record).guid

    with pytest.raises(IntegrityError) as refusal:
        books.session.execute(text(f"UPDATE \"{table}\" SET {column} = 'unknown' WHERE guid = :guid"), {"guid": guid})

    assert f"ck_{table}_{column}" in name_of(refusal.value)


STRANGERS: dict[str, Callable[[Books, Bystander], Base]] = {
    "subscription.customer_guid": lambda books, other: books.a_subscription(customer_guid=other.customer.guid),
    "subscription.plan_guid": lambda books, other: books.a_subscription(plan_guid=other.plan.guid),
    "invoice.customer_guid": lambda books, other: books.an_invoice(customer_guid=other.customer.guid),
    "invoice.subscription_guid": lambda books, other: books.a_filed_invoice(subscription_guid=other.subscription.guid),
    "invoice.plan_guid": lambda books, other: books.a_filed_invoice(plan_guid=other.plan.guid),
    "transaction.invoice_guid": lambda books, other: books.a_charge(invoice_guid=other.staged.guid),
    "transaction.customer_guid": lambda books, other: books.a_charge(customer_guid=other.customer.guid),
    "transaction.subscription_guid": lambda books, other: books.a_charge(subscription_guid=other.subscription.guid),
    "transaction.plan_guid": lambda books, other: books.a_charge(plan_guid=other.plan.guid),
    "transaction.refund_of_guid": lambda books, other: books.a_refund(refund_of_guid=other.settled.charges[0].guid),
    "transaction.duplicate_of_guid": lambda books, other: books.a_charge(
        duplicate_of_guid=other.settled.charges[0].guid
    ),
    "transaction_event.transaction_guid": lambda books, other: books.an_event(
        transaction_guid=other.settled.charges[0].guid
    ),
}


@pytest.mark.parametrize("reference", STRANGERS)
def test_d1_a_row_cannot_point_at_another_companys(books: Books, bystander: Bystander, reference: str) -> None:
    stranger = STRANGERS[reference](books, bystander)

    with pytest.raises(IntegrityError) as refusal:
        books.store(stranger)

    table, column = reference.split(".")
    assert name_of(refusal.value) in (f"fk_{table}_company_guid_{column}", "FOREIGN KEY constraint failed")


@pytest.mark.parametrize("make_row", [Books.a_plan, Books.a_customer, Books.an_event], ids=lambda row: row.__name__)
def test_a_row_cannot_be_nobodys(books: Books, make_row: Callable[..., Base]) -> None:
    orphan = make_row(books, company_guid="CPnobody")

    with pytest.raises(IntegrityError) as refusal:
        books.store(orphan)

    assert re.search(r"^fk_\w+_company_guid|FOREIGN KEY constraint failed", name_of(refusal.value))


@pytest.mark.parametrize("record", ["company", "customer", "plan", "subscription", "paid", "charge"])
def test_what_others_refer_to_cannot_be_deleted(books: Books, record: str) -> None:
    gone = getattr(books, record)
    books.store(books.a_refund(), books.a_filed_invoice())

    with pytest.raises(IntegrityError):
        books.session.execute(type(gone).__table__.delete().where(type(gone).guid == gone.guid))


@pytest.mark.usefixtures("bystander")
def test_two_companies_may_use_the_same_external_ids(books: Books, make: Factories) -> None:
    books.store(books.a_customer(external_id="1"))

    twin = make.customer(make.company(), external_id="1")

    assert twin.company_guid != books.company.guid


# Instants


@pytest.mark.usefixtures("bystander")
def test_an_instant_comes_back_as_it_was_to_the_microsecond_and_in_utc(
    books: Books, sessions: sessionmaker[Session]
) -> None:
    instant = datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=8)))
    books.store(stored := books.a_subscription(started_at=instant))

    with sessions() as session:
        started_at = session.get_one(Subscription, (stored.company_guid, stored.guid)).started_at

    assert started_at == instant
    assert started_at.tzinfo is UTC


def test_an_instant_without_a_zone_is_refused(books: Books) -> None:
    with pytest.raises(StatementError, match="naive datetime"):
        books.store(books.a_subscription(started_at=datetime(2024, 2, 29)))


@pytest.mark.usefixtures("bystander")
def test_instants_of_different_zones_are_compared_as_instants(books: Books) -> None:
    books.store(stored := books.a_subscription(next_invoice_at=books.now))
    same = books.now.astimezone(timezone(timedelta(hours=-7)))

    found = books.session.scalars(
        select(Subscription.guid).where(
            Subscription.company_guid == books.company.guid, Subscription.next_invoice_at == same
        )
    ).all()

    assert stored.guid in found


@pytest.mark.usefixtures("bystander")
def test_the_order_of_guids_is_the_order_of_their_bytes(books: Books) -> None:
    guids = [f"CU{'1' * 20}{end}" for end in ("1A", "1a", "A1", "Z9", "a1", "zz")]
    books.store(*(books.a_customer(guid=guid) for guid in reversed(guids)))

    found = books.session.scalars(
        select(Customer.guid).where(Customer.guid.in_(guids)).order_by(Customer.company_guid, Customer.guid)
    ).all()

    assert found == guids == sorted(guids)


# Locks


@pytest.mark.usefixtures("bystander")
def test_d14_a_lock_reads_the_record_again(books: Books, sessions: sessionmaker[Session], session: Session) -> None:
    stale = session.get_one(Customer, (books.company.guid, books.customer.guid))
    session.commit()
    with sessions.begin() as other:
        other.get_one(Customer, (books.company.guid, books.customer.guid)).external_id = "changed"

    lock(session, stale)

    assert stale.external_id == "changed"


@pytest.mark.usefixtures("bystander")
def test_d14_locking_an_invoice_reads_its_charges_again(
    books: Books, sessions: sessionmaker[Session], session: Session
) -> None:
    stale = session.get_one(Invoice, (books.company.guid, books.paid.guid))
    assert len(stale.refunds) == 0
    session.commit()
    with sessions.begin() as other:
        invoice = lock_invoice(other, other.get_one(Invoice, (books.company.guid, books.paid.guid)))
        other.add_all(invoice.refund(400, books.now))
        invoice.charges[0].processor_uri = "/debits/changed"

    lock_invoice(session, stale)

    assert [refund.amount for refund in stale.refunds] == [400]
    assert stale.charges[0].processor_uri == "/debits/changed"


def test_all_that_match_are_locked_in_the_order_of_their_keys(books: Books, session: Session) -> None:
    guids = sorted([books.filed.guid, books.order.guid, books.paid.guid])
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *args: statements.append(args[2]))

    found = lock_all(session, Invoice, Invoice.company_guid == books.company.guid)

    assert [invoice.guid for invoice in found] == guids
    assert "ORDER BY invoice.company_guid, invoice.guid" in statements[-1]


def test_each_of_several_locked_invoices_has_its_own_transactions(
    books: Books, session: Session, bystander: Bystander
) -> None:
    own = (books.order.guid, books.paid.guid)

    found = lock_invoices(session, Invoice.guid.in_([*own, bystander.invoice.guid, bystander.staged.guid]))

    assert {invoice.guid: [each.guid for each in invoice.transactions] for invoice in found} == {
        books.order.guid: [],
        books.paid.guid: [books.charge.guid],
        bystander.invoice.guid: [bystander.invoice.charges[0].guid],
        bystander.staged.guid: [],
    }


def test_locking_the_invoices_that_match_nothing_locks_none(books: Books, session: Session) -> None:
    assert lock_invoices(session, Invoice.company_guid == books.company.guid) == []


@pytest.fixture
def impatient(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A second session on PostgreSQL, which waits for a lock only a moment."""
    with sessions() as session:
        session.execute(text("SET lock_timeout = '50ms'"))
        yield session
        session.rollback()
        session.execute(text("RESET lock_timeout"))


postgresql = pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@postgresql
def test_a_locked_record_makes_others_who_lock_it_wait(books: Books, session: Session, impatient: Session) -> None:
    lock(session, session.get_one(Customer, (books.company.guid, books.customer.guid)))

    with pytest.raises(OperationalError, match="lock timeout"):
        lock(impatient, impatient.get_one(Customer, (books.company.guid, books.customer.guid)))


@pytest.mark.usefixtures("bystander")
@postgresql
def test_a_locked_record_lets_others_refer_to_it(books: Books, session: Session, impatient: Session) -> None:
    lock(session, session.get_one(Customer, (books.company.guid, books.customer.guid)))

    impatient.add(books.a_subscription())

    impatient.commit()


@postgresql
def test_locking_a_subscription_does_not_lock_its_plan(books: Books, session: Session, impatient: Session) -> None:
    lock(session, session.get_one(Subscription, (books.company.guid, books.subscription.guid)))

    lock(impatient, impatient.get_one(Plan, (books.company.guid, books.plan.guid)))


# What may be seen

HARMLESS = {
    *("company_guid", "guid", "transaction_guid", "subject_guid", "processor_id", "name", "actor", "action"),
    *("plan_type", "transaction_type", "frequency", "interval", "status", "submit_status", "state"),
    *("deleted", "in_doubt"),
    *("amount", "total_adjustment_amount", "attempt", "count", "invoice_count", "error_code"),
    *("next_invoice_at", "canceled_at", "started_at", "finished_at", "expires_at", "since", "recovered_at", "until"),
    *("key_hash", "record_guid", "answer_status", "bucket"),
}


@pytest.mark.parametrize(
    "model",
    sorted((mapper.class_ for mapper in Base.registry.mappers), key=lambda model: model.__name__),
    ids=lambda model: model.__name__,
)
def test_a_records_repr_shows_no_secret_and_nothing_that_was_written_to_a_customer(model: type[Base]) -> None:
    columns = [column.key for column in inspect(model).column_attrs]
    record = model(**{column: f"<{column}>" for column in columns})

    shown = {column for column in columns if f"<{column}>" in repr(record)}

    assert shown
    assert shown <= HARMLESS
