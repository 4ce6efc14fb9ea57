"""Recording what became of a submission: the answer of a call, an event of the processor, an operator's word.

Three ways to learn of a fact and one way to write it down: under the invoice's lock, with all of its
transactions at hand, so that what follows for the invoice is derived and not guessed.

* An answer counts only while its claim is held (``attempt``, the fencing token, and the lease), and
  recording ends the lease: what is recorded twice counts once.
* A **late answer** is still a fact: it is recorded if it brings a receipt, and never undoes newer state.
* A receipt for a second record of one submission is a second charge: both are kept, and the invoice
  shows ``overpaid``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billy.books import Books
from billy.errors import (
    InvalidOperationError,
    Misconfigured,
    MoneyMoving,
    OutcomeUnknown,
    ProcessorError,
    Refused,
    Unavailable,
)
from billy.guid import new_guid
from billy.models import (
    AuditEntry,
    Company,
    Customer,
    Dispute,
    DisputeState,
    Invoice,
    InvoiceStatus,
    RetryPolicy,
    SubmitStatus,
    Transaction,
    TransactionEvent,
    TransactionFailure,
    TransactionStatus,
    lock,
)
from billy.models.lifecycle import SUBMISSION, SubmitEvent
from billy.processors.base import Callback, Receipt, ReceiptStatus, Submission
from billy.statements import database_now

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A transaction that is ours until the lease ends, in plain values: no database is needed to act on it."""

    company_guid: str
    customer_guid: str
    attempt: int
    was_in_doubt: bool
    """Look it up; do not send."""
    was_abandoned: bool
    """Its last holder let the lease end without recording an answer."""
    is_conclusive: bool
    """Nothing can still be on its way: a look-up that finds nothing proves that nothing happened."""
    send_before: float
    """``time.monotonic()`` after which it must not be sent under this claim."""
    sealed_processor_key: str
    processor: str | None
    """The company's; None is the default one."""
    parked_count: int
    submission: Submission
    lost_keys: Sequence[str] = ()
    """Where a restored back-up may lack sends of it: the submission keys to look up, its own first."""

    @property
    def transaction_guid(self) -> str:
        """The claimed transaction."""
        return self.submission.transaction_guid

    @property
    def invoice_guid(self) -> str:
        """Its invoice."""
        return self.submission.invoice_guid


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim."""

    claim: Claim
    answer: Receipt | Silence | Exception
    customer_uri: str | None = None
    """The processor's customer record, where it was made on the way."""
    key: str | None = None
    """The submission key that the answer is about, where the books had lost count."""


class Silence(StrEnum):
    """Outcomes of a claim that are no answer of the processor to a submission."""

    NOT_SENT = "not sent"
    """Given back untouched: too little of the lease was left."""
    NOT_FOUND = "not found"
    """Looked up: the processor has no record of it."""


