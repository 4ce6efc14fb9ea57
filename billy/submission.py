"""Submitting transactions: claim, commit, call, record, commit.

The only place, with ``billing_run``, where the database and the processor meet. In two columns::

    database                                          processor
    claim: attempt + 1, in doubt, leased    COMMIT
                                                      submit (or look up), no transaction open
    record the answer … if attempt is ours  COMMIT

* A **claim** is a lease written before the call, and ``attempt`` is its fencing token. Scheduler runs and
  requests claim alike, so nothing is submitted by two at once.
* **Doubt** is set by the claim's commit. Only a definite answer clears it, a conclusive look-up, or an
  ``Unavailable`` of the send itself. A claim that finds doubt looks up and never sends; if the processor
  certainly has nothing, the transaction becomes due again and a *new* claim sends it.
* "Not found" is **conclusive** once the last possible send, one call deadline and the settle time are past.
* A **late answer** (its attempt is not the claimed one any more) is still a fact: it is recorded if it
  brings a receipt, and never undoes newer state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from sqlalchemy import select, tuple_, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from billy import clock
from billy.db import open_transactions
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
    Invoice,
    InvoiceStatus,
    SubmitStatus,
    Transaction,
    TransactionEvent,
    TransactionFailure,
    TransactionStatus,
    lock,
    lock_invoice,
    lock_invoices,
)
from billy.processors.base import Callback, Processor, ProcessorFactory, Receipt, Submission, SubmissionType
from billy.secrets import Vault
from billy.settings import Settings
from billy.statements import claim_due, database_now

log = structlog.get_logger(__name__)

T = TypeVar("T")

DATABASE_TRIES = 4
"""How often a piece of work is begun that the database could not finish."""


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


@dataclass(frozen=True, slots=True)
class Claim:
    """A transaction that is ours until the lease ends, in plain values: no database is needed to act on it."""

    company_guid: str
    customer_guid: str
    attempt: int
    was_in_doubt: bool
    """Look it up; do not send."""
    is_conclusive: bool
    """Nothing can still be on its way: a look-up that finds nothing proves that nothing happened."""
    send_before: float
    """``time.monotonic()`` after which it must not be sent under this claim."""
    sealed_processor_key: str
    parked_count: int
    submission: Submission

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


class Processors:
    """The adapters, by company. Each call asserts that this thread has no database transaction open."""

    def __init__(self, factory: ProcessorFactory, vault: Vault) -> None:
        self._vault = vault
        self._open = lru_cache(maxsize=1024)(lambda sealed_key: _Guarded(factory(vault.open(sealed_key))))

    def of(self, company: Company) -> Processor:
        """The adapter for a company's processor key."""
        return self.with_key(company.sealed_processor_key)

    def with_key(self, sealed_processor_key: str) -> Processor:
        """The same, from the stored key."""
        processor: Processor = self._open(sealed_processor_key)
        return processor


class _Guarded:
    def __init__(self, adapter: Processor) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._adapter, name)

        def call(*args: Any) -> Any:
            # A transaction held during a call holds its locks for as long as the processor likes (D45).
            assert not open_transactions(), f"{name}() of a processor was called inside a database transaction"
            return method(*args)

        return call


