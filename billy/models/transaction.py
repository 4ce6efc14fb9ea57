"""A transaction: one movement of money that Billy submits to the processor.

Its columns are in two groups. What callers see tells the story; what follows ``submission_key`` is
the scheduler's: the lease, the fencing token and the doubt (``billy.submission`` explains them).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    Index,
    Select,
    String,
    Text,
    UniqueConstraint,
    bindparam,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from billy.guid import new_guid
from billy.models.base import STATEMENT_LENGTH, URI_LENGTH, Guid, Owned, enum_column, reference
from billy.models.lifecycle import (
    SUBMISSION,
    TRANSACTION,
    ProcessorEvent,
    SubmitEvent,
    SubmitStatus,
    TransactionStatus,
)
from billy.models.plain import fetch, shape
from billy.models.retry import RetryPolicy


class TransactionType(StrEnum):
    """Which way the money goes."""

    DEBIT = "debit"
    CREDIT = "credit"
    REFUND = "refund"


OPEN = (SubmitStatus.STAGED, SubmitStatus.RETRYING)

_OPEN_SQL = "submit_status IN ('staged', 'retrying')"
_PENDING_SQL = "submit_status = 'done' AND status = 'pending'"
_ALIVE_SQL = (
    "transaction_type <> 'refund' AND duplicate_of_guid IS NULL"
    f" AND ({_OPEN_SQL} OR (submit_status = 'done' AND status = 'pending'))"
)


class Transaction(Owned):
    """A debit, credit or refund."""

    __tablename__ = "transaction"
    __table_args__ = (
        reference("invoice", "invoice_guid"),
        reference("customer", "customer_guid"),
        reference("subscription", "subscription_guid"),
        reference("plan", "plan_guid"),
        reference("transaction", "refund_of_guid"),
        reference("transaction", "duplicate_of_guid"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("(transaction_type = 'refund') = (refund_of_guid IS NOT NULL)", name="refund_names_its_charge"),
        CheckConstraint("failure_count >= 0 AND refusal_count >= 0 AND attempt >= 0", name="counts_not_negative"),
        Index("ix_transaction_invoice", "company_guid", "invoice_guid", "guid"),
        Index("ix_transaction_customer", "company_guid", "customer_guid", "guid"),
        Index("ix_transaction_subscription", "company_guid", "subscription_guid", "guid"),
        Index("ix_transaction_plan", "company_guid", "plan_guid", "guid"),
        Index("ix_transaction_processor_uri", "company_guid", "processor_uri"),
        Index("ix_transaction_submit_status", "company_guid", "submit_status", "guid"),
        Index("ix_transaction_status", "company_guid", "status", "guid"),
        Index("ix_transaction_transaction_type", "company_guid", "transaction_type", "guid"),
        Index("ix_transaction_created", "company_guid", "created_at", "guid"),
        Index(
            "ix_transaction_open",
            "next_attempt_at",
            postgresql_where=text(_OPEN_SQL),
            sqlite_where=text(_OPEN_SQL),
        ),
        Index(
            "ix_transaction_pending",
            "next_attempt_at",
            postgresql_where=text(_PENDING_SQL),
            sqlite_where=text(_PENDING_SQL),
        ),
        # Two charges alive on one invoice would take the money twice.
        Index(
            "uq_transaction_charge_alive",
            "company_guid",
            "invoice_guid",
            unique=True,
            postgresql_where=text(_ALIVE_SQL),
            sqlite_where=text(_ALIVE_SQL),
        ),
    )
    _shown = ("company_guid", "guid", "transaction_type", "amount", "submit_status", "status", "attempt", "in_doubt")

    invoice_guid: Mapped[str] = mapped_column(Guid)
    customer_guid: Mapped[str] = mapped_column(Guid)
    """The invoice's, repeated so that a customer's list needs one index and no join."""
    subscription_guid: Mapped[str | None] = mapped_column(Guid)
    plan_guid: Mapped[str | None] = mapped_column(Guid)
    refund_of_guid: Mapped[str | None] = mapped_column(Guid)
    """The charge that a refund gives back."""
    duplicate_of_guid: Mapped[str | None] = mapped_column(Guid)
    """Set where the processor charged twice for one submission: this row is the second record of it."""
    transaction_type: Mapped[TransactionType] = mapped_column(enum_column(TransactionType, "transaction_type"))
    amount: Mapped[int] = mapped_column(BigInteger)
    """Cents, more than zero."""
    submit_status: Mapped[SubmitStatus] = mapped_column(enum_column(SubmitStatus, "submit_status"))
    status: Mapped[TransactionStatus | None] = mapped_column(enum_column(TransactionStatus, "status"))
    """What the processor says; empty until it has a record."""
    funding_instrument_uri: Mapped[str | None] = mapped_column(String(URI_LENGTH))
    processor_uri: Mapped[str | None] = mapped_column(String(URI_LENGTH))
    """The processor's record of this transaction."""
    appears_on_statement_as: Mapped[str | None] = mapped_column(String(STATEMENT_LENGTH))
    failure_count: Mapped[int]
    """How many rows ``failures`` has."""
    updated_at: Mapped[datetime]

    submission_key: Mapped[str] = mapped_column(String(128))
    """Names this submission at the processor: its idempotency key, ``<stem>-<n>``."""
    attempt: Mapped[int]
    """Claims so far; an answer is recorded only while it still is the claimed one (fencing token)."""
    in_doubt: Mapped[bool]
    """The processor may have acted on it and we do not know: look up, never send."""
    lost_since: Mapped[datetime | None]
    """Set while a restored back-up may lack sends of it: from this instant on, under this submission key or a later
    one (``billy.models.recovery``)."""
    last_send_at: Mapped[datetime | None]
    """Database clock: no send of the current submission key starts after this instant."""
    leased_until: Mapped[datetime | None]
    """Database clock: until then the claim is its owner's."""
    next_attempt_at: Mapped[datetime]
    """Business time: not claimed before. Of one that is pending at the processor: when that was last told."""
    refusal_count: Mapped[int]
    """Soft refusals so far; compared with ``billy.transaction.maximum_retry``."""

    failures: Mapped[list[TransactionFailure]] = relationship(viewonly=True, order_by="TransactionFailure.guid")

    @property
    def is_charge(self) -> bool:
        """Whether it is a debit or credit, and so decides about its invoice."""
        return self.transaction_type is not TransactionType.REFUND

    @property
    def is_open(self) -> bool:
        """Whether Billy still means to submit it."""
        return self.submit_status in OPEN

    @property
    def is_moving(self) -> bool:
        """Whether money may be moving right now: claimed, in doubt, or pending at the processor."""
        return self.in_doubt or (self.submit_status is SubmitStatus.DONE and self.status is TransactionStatus.PENDING)

    @property
    def has_succeeded(self) -> bool:
        """Whether the processor says that the money moved."""
        return self.status is TransactionStatus.SUCCEEDED

    def cancel(self, now: datetime) -> None:
        """Give an open transaction up; it must not be in doubt."""
        assert not self.in_doubt, f"{self} is in doubt and cannot be canceled"
        self.submit_status = SUBMISSION.after(SubmitEvent.CANCEL, self.submit_status)
        self.updated_at = now

    def retry(self, now: datetime) -> None:
        """Let the next run take it instead of a later one; InvalidOperationError once it is closed.

        Nothing else changes: one in doubt is looked up still, and another refusal counts as one.
        """
        self.submit_status = SUBMISSION.after(SubmitEvent.RETRY, self.submit_status)
        self.next_attempt_at = min(self.next_attempt_at, now)
        self.updated_at = now

    def accept(self, processor_uri: str, status: TransactionStatus, now: datetime) -> None:
        """The processor has a record of it, and says where that stands."""
        self.submit_status = SUBMISSION.after(SubmitEvent.ACCEPTED, self.submit_status)
        self.status = TRANSACTION.after(ProcessorEvent(status.value), self.status)
        self.processor_uri = processor_uri
        if self.status is TransactionStatus.PENDING:
            self.next_attempt_at = now
        self._release()
        self.updated_at = now

    def decline(self, policy: RetryPolicy, now: datetime, *, hard: bool) -> None:
        """The processor definitely refused it: try again another day, or give up.

        The next try gets a new submission key, so that it really reaches the bank.
        """
        self.refusal_count += 1
        final = hard or policy.is_spent(self.refusal_count)
        event = SubmitEvent.DECLINED_FOR_GOOD if final else SubmitEvent.DECLINED
        self.submit_status = SUBMISSION.after(event, self.submit_status)
        self.submission_key = next_submission_key(self.submission_key)
        self.next_attempt_at = policy.next_after_refusal(now, self.refusal_count)
        self._release()
        self.updated_at = now

    def postpone(self, next_attempt_at: datetime, now: datetime, *, in_doubt: bool) -> None:
        """No definite answer: the same submission is looked up, or sent, again later."""
        self.submit_status = SUBMISSION.after(SubmitEvent.UNANSWERED, self.submit_status)
        self.next_attempt_at = next_attempt_at
        self._release(in_doubt=in_doubt)
        self.updated_at = now

    def give_back(self, now: datetime, *, in_doubt: bool) -> None:
        """Undo a claim that was not acted on; ``in_doubt`` is what it was before the claim."""
        self.next_attempt_at = now
        self._release(in_doubt=in_doubt)

    def resume(self, policy: RetryPolicy, now: datetime) -> None:
        """Nothing of it was lost with the books: it goes on.

        After a refusal with a whole pause, because when that one began is not known any more.
        """
        self.next_attempt_at = policy.next_after_refusal(now, self.refusal_count) if self.refusal_count else now
        self._release()

    def _release(self, *, in_doubt: bool = False) -> None:
        self.in_doubt = in_doubt
        if not in_doubt:
            self.lost_since = None
        self.leased_until = None

    def duplicate(self, processor_uri: str, status: TransactionStatus, now: datetime) -> Transaction:
        """The second record that the processor made for this one submission: money that moved twice."""
        second = Transaction(
            **new_transaction(
                now,
                company_guid=self.company_guid,
                invoice_guid=self.invoice_guid,
                customer_guid=self.customer_guid,
                subscription_guid=self.subscription_guid,
                plan_guid=self.plan_guid,
                transaction_type=self.transaction_type,
                amount=self.amount,
                funding_instrument_uri=self.funding_instrument_uri,
                appears_on_statement_as=self.appears_on_statement_as,
                refund_of_guid=self.refund_of_guid,
                duplicate_of_guid=self.guid,
                key_stem=self.submission_key.rpartition("-")[0],
            )
        )
        second.accept(processor_uri, status, now)
        return second


