"""The story of a record: what became of it, in the order of time, and what is planned.

For the operator, who has a guid out of a log line, a ledger or a customer's letter. The story is read off what is
stored anyway. So it knows when a submission was refused, when the processor called, and who meddled; but of a success
only when the record last changed. Secrets are never part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from billy.errors import NotFound
from billy.models import (
    ApiKey,
    AuditEntry,
    BillingRun,
    Company,
    Customer,
    Dispute,
    Invoice,
    Plan,
    Subscription,
    Transaction,
    TransactionEvent,
    TransactionFailure,
    find_of_any_company,
)
from billy.models.base import Base, Owned

KINDS: dict[str, tuple[str, type[Base]]] = {
    "CP": ("company", Company),
    "PL": ("plan", Plan),
    "CU": ("customer", Customer),
    "SU": ("subscription", Subscription),
    "IV": ("invoice", Invoice),
    "TX": ("transaction", Transaction),
    "RN": ("run", BillingRun),
}
"""What can be shown, by the first two letters of its guid."""

SEALED = "sealed_"
"""How the columns of secrets begin."""


class What(StrEnum):
    """What may happen in a story; the names are stable."""

    CREATED = "created"
    STARTED = "started"
    FILED = "filed"
    ATTEMPT_FAILED = "attempt_failed"
    EVENT = "event"
    DISPUTED = "disputed"
    DONE_BY_HAND = "done_by_hand"
    ANSWERED = "answered"
    ENDED = "ended"
    CHANGED = "changed"
    CANCELED = "canceled"
    DELETED = "deleted"
    KEY_ADDED = "key_added"
    KEY_EXPIRES = "key_expires"
    CALLBACK_REGISTERED = "callback_registered"
    NEXT_ATTEMPT = "next_attempt"
    NEXT_INVOICE = "next_invoice"
    PARKED_UNTIL = "parked_until"
    LEASED_UNTIL = "leased_until"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a record, or is planned if ``at`` is in the future."""

    at: datetime
    what: What
    guid: str
    """The record that it happened to."""
    detail: dict[str, Any]
    """What there is to say; amounts are cents, and what is unknown is left out."""


@dataclass(frozen=True, slots=True)
class Chronicle:
    """A record and its story."""

    kind: str
    guid: str
    company_guid: str | None
    """Empty for a run, which bills all companies."""
    facts: dict[str, Any]
    """Its columns as they are, but no secrets."""
    story: list[Entry]
    """The oldest first."""
    is_cut: bool
    """Whether older parts of it were left out."""


def chronicle(session: Session, guid: str, *, most: int = 50) -> Chronicle:
    """The story of any company's record; NotFound if there is none.

    Of what a record has many of (a subscription's invoices, say) the ``most`` newest are told.
    """
    kind, model = KINDS[guid[:2]]
    record: Any = find_of_any_company(session, model, guid) if issubclass(model, Owned) else session.get(model, guid)
    if record is None:
        raise NotFound(f"No such {kind} {guid}")
    newest = Newest(session, most)
    # What happened at one instant stays as it is told.
    story = sorted(_STORIES[model](session, record, newest), key=lambda entry: entry.at)
    facts = {
        column.key: getattr(record, column.key)
        for column in inspect(model).column_attrs
        if not column.key.startswith(SEALED)
    }
    company_guid = guid if model is Company else getattr(record, "company_guid", None)
    return Chronicle(kind, guid, company_guid, facts, story, newest.is_cut)


Own = TypeVar("Own", bound=Owned)


class Newest:
    """Reads the newest of many, and remembers whether there were more."""

    def __init__(self, session: Session, most: int) -> None:
        self._session = session
        self._most = most
        self.is_cut = False

    def of(self, model: type[Own], order: Any, *where: Any) -> Sequence[Own]:
        """Of the records that match, those that ``order`` has last, in that order."""
        found = self._session.scalars(select(model).where(*where).order_by(order.desc()).limit(self._most + 1)).all()
        self.is_cut |= len(found) > self._most
        return found[: self._most][::-1]