class Result(StrEnum):
    """What recording an outcome came to; the names of the summary's counts."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"
    RETRYING = "retrying"
    GIVEN_BACK = "given_back"
    """Due again at once."""
    CANCELED = "canceled"
    """Nothing to charge any more: its invoice was paid otherwise, or its customer deleted."""
    STALE = "stale"
    """The answer came too late to matter."""


def record(
    books: type[Books], session: Session, outcomes: Sequence[Outcome], now: datetime, policy: RetryPolicy
) -> list[Result]:
    """Write what became of claims: transactions, failures, and the invoices that follow from them.

    The caller commits. Results come in the order of ``outcomes``.
    """
    _keep_customers(session, outcomes)
    opened = books(session, {(outcome.claim.company_guid, outcome.claim.invoice_guid) for outcome in outcomes})
    with session.no_autoflush:  # all changes are written together, below
        results = [_record_one(opened, outcome, now, policy) for outcome in outcomes]
    opened.write()
    _park(session, outcomes, now)
    return results


def _record_one(books: Books, outcome: Outcome, now: datetime, policy: RetryPolicy) -> Result:
    claim, answer = outcome.claim, outcome.answer
    invoice = books.invoices[claim.company_guid, claim.invoice_guid]
    transaction = next(each for each in invoice.transactions if each.guid == claim.transaction_guid)
    if outcome.key is not None and _is_held(transaction, claim.attempt):
        transaction.submission_key = outcome.key
    if isinstance(answer, Receipt):
        transaction = _take_receipt(books, invoice, transaction, answer, now, attempt=claim.attempt)
    elif not _is_held(transaction, claim.attempt):
        log.warning(
            "answer_came_late",
            company=claim.company_guid,
            transaction=transaction.guid,
            attempt=claim.attempt,
            answer=type(answer).__name__,
        )
        return Result.STALE
    else:
        _take_no_receipt(books.session, transaction, claim, answer, now, policy)
    _follow(books, invoice, now)
    return _result(transaction, now)


def _take_receipt(
    books: Books,
    invoice: Invoice,
    transaction: Transaction,
    receipt: Receipt,
    now: datetime,
    *,
    attempt: int | None,
) -> Transaction:
    is_late = not _is_held(transaction, attempt)
    status = TransactionStatus(receipt.status.value)
    known = next((each for each in invoice.transactions if each.processor_uri == receipt.processor_uri), None)
    if known is None and transaction.processor_uri is not None:
        log.error(
            "charge_doubled",
            company=transaction.company_guid,
            transaction=transaction.guid,
            processor_uri=receipt.processor_uri,
        )
        known = transaction.duplicate(receipt.processor_uri, status, now)
        books.session.add(known)
        invoice.transactions.append(known)
    transaction = known or transaction
    was_failed = transaction.status is TransactionStatus.FAILED
    if is_late and transaction.is_open:
        # Whoever holds a newer claim is fenced off: what he was to find out is known.
        transaction.attempt += 1
    if transaction.is_charge and status is TransactionStatus.PENDING:
        _make_room(books, invoice, transaction, now)
    transaction.accept(receipt.processor_uri, status, now)
    if transaction.status is TransactionStatus.FAILED and not was_failed:
        _add_failure(books.session, transaction, now, code=receipt.code, message=receipt.message)
    return transaction


def _make_room(books: Books, invoice: Invoice, transaction: Transaction, now: datetime) -> None:
    # A superseded charge came alive again. The present one need not be sent any more; where it may
    # have been, both are facts, and uq_transaction_charge_alive has room for one.
    for other in invoice.charges:
        if other is transaction or transaction.duplicate_of_guid is not None:
            continue
        if other.is_moving:
            log.error(
                "charge_doubled", company=transaction.company_guid, transaction=transaction.guid, beside=other.guid
            )
            transaction.duplicate_of_guid = other.guid
        elif other.is_open:
            other.cancel(now)
            books.write()  # before this one counts as alive


def _take_no_receipt(
    session: Session,
    transaction: Transaction,
    claim: Claim,
    answer: Silence | Receipt | Exception,
    now: datetime,
    policy: RetryPolicy,
) -> None:
    ids = {"company": claim.company_guid, "transaction": claim.transaction_guid, "attempt": claim.attempt}
    if answer is Silence.NOT_SENT:
        transaction.give_back(now, in_doubt=claim.was_in_doubt)
    elif answer is Silence.NOT_FOUND and claim.is_conclusive:
        log.info("doubt_ended", **ids, happened=False)
        if claim.lost_keys:
            transaction.resume(policy, now)
        else:
            transaction.give_back(now, in_doubt=False)
    elif isinstance(answer, Refused):  # by a look-up too: the processor has the record of its refusal
        log.info("submission_declined", **ids, code=answer.code, hard=answer.hard)
        _add_failure(session, transaction, now, code=answer.code, message=str(answer), number=answer.number)
        transaction.decline(policy, now, hard=answer.hard)
    else:
        # Unavailable and Misconfigured say of a *send* that nothing happened. Of a look-up they say only
        # that we still do not know.
        nothing_happened = isinstance(answer, Unavailable | Misconfigured) and not claim.was_in_doubt
        code = answer.code if isinstance(answer, ProcessorError) else OutcomeUnknown.code
        log.warning("submission_unanswered", **ids, code=code, in_doubt=not nothing_happened)
        silences = _count_silence(session, transaction, now, code=code, message=_told(answer))
        retry_after = answer.retry_after if isinstance(answer, Unavailable) else None
        transaction.postpone(
            policy.next_after_silence(now, silences, retry_after=retry_after),
            now,
            in_doubt=not nothing_happened,
        )


def _follow(books: Books, invoice: Invoice, now: datetime) -> None:
    before, was_overpaid = invoice.status, invoice.overpaid
    if books.is_gone(invoice):
        invoice.give_up(now)
    else:
        invoice.follow_charges(now)
    if before is InvoiceStatus.CANCELED and invoice.status is InvoiceStatus.SETTLED:
        log.error("canceled_invoice_paid", company=invoice.company_guid, invoice=invoice.guid)
    if invoice.overpaid and not was_overpaid:
        log.error("invoice_overpaid", company=invoice.company_guid, invoice=invoice.guid)


def _result(transaction: Transaction, now: datetime) -> Result:
    if transaction.is_open:
        return Result.GIVEN_BACK if transaction.next_attempt_at <= now else Result.RETRYING
    if transaction.submit_status is SubmitStatus.DONE:
        return Result(str(transaction.status))
    return Result.CANCELED if transaction.submit_status is SubmitStatus.CANCELED else Result.FAILED


def _keep_customers(session: Session, outcomes: Iterable[Outcome]) -> None:
    made = {(o.claim.company_guid, o.claim.customer_guid): o.customer_uri for o in outcomes if o.customer_uri}
    for (company_guid, guid), uri in sorted(made.items()):
        session.execute(
            update(Customer)
            .where(Customer.company_guid == company_guid, Customer.guid == guid, Customer.processor_uri.is_(None))
            .values(processor_uri=uri)
        )


def _park(session: Session, outcomes: Iterable[Outcome], now: datetime) -> None:
    refused = {
        o.claim.company_guid: o.claim.sealed_processor_key for o in outcomes if isinstance(o.answer, Misconfigured)
    }
    answered = {
        o.claim.company_guid for o in outcomes if o.claim.parked_count and isinstance(o.answer, Receipt | Refused)
    }
    for guid in sorted(refused.keys() | answered):
        company = lock(session, session.get_one(Company, guid))
        if guid not in refused:
            company.unpark(now)
        elif company.is_to_be_parked(now, refused=refused[guid]):
            log.error("company_parked", company=guid)
            company.park(now)


def _add_failure(
    session: Session,
    transaction: Transaction,
    now: datetime,
    *,
    code: str | None,
    message: str | None,
    number: int | None = None,
) -> None:
    transaction.failure_count += 1
    session.add(
        TransactionFailure(
            company_guid=transaction.company_guid,
            guid=new_guid("TF", now),
            transaction_guid=transaction.guid,
            error_message=message,
            error_number=number,
            error_code=code,
            count=1,
            created_at=now,
            updated_at=now,
        )
    )


def _count_silence(session: Session, transaction: Transaction, now: datetime, *, code: str | None, message: str) -> int:
    # An outage of a day must not leave a row for each try: repeats of the last failure count up.
    last = session.scalar(
        select(TransactionFailure)
        .where(
            TransactionFailure.company_guid == transaction.company_guid,
            TransactionFailure.transaction_guid == transaction.guid,
        )
        .order_by(TransactionFailure.guid.desc())
        .limit(1)
    )
    if last is None or last.error_code != code:
        _add_failure(session, transaction, now, code=code, message=message)
        return 1
    last.count += 1
    last.error_message = message
    last.updated_at = now
    return last.count


def apply_callback(session: Session, company_guid: str, callback: Callback, now: datetime) -> bool:
    """Record one event of the processor; False if it is none of ours, or was applied before.

    The caller commits. An event that finds its transaction still open closes it, unless it tells of a refusal:
    then it is MoneyMoving while the transaction is in doubt.
    """
    transaction = session.get(Transaction, (company_guid, callback.transaction_guid))
    if transaction is None:
        # A period that was filed again after a restored back-up found the processor's old record, which
        # names the transaction that the back-up did not have.
        its_record = Transaction.processor_uri == callback.receipt.processor_uri
        transaction = session.scalar(select(Transaction).where(Transaction.company_guid == company_guid, its_record))
    if transaction is None:
        return False
    books = Books(session, [(company_guid, transaction.invoice_guid)])
    [invoice] = books.invoices.values()
    # Under the lock two deliveries of one event come one after the other; the constraint stands behind.
    seen = session.scalar(
        select(TransactionEvent.guid).where(
            TransactionEvent.company_guid == company_guid,
            TransactionEvent.transaction_guid == transaction.guid,
            TransactionEvent.processor_id == callback.event_id,
        )
    )
    if seen is not None:
        return False
    receipt = callback.receipt
    is_known = any(each.processor_uri == receipt.processor_uri for each in invoice.transactions)
    if receipt.status is ReceiptStatus.FAILED and not is_known:
        # No money moved, and whoever submitted it is told by the answer, or by the look-up: only there is it known
        # whether another try is due. But an answer under way may be older than this event:
        #
        #   the call               | the processor
        #   hears "pending"        |
        #                          | the charge fails; this event
        #   records "pending"      |
        #
        # so the event comes again once the answer is in.
        if transaction.in_doubt:
            raise MoneyMoving(f"Transaction {transaction.guid} is being processed right now, deliver this again later")
        return False
    session.add(
        TransactionEvent(
            company_guid=company_guid,
            guid=new_guid("TE", now),
            transaction_guid=transaction.guid,
            processor_id=callback.event_id,
            status=TransactionStatus(receipt.status.value),
            occurred_at=callback.occurred_at,
            created_at=now,
        )
    )
    if callback.dispute is not None:
        log.warning("charge_disputed", company=company_guid, transaction=transaction.guid, state=callback.dispute)
        Dispute.record(session, transaction, DisputeState(callback.dispute.value), now)
    _apply(books, invoice, transaction, receipt, now)
    return True


def apply_record(session: Session, company_guid: str, transaction_guid: str, receipt: Receipt, now: datetime) -> bool:
    """Record how a pending transaction ended, or a second record of it; False if the books have it already.

    What is not pending any more was told of meanwhile, by somebody who heard it later than the caller did. The
    caller commits.
    """
    transaction = session.get_one(Transaction, (company_guid, transaction_guid))
    books = Books(session, [(company_guid, transaction.invoice_guid)])
    [invoice] = books.invoices.values()
    if receipt.processor_uri == transaction.processor_uri:
        is_news = transaction.status is TransactionStatus.PENDING and receipt.status is not ReceiptStatus.PENDING
    else:
        is_news = all(each.processor_uri != receipt.processor_uri for each in invoice.transactions)
    if is_news:
        _apply(books, invoice, transaction, receipt, now)
    return is_news


def _apply(books: Books, invoice: Invoice, transaction: Transaction, receipt: Receipt, now: datetime) -> None:
    """A fact that no claim asked for."""
    _take_receipt(books, invoice, transaction, receipt, now, attempt=None)
    _follow(books, invoice, now)


def resolve(
    session: Session, transaction: Transaction, now: datetime, *, processor_uri: str | None, actor: str
) -> None:
    """End a doubt by hand: ``processor_uri`` is the record of what happened, None says that nothing did.

    InvalidOperationError if the transaction is not in doubt, MoneyMoving while a run is asking the
    processor itself. The caller commits.
    """
    books = Books(session, [(transaction.company_guid, transaction.invoice_guid)])
    if not transaction.in_doubt:
        raise InvalidOperationError(f"Transaction {transaction.guid} is not in doubt")
    _refuse_leased(session, transaction)
    transaction.attempt += 1
    if processor_uri is None:
        transaction.give_back(now, in_doubt=False)
    else:
        transaction.accept(processor_uri, TransactionStatus.SUCCEEDED, now)
    [invoice] = books.invoices.values()
    _follow(books, invoice, now)
    session.add(
        AuditEntry.of(
            now,
            company_guid=transaction.company_guid,
            actor=actor,
            action="resolve",
            subject_guid=transaction.guid,
            detail="did not happen" if processor_uri is None else f"happened: {processor_uri}",
        )
    )


def retry(session: Session, transaction: Transaction, now: datetime, *, actor: str) -> bool:
    """Have the next run take an open transaction, whenever it would have been due; False if it was due already.

    InvalidOperationError, which says what can be done instead, if it is closed; MoneyMoving while a run has it. The
    caller commits.
    """
    Books(session, [(transaction.company_guid, transaction.invoice_guid)])  # locks
    if not SUBMISSION.allows(SubmitEvent.RETRY, transaction.submit_status):
        raise InvalidOperationError(f"Transaction {transaction.guid} {_instead_of_a_retry(transaction)}")
    _refuse_leased(session, transaction)
    if transaction.next_attempt_at <= now:
        return False
    planned = transaction.next_attempt_at
    transaction.retry(now)
    session.add(
        AuditEntry.of(
            now,
            company_guid=transaction.company_guid,
            actor=actor,
            action="retry",
            subject_guid=transaction.guid,
            detail=f"due at once instead of at {planned.isoformat(timespec='seconds')}",
        )
    )
    return True


def _instead_of_a_retry(transaction: Transaction) -> str:
    # A closed one is never opened again: the processor may have a record of it, and its invoice another charge.
    if transaction.status is TransactionStatus.PENDING:
        return "is pending at the processor; billy reconcile asks how it ended"
    if transaction.has_succeeded:
        return "has succeeded; there is nothing to retry"
    how = "was canceled" if transaction.submit_status is SubmitStatus.CANCELED else "has failed for good"
    if transaction.is_charge:
        return (
            f"{how} and stays so; what is still owed is charged by a new one: "
            f"PUT /v1/invoices/{transaction.invoice_guid} with a funding_instrument_uri, which may be the same"
        )
    return f"{how} and stays so; a new one gives the money back: POST /v1/invoices/{transaction.invoice_guid}/refund"


def _refuse_leased(session: Session, transaction: Transaction) -> None:
    if transaction.leased_until is not None and transaction.leased_until > database_now(session):
        raise MoneyMoving(f"Transaction {transaction.guid} is being processed right now, try again later")


def _is_held(transaction: Transaction, attempt: int | None) -> bool:
    # Recording ends the lease, so what was recorded once is late the second time.
    return transaction.attempt == attempt and transaction.leased_until is not None


def _told(answer: object) -> str:
    if isinstance(answer, ProcessorError):
        return str(answer)
    if isinstance(answer, Silence):
        return "The processor has no record of it yet"
    # A bug's own text may hold anything, a key included.
    return f"Billy's adapter crashed: {type(answer).__name__}"