def new_transaction(
    now: datetime,
    *,
    company_guid: str,
    invoice_guid: str,
    customer_guid: str,
    transaction_type: TransactionType,
    amount: int,
    subscription_guid: str | None = None,
    plan_guid: str | None = None,
    funding_instrument_uri: str | None = None,
    appears_on_statement_as: str | None = None,
    refund_of_guid: str | None = None,
    duplicate_of_guid: str | None = None,
    key_stem: str | None = None,
) -> dict[str, object]:
    """The column values of a staged transaction, due now.

    Plain values, not a mapped object, because filing inserts them by the thousand.
    """
    guid = new_guid("TX", now)
    return {
        "company_guid": company_guid,
        "guid": guid,
        "invoice_guid": invoice_guid,
        "customer_guid": customer_guid,
        "subscription_guid": subscription_guid,
        "plan_guid": plan_guid,
        "refund_of_guid": refund_of_guid,
        "duplicate_of_guid": duplicate_of_guid,
        "transaction_type": transaction_type,
        "amount": amount,
        "submit_status": SUBMISSION.initial,
        "status": TRANSACTION.initial,
        "funding_instrument_uri": funding_instrument_uri,
        "processor_uri": None,
        "appears_on_statement_as": appears_on_statement_as,
        "failure_count": 0,
        "created_at": now,
        "updated_at": now,
        "submission_key": f"{key_stem or guid}-1",
        "attempt": 0,
        "in_doubt": False,
        "lost_since": None,
        "last_send_at": None,
        "leased_until": None,
        "next_attempt_at": now,
        "refusal_count": 0,
    }