def _entry(at: datetime, what: What, record: Any, **detail: Any) -> Entry:
    return _entry_of(at, what, record.guid, **detail)


def _entry_of(at: datetime, what: What, guid: str, **detail: Any) -> Entry:
    return Entry(at, what, guid, {name: value for name, value in detail.items() if value is not None})


def _of_company(session: Session, company: Company, newest: Newest) -> Iterator[Entry]:
    yield _entry(company.created_at, What.CREATED, company, name=company.name, processor=company.processor)
    for key in session.scalars(select(ApiKey).where(ApiKey.company_guid == company.guid)):
        yield _entry(key.created_at, What.KEY_ADDED, key)
        if key.expires_at is not None:
            yield _entry(key.expires_at, What.KEY_EXPIRES, key)
    if company.callback_registered_at is not None:
        yield _entry(company.callback_registered_at, What.CALLBACK_REGISTERED, company)
    if company.parked_until is not None:
        yield _entry(company.parked_until, What.PARKED_UNTIL, company, refusals=company.parked_count)
    for audit in newest.of(AuditEntry, AuditEntry.guid, AuditEntry.company_guid == company.guid):
        yield _by_hand(audit)


def _of_plan(session: Session, plan: Plan, newest: Newest) -> Iterator[Entry]:
    yield _entry(
        plan.created_at, What.CREATED, plan, amount=plan.amount, frequency=plan.frequency, interval=plan.interval
    )
    if plan.deleted:
        yield _entry(plan.updated_at, What.DELETED, plan)
    own = (Subscription.company_guid == plan.company_guid, Subscription.plan_guid == plan.guid)
    for subscription in newest.of(Subscription, Subscription.guid, *own):
        yield from _life(subscription)


def _of_customer(session: Session, customer: Customer, newest: Newest) -> Iterator[Entry]:
    yield _entry(customer.created_at, What.CREATED, customer, external_id=customer.external_id)
    if customer.deleted:
        yield _entry(customer.updated_at, What.DELETED, customer)
    own = (Subscription.company_guid == customer.company_guid, Subscription.customer_guid == customer.guid)
    for subscription in newest.of(Subscription, Subscription.guid, *own):
        yield from _life(subscription)
    theirs = (Invoice.company_guid == customer.company_guid, Invoice.customer_guid == customer.guid)
    for invoice in newest.of(Invoice, Invoice.guid, *theirs):
        yield _filed(invoice)


def _of_subscription(session: Session, subscription: Subscription, newest: Newest) -> Iterator[Entry]:
    yield from _life(subscription)
    own = (Invoice.company_guid == subscription.company_guid, Invoice.subscription_guid == subscription.guid)
    for invoice in newest.of(Invoice, Invoice.scheduled_at, *own):
        yield _filed(invoice)


def _life(subscription: Subscription) -> Iterator[Entry]:
    yield _entry(
        subscription.created_at,
        What.CREATED,
        subscription,
        customer=subscription.customer_guid,
        plan=subscription.plan_guid,
        amount=subscription.effective_amount,
    )
    yield _entry(subscription.started_at, What.STARTED, subscription)
    if subscription.canceled_at is not None:
        yield _entry(subscription.canceled_at, What.CANCELED, subscription, invoices=subscription.invoice_count)
    else:
        number = subscription.invoice_count + 1
        yield _entry(subscription.next_invoice_at, What.NEXT_INVOICE, subscription, number=number)


def _filed(invoice: Invoice) -> Entry:
    return _entry(
        invoice.created_at,
        What.FILED,
        invoice,
        amount=invoice.effective_amount,
        period=invoice.scheduled_at,
        title=invoice.title,
        status=invoice.status,
        overpaid=invoice.overpaid or None,
    )


def _of_invoice(session: Session, invoice: Invoice, newest: Newest) -> Iterator[Entry]:
    yield _entry(
        invoice.created_at,
        What.FILED,
        invoice,
        amount=invoice.effective_amount,
        period=invoice.scheduled_at,
        title=invoice.title,
        instrument=invoice.funding_instrument_uri,
    )
    yield from _of_transactions(session, invoice.transactions)
    if invoice.updated_at > invoice.created_at or invoice.transactions:
        overpaid = invoice.overpaid or None
        yield _entry(invoice.updated_at, What.CHANGED, invoice, status=invoice.status, overpaid=overpaid)


