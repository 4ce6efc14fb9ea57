"""What the deletion of a customer ends, and what it leaves alone (D10)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.errors import InvalidOperationError
from billy.models import (
    Company,
    Customer,
    Invoice,
    InvoiceStatus,
    SubmitStatus,
    Subscription,
    Transaction,
    TransactionStatus,
    lock,
    lock_invoice,
)
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

pytestmark = pytest.mark.usefixtures("bystander")

HOUR = timedelta(hours=1)
CARD = "/cards/ok"


@pytest.fixture
def company(make: Factories) -> Company:
    return make.company()


@pytest.fixture
def customer(make: Factories, company: Company) -> Customer:
    return make.customer(company)


@pytest.fixture
def delete(sessions: sessionmaker[Session], clock: FrozenClock) -> Callable[[Customer], None]:
    """Deletes a customer an hour from now, as the API does: locked, and committed."""

    def delete(customer: Customer) -> None:
        with sessions.begin() as session:
            locked = lock(session, session.get_one(Customer, (customer.company_guid, customer.guid)))
            locked.delete(session, clock.now + HOUR)

    return delete


@pytest.fixture
def stored(sessions: sessionmaker[Session]) -> Callable[[Any], Any]:
    """A record as it now stands in the database, an invoice with its transactions."""

    def read(record: Any) -> Any:
        with sessions() as session:
            found = session.get_one(type(record), (record.company_guid, record.guid))
            return lock_invoice(session, found) if isinstance(found, Invoice) else found

    return read


Delete = Callable[[Customer], None]
Stored = Callable[[Any], Any]


def test_a_deleted_customer_says_so_and_d23_when(
    customer: Customer, delete: Delete, stored: Stored, clock: FrozenClock
) -> None:
    delete(customer)

    assert (stored(customer).deleted, stored(customer).updated_at) == (True, clock.now + HOUR)


def test_a_customer_is_deleted_once(customer: Customer, delete: Delete) -> None:
    delete(customer)

    with pytest.raises(InvalidOperationError, match=rf"^Customer {customer.guid} was already deleted$"):
        delete(customer)


def test_d10_all_his_subscriptions_are_canceled(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored, clock: FrozenClock
) -> None:
    subscriptions = [make.subscription(company, customer=customer) for _ in range(2)]

    delete(customer)

    assert [stored(each).canceled_at for each in subscriptions] == [clock.now + HOUR] * 2


def test_a_subscription_that_was_canceled_before_keeps_its_date(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored, clock: FrozenClock
) -> None:
    canceled = make.subscription(company, customer=customer, canceled_at=clock.now)

    delete(customer)

    assert (stored(canceled).canceled_at, stored(canceled).updated_at) == (clock.now, clock.now)


def test_d10_his_open_charges_are_canceled_and_their_invoices_fail(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored, clock: FrozenClock
) -> None:
    order = make.invoice(company, customer=customer, funding_instrument_uri=CARD)
    (filed,) = make.filed(make.subscription(company, customer=customer))

    delete(customer)

    for invoice in (stored(order), stored(filed)):
        (charge,) = invoice.charges
        assert (invoice.status, charge.submit_status) == (InvoiceStatus.FAILED, SubmitStatus.CANCELED)
        assert (invoice.updated_at, charge.updated_at) == (clock.now + HOUR, clock.now + HOUR)


def test_a_charge_that_waits_for_its_next_try_is_canceled_too(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored
) -> None:
    retrying = {"submit_status": SubmitStatus.RETRYING, "attempt": 1, "refusal_count": 1}
    order = make.invoice(company, customer=customer, funding_instrument_uri=CARD, charge=retrying)

    delete(customer)

    assert stored(order).charges[0].submit_status is SubmitStatus.CANCELED


@pytest.mark.parametrize(
    "charge",
    [
        pytest.param({"in_doubt": True, "attempt": 1}, id="in doubt"),
        pytest.param(
            {"submit_status": SubmitStatus.DONE, "status": TransactionStatus.PENDING, "processor_uri": "/debits/1"},
            id="pending at the processor",
        ),
    ],
)
def test_d10_a_charge_that_may_still_succeed_is_left_and_its_invoice_goes_on(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored, charge: dict[str, Any]
) -> None:
    order = make.invoice(company, customer=customer, funding_instrument_uri=CARD, charge=charge)
    before = order.charges[0].submit_status

    delete(customer)

    assert stored(order).status is InvoiceStatus.PROCESSING
    assert stored(order).charges[0].submit_status is before


def test_an_invoice_that_waits_for_an_instrument_goes_on_waiting(
    make: Factories, company: Company, customer: Customer, delete: Delete, stored: Stored, clock: FrozenClock
) -> None:
    staged = make.invoice(company, customer=customer)

    delete(customer)

    assert (stored(staged).status, stored(staged).updated_at) == (InvoiceStatus.STAGED, clock.now)


def test_a_paid_invoice_and_its_open_refund_go_on(
    make: Factories,
    company: Company,
    customer: Customer,
    delete: Delete,
    stored: Stored,
    sessions: sessionmaker[Session],
    clock: FrozenClock,
) -> None:
    paid = make.paid_invoice(company, customer=customer)
    with sessions.begin() as session:
        session.add_all(session.merge(paid).refund(400, clock.now))

    delete(customer)

    assert stored(paid).status is InvoiceStatus.SETTLED
    assert [refund.submit_status for refund in stored(paid).refunds] == [SubmitStatus.STAGED]


def test_other_customers_of_the_company_are_not_touched(
    make: Factories, company: Company, customer: Customer, delete: Delete, session: Session, clock: FrozenClock
) -> None:
    other = make.customer(company)
    make.filed(make.subscription(company, customer=other, plan=make.plan(company)))
    make.invoice(company, customer=other, funding_instrument_uri=CARD)
    make.invoice(company, customer=customer, funding_instrument_uri=CARD)

    delete(customer)

    assert {*session.scalars(select(Subscription.canceled_at).where(Subscription.customer_guid == other.guid))} == {
        None
    }
    for model in (Customer, Subscription, Invoice, Transaction):
        owner = Customer.guid if model is Customer else model.customer_guid
        moved = session.scalars(select(model.guid).where(owner == other.guid, model.updated_at != clock.now)).all()
        assert moved == []