def next_submission_key(key: str) -> str:
    """``stem-3`` after ``stem-2``."""
    stem, _, number = key.rpartition("-")
    return f"{stem}-{int(number) + 1}"


class TransactionFailure(Owned):
    """One refusal, or a row of silences in a row that count up."""

    __tablename__ = "transaction_failure"
    __table_args__ = (
        reference("transaction", "transaction_guid"),
        Index("ix_transaction_failure_transaction", "company_guid", "transaction_guid", "guid"),
    )
    _shown = ("company_guid", "guid", "transaction_guid", "error_code", "count")

    transaction_guid: Mapped[str] = mapped_column(Guid)
    error_message: Mapped[str | None] = mapped_column(Text)
    error_number: Mapped[int | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    """The processor's own code of a refusal; ``unavailable``, ``misconfigured`` or ``outcome_unknown`` otherwise."""
    count: Mapped[int] = mapped_column(default=1)
    """How often in a row; more than one only where the processor gave no answer."""
    updated_at: Mapped[datetime]


class TransactionEvent(Owned):
    """What the processor said of a transaction on its own accord; each of its events counts once."""

    __tablename__ = "transaction_event"
    __table_args__ = (
        reference("transaction", "transaction_guid"),
        UniqueConstraint("company_guid", "transaction_guid", "processor_id"),
    )
    _shown = ("company_guid", "guid", "transaction_guid", "processor_id", "status")

    transaction_guid: Mapped[str] = mapped_column(Guid)
    processor_id: Mapped[str] = mapped_column(String(128))
    """The event's id at the processor."""
    status: Mapped[TransactionStatus] = mapped_column(enum_column(TransactionStatus, "status"))
    occurred_at: Mapped[datetime]


def load_failures(connection: Connection, transactions: Sequence[Transaction]) -> None:
    """Load ``failures`` of these plain transactions of one company: one query, and none where nothing ever failed."""
    failures: dict[str, list[TransactionFailure]] = {each.guid: [] for each in transactions}
    failed = [each for each in transactions if each.failure_count]
    if failed:
        values = {"company_guid": failed[0].company_guid, "guids": [each.guid for each in failed]}
        for failure in fetch(connection, TransactionFailure, _failures_of_many(), values):
            failures[failure.transaction_guid].append(failure)
    for each in transactions:
        each.failures = failures[each.guid]


@cache
def _failures_of_many() -> Select[Any]:
    of_them = (
        TransactionFailure.company_guid == bindparam("company_guid"),
        TransactionFailure.transaction_guid.in_(bindparam("guids", expanding=True)),
    )
    return shape(TransactionFailure).select().where(*of_them).order_by(TransactionFailure.guid)