def _of_transaction(session: Session, transaction: Transaction, newest: Newest) -> Iterator[Entry]:
    return _of_transactions(session, [transaction])


def _of_transactions(session: Session, transactions: Sequence[Transaction]) -> Iterator[Entry]:
    """Of transactions of one company."""
    if not transactions:
        return
    for transaction in transactions:
        yield _entry(
            transaction.created_at,
            What.CREATED,
            transaction,
            type=transaction.transaction_type,
            amount=transaction.amount,
            invoice=transaction.invoice_guid,
            instrument=transaction.funding_instrument_uri,
            refund_of=transaction.refund_of_guid,
            duplicate_of=transaction.duplicate_of_guid,
        )
    company_guid, guids = transactions[0].company_guid, [each.guid for each in transactions]
    for failure in _theirs(session, TransactionFailure, TransactionFailure.transaction_guid, company_guid, guids):
        is_repeated = failure.count > 1
        yield _entry_of(
            failure.created_at,
            What.ATTEMPT_FAILED,
            failure.transaction_guid,
            code=failure.error_code,
            number=failure.error_number,
            message=failure.error_message,
            times=failure.count if is_repeated else None,
            until=failure.updated_at if is_repeated else None,
        )
    for event in _theirs(session, TransactionEvent, TransactionEvent.transaction_guid, company_guid, guids):
        told = {"status": event.status, "id": event.processor_id, "occurred_at": event.occurred_at}
        yield Entry(event.created_at, What.EVENT, event.transaction_guid, told)
    for dispute in _theirs(session, Dispute, Dispute.transaction_guid, company_guid, guids):
        if dispute.updated_at > dispute.created_at:
            yield Entry(dispute.created_at, What.DISPUTED, dispute.transaction_guid, {})
        yield Entry(dispute.updated_at, What.DISPUTED, dispute.transaction_guid, {"state": dispute.state})
    for audit in _theirs(session, AuditEntry, AuditEntry.subject_guid, company_guid, guids):
        yield _by_hand(audit)
    for transaction in transactions:
        yield _present(transaction)


def _present(transaction: Transaction) -> Entry:
    if transaction.is_open:
        if transaction.leased_until is not None:
            return _entry(transaction.leased_until, What.LEASED_UNTIL, transaction, attempt=transaction.attempt)
        number, in_doubt = transaction.attempt + 1, transaction.in_doubt or None
        return _entry(transaction.next_attempt_at, What.NEXT_ATTEMPT, transaction, attempt=number, in_doubt=in_doubt)
    return _entry(
        transaction.updated_at,
        What.ENDED if transaction.status is None else What.ANSWERED,
        transaction,
        submit_status=transaction.submit_status,
        status=transaction.status,
        processor_uri=transaction.processor_uri,
        attempts=transaction.attempt,
    )


def _theirs(session: Session, model: type[Own], column: Any, company_guid: str, guids: Sequence[str]) -> Sequence[Own]:
    return session.scalars(select(model).where(model.company_guid == company_guid, column.in_(guids))).all()


def _by_hand(audit: AuditEntry) -> Entry:
    told = {"command": audit.action, "actor": audit.actor, "detail": audit.detail}
    return Entry(audit.created_at, What.DONE_BY_HAND, audit.subject_guid, told)


def _of_run(session: Session, run: BillingRun, newest: Newest) -> Iterator[Entry]:
    yield _entry(run.started_at, What.STARTED, run, host=run.host)
    if run.finished_at is not None:
        yield _entry(run.finished_at, What.ENDED, run, **{name: count for name, count in run.counts.items() if count})


_STORIES: dict[type[Base], Callable[[Session, Any, Newest], Iterator[Entry]]] = {
    Company: _of_company,
    Plan: _of_plan,
    Customer: _of_customer,
    Subscription: _of_subscription,
    Invoice: _of_invoice,
    Transaction: _of_transaction,
    BillingRun: _of_run,
}