class Submitter:
    """Claims, performs and records submissions; shared by threads and requests."""

    def __init__(self, settings: Settings, processors: Processors) -> None:
        self.processors = processors
        self._settings = settings
        self._policy = settings.retry_policy
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Send nothing more: claims not yet sent are given back."""
        self._stopping.set()

    # -- claim ---------------------------------------------------------------------------------------

    def claim_due(self, session: Session, now: datetime, limit: int) -> list[Claim]:
        """Claim what is due. The claims count from the caller's commit on, not before."""
        began = time.monotonic()
        rows = claim_due(session, now, limit=limit, lease=self._settings.lease, deadline=self._settings.call_deadline)
        return [self._claim(row, began) for row in rows]

    def _claim(self, row: Any, began: float) -> Claim:
        settings = self._settings
        settled_at = row.database_now
        if row.last_send_at is not None:
            settled_at = row.last_send_at + settings.call_deadline + settings.settle_time
        return Claim(
            company_guid=row.company_guid,
            customer_guid=row.customer_guid,
            attempt=row.attempt + 1,
            was_in_doubt=row.in_doubt,
            is_conclusive=row.in_doubt and row.database_now >= settled_at,
            send_before=began + (settings.lease - settings.call_deadline).total_seconds(),
            sealed_processor_key=row.sealed_processor_key,
            parked_count=row.parked_count,
            submission=_submission(row, customer_uri=row.customer_uri, charge_uri=row.charge_uri),
        )

    def _claim_new(self, session: Session, transaction: Transaction, *, send_before: float, now: datetime) -> Claim:
        # Claimed in the very INSERT, so no run can slip in between the request's commit and its call (D16).
        transaction.attempt = 1
        transaction.in_doubt = True
        transaction.leased_until = now + self._settings.lease
        transaction.last_send_at = now + self._settings.lease - self._settings.call_deadline
        session.add(transaction)
        company = session.get_one(Company, transaction.company_guid)
        customer = session.get_one(Customer, (transaction.company_guid, transaction.customer_guid))
        charge_uri = None
        if transaction.refund_of_guid is not None:
            charge = session.get_one(Transaction, (transaction.company_guid, transaction.refund_of_guid))
            charge_uri = charge.processor_uri
        return Claim(
            company_guid=transaction.company_guid,
            customer_guid=transaction.customer_guid,
            attempt=transaction.attempt,
            was_in_doubt=False,
            is_conclusive=False,
            send_before=send_before,
            sealed_processor_key=company.sealed_processor_key,
            parked_count=company.parked_count,
            submission=_submission(transaction, customer_uri=customer.processor_uri, charge_uri=charge_uri),
        )

    # -- call ----------------------------------------------------------------------------------------

    def perform(self, claim: Claim) -> Outcome:
        """Send a claimed submission, or look it up. Needs no database; never raises."""
        customer_uri = None
        try:
            processor = self.processors.with_key(claim.sealed_processor_key)
            submission = claim.submission
            if submission.customer_uri is None and submission.type is not SubmissionType.REFUND:
                customer_uri = self._customer_of(processor, claim)
                submission = replace(submission, customer_uri=customer_uri)
            if claim.was_in_doubt:
                return Outcome(claim, processor.look_up(submission) or Silence.NOT_FOUND, customer_uri)
            if self._stopping.is_set() or time.monotonic() >= claim.send_before:
                return Outcome(claim, Silence.NOT_SENT, customer_uri)
            return Outcome(claim, processor.submit(submission), customer_uri)
        except ProcessorError as error:
            return Outcome(claim, error, customer_uri)
        except Exception as error:  # an adapter's bug must not stop the others; it is reported as what it is
            log.exception("submission_crashed", company=claim.company_guid, transaction=claim.transaction_guid)
            return Outcome(claim, error, customer_uri)

    @staticmethod
    def _customer_of(processor: Processor, claim: Claim) -> str:
        try:
            return processor.create_customer(claim.customer_guid)
        except OutcomeUnknown as error:
            # No money is in question: asked again with the same guid, the processor has the same record.
            raise Unavailable(str(error)) from error

    # -- record --------------------------------------------------------------------------------------

    def record(self, session: Session, outcomes: Sequence[Outcome], now: datetime) -> list[Result]:
        """Write what became of claims: transactions, failures, and the invoices that follow from them.

        The caller commits. Results come in the order of ``outcomes``.
        """
        self._keep_customers(session, outcomes)
        invoices = {
            (invoice.company_guid, invoice.guid): invoice
            for invoice in lock_invoices(
                session,
                tuple_(Invoice.company_guid, Invoice.guid).in_(
                    sorted({(outcome.claim.company_guid, outcome.claim.invoice_guid) for outcome in outcomes})
                ),
            )
        }
        gone = self._deleted_customers(session, outcomes)
        results = []
        for outcome in outcomes:
            claim = outcome.claim
            invoice = invoices[claim.company_guid, claim.invoice_guid]
            transaction = next(each for each in invoice.transactions if each.guid == claim.transaction_guid)
            is_gone = (claim.company_guid, claim.customer_guid) in gone
            results.append(self._record_one(session, invoice, transaction, outcome, now, is_gone=is_gone))
        self._park(session, outcomes, now)
        return results

    def _record_one(
        self,
        session: Session,
        invoice: Invoice,
        transaction: Transaction,
        outcome: Outcome,
        now: datetime,
        *,
        is_gone: bool,
    ) -> Result:
        claim, answer = outcome.claim, outcome.answer
        if isinstance(answer, Receipt):
            transaction = self._take_receipt(session, invoice, transaction, answer, now, attempt=claim.attempt)
        elif not _is_held(transaction, claim.attempt):
            log.warning("answer_came_late", transaction=transaction.guid, attempt=claim.attempt, answer=str(answer))
            return Result.STALE
        else:
            self._take_no_receipt(session, transaction, claim, answer, now)
        self._follow(invoice, now, is_gone=is_gone)
        return self._result(transaction, now)

    def _take_receipt(
        self,
        session: Session,
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
            log.error("charge_doubled", transaction=transaction.guid, processor_uri=receipt.processor_uri)
            known = transaction.duplicate(receipt.processor_uri, status, now)
            session.add(known)
            invoice.transactions.append(known)
        transaction = known or transaction
        was_failed = transaction.status is TransactionStatus.FAILED
        if is_late and transaction.is_open:
            # Whoever holds a newer claim is fenced off: what he was to find out is known.
            transaction.attempt += 1
        if transaction.is_charge and status is TransactionStatus.PENDING:
            # A superseded charge that comes alive again beside the present one: both are facts, and
            # uq_transaction_charge_alive has room for one.
            alive = (each for each in invoice.charges if each is not transaction and (each.is_open or each.is_moving))
            other = next(alive, None)
            if other is not None and transaction.duplicate_of_guid is None:
                log.error("charge_doubled", transaction=transaction.guid, processor_uri=receipt.processor_uri)
                transaction.duplicate_of_guid = other.guid
        transaction.accept(receipt.processor_uri, status, now)
        if transaction.status is TransactionStatus.FAILED and not was_failed:
            self._add_failure(session, transaction, now, code=receipt.code, message=receipt.message)
        return transaction

    def _take_no_receipt(
        self,
        session: Session,
        transaction: Transaction,
        claim: Claim,
        answer: Silence | Receipt | Exception,
        now: datetime,
    ) -> None:
        ids = {"company": claim.company_guid, "transaction": claim.transaction_guid, "attempt": claim.attempt}
        if answer is Silence.NOT_SENT:
            transaction.give_back(now, in_doubt=claim.was_in_doubt)
        elif answer is Silence.NOT_FOUND and claim.is_conclusive:
            log.info("doubt_ended", **ids, happened=False)
            transaction.give_back(now, in_doubt=False)
        elif isinstance(answer, Refused):
            log.info("charge_declined", **ids, code=answer.code, hard=answer.hard)
            self._add_failure(session, transaction, now, code=answer.code, message=str(answer), number=answer.number)
            transaction.decline(self._policy, now, hard=answer.hard)
        else:
            # Unavailable and Misconfigured say of a *send* that nothing happened. Of a look-up they say only
            # that we still do not know.
            nothing_happened = isinstance(answer, Unavailable | Misconfigured) and not claim.was_in_doubt
            code = answer.code if isinstance(answer, ProcessorError) else OutcomeUnknown.code
            log.warning("submission_unanswered", **ids, code=code, in_doubt=not nothing_happened)
            silences = self._count_silence(session, transaction, now, code=code, message=_told(answer))
            retry_after = answer.retry_after if isinstance(answer, Unavailable) else None
            transaction.postpone(
                self._policy.next_after_silence(now, silences, retry_after=retry_after),
                now,
                in_doubt=not nothing_happened,
            )

    def _follow(self, invoice: Invoice, now: datetime, *, is_gone: bool) -> None:
        before, was_overpaid = invoice.status, invoice.overpaid
        if is_gone:
            invoice.give_up(now)
        else:
            invoice.follow_charges(now)
        if before is InvoiceStatus.CANCELED and invoice.status is InvoiceStatus.SETTLED:
            log.error("canceled_invoice_paid", company=invoice.company_guid, invoice=invoice.guid)
        if invoice.overpaid and not was_overpaid:
            log.error("invoice_overpaid", company=invoice.company_guid, invoice=invoice.guid)

    @staticmethod
    def _result(transaction: Transaction, now: datetime) -> Result:
        if transaction.is_open:
            return Result.GIVEN_BACK if transaction.next_attempt_at <= now else Result.RETRYING
        if transaction.submit_status is SubmitStatus.DONE:
            return Result(str(transaction.status))
        return Result.CANCELED if transaction.submit_status is SubmitStatus.CANCELED else Result.FAILED

    @staticmethod
    def _keep_customers(session: Session, outcomes: Iterable[Outcome]) -> None:
        made = {(o.claim.company_guid, o.claim.customer_guid): o.customer_uri for o in outcomes if o.customer_uri}
        for (company_guid, guid), uri in sorted(made.items()):
            session.execute(
                update(Customer)
                .where(Customer.company_guid == company_guid, Customer.guid == guid, Customer.processor_uri.is_(None))
                .values(processor_uri=uri)
            )

    @staticmethod
    def _deleted_customers(session: Session, outcomes: Iterable[Outcome]) -> set[tuple[str, str]]:
        # Read under the invoices' locks: a deletion that comes later finds what we record and cancels it.
        keys = sorted({(o.claim.company_guid, o.claim.customer_guid) for o in outcomes})
        statement = select(Customer.company_guid, Customer.guid).where(
            tuple_(Customer.company_guid, Customer.guid).in_(keys), Customer.deleted.is_(True)
        )
        return {(row.company_guid, row.guid) for row in session.execute(statement)}

    @staticmethod
    def _park(session: Session, outcomes: Iterable[Outcome], now: datetime) -> None:
        refused = {o.claim.company_guid for o in outcomes if isinstance(o.answer, Misconfigured)}
        answered = {
            o.claim.company_guid for o in outcomes if o.claim.parked_count and isinstance(o.answer, Receipt | Refused)
        }
        for guid in sorted(refused | answered):
            company = lock(session, session.get_one(Company, guid))
            if guid not in refused:
                company.unpark(now)
            elif company.parked_until is None or company.parked_until <= now:
                log.error("company_parked", company=guid)
                company.park(now)

    def _add_failure(
        self,
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

    def _count_silence(
        self, session: Session, transaction: Transaction, now: datetime, *, code: str | None, message: str
    ) -> int:
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
            self._add_failure(session, transaction, now, code=code, message=message)
            return 1
        last.count += 1
        last.error_message = message
        last.updated_at = now
        return last.count

    # -- a request's own submissions -------------------------------------------------------------------

    def submit_now(self, session: Session, transactions: Sequence[Transaction], *, started: float) -> None:
        """Submit a request's new transactions at once; ``started`` is ``time.monotonic()`` at its beginning.

        Commits twice: the claimed intent, then what became of it. What the processor does never raises: a
        transaction that could not be finished is left for the scheduler, open.
        """
        send_before = started + (self._settings.request_deadline - self._settings.call_deadline).total_seconds()
        now = database_now(session)
        claims = [
            self._claim_new(session, transaction, send_before=send_before, now=now) for transaction in transactions
        ]
        session.commit()  # from here on a crash leaves a claim in doubt, which a run looks up
        outcomes = [self.perform(claim) for claim in claims]
        self.record_and_commit(session, outcomes, clock.utc_now())

    def record_and_commit(self, session: Session, outcomes: Sequence[Outcome], now: datetime) -> list[Result]:
        """Record and commit, again if the database stumbles: the money has moved, the answer must not be lost."""
        return persist(session, lambda: self.record(session, outcomes, now))

    # -- what others tell us ---------------------------------------------------------------------------

    def apply_callback(self, session: Session, company_guid: str, callback: Callback, now: datetime) -> bool:
        """Record one event of the processor; False if it is none of ours, or was applied before.

        The caller commits. An event that finds its transaction still open closes it.
        """
        transaction = session.get(Transaction, (company_guid, callback.transaction_guid))
        if transaction is None:
            return False
        invoice = session.get_one(Invoice, (company_guid, transaction.invoice_guid))
        lock_invoice(session, invoice)
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
        session.add(
            TransactionEvent(
                company_guid=company_guid,
                guid=new_guid("TE", now),
                transaction_guid=transaction.guid,
                processor_id=callback.event_id,
                status=TransactionStatus(callback.receipt.status.value),
                occurred_at=callback.occurred_at,
                created_at=now,
            )
        )
        self._take_receipt(session, invoice, transaction, callback.receipt, now, attempt=None)
        customer = session.get_one(Customer, (company_guid, invoice.customer_guid))
        self._follow(invoice, now, is_gone=customer.deleted)
        return True

    def resolve(
        self, session: Session, transaction: Transaction, now: datetime, *, processor_uri: str | None, actor: str
    ) -> None:
        """End a doubt by hand: ``processor_uri`` is the record of what happened, None says that nothing did.

        InvalidOperationError if the transaction is not in doubt, MoneyMoving while a run is asking the
        processor itself. The caller commits.
        """
        invoice = lock_invoice(session, session.get_one(Invoice, (transaction.company_guid, transaction.invoice_guid)))
        if not transaction.in_doubt:
            raise InvalidOperationError(f"Transaction {transaction.guid} is not in doubt")
        if transaction.leased_until is not None and transaction.leased_until > database_now(session):
            raise MoneyMoving(f"Transaction {transaction.guid} is being processed right now, try again later")
        transaction.attempt += 1
        if processor_uri is None:
            transaction.give_back(now, in_doubt=False)
        else:
            transaction.accept(processor_uri, TransactionStatus.SUCCEEDED, now)
        customer = session.get_one(Customer, (invoice.company_guid, invoice.customer_guid))
        self._follow(invoice, now, is_gone=customer.deleted)
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


def persist(session: Session, work: Callable[[], T]) -> T:
    """Do ``work`` and commit; begin anew after a deadlock, a serialization error or a lost connection.

    ``work`` must be safe to repeat, also when the lost commit had in fact succeeded: every write of
    ours is, since claims are leases and records are fenced.
    """
    for left in reversed(range(DATABASE_TRIES)):
        try:
            result = work()
            session.commit()
            return result
        except (OperationalError, InterfaceError) as error:
            session.rollback()
            if not left:
                raise
            log.warning("database_stumbled", error=type(error.orig).__name__, tries_left=left)
            time.sleep(0.1 * 4 ** (DATABASE_TRIES - 1 - left))
    raise AssertionError("unreachable")


def _submission(source: Any, *, customer_uri: str | None, charge_uri: str | None) -> Submission:
    """From a transaction, or a row with its columns: to the letter what every retry of it says."""
    return Submission(
        type=SubmissionType(source.transaction_type.value),
        key=source.submission_key,
        transaction_guid=source.guid,
        invoice_guid=source.invoice_guid,
        customer_uri=customer_uri,
        amount=source.amount,
        funding_instrument_uri=source.funding_instrument_uri,
        charge_uri=charge_uri,
        appears_on_statement_as=source.appears_on_statement_as,
    )


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
