"""The books against the processor's ledger, once everything has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from billy import clock
from billy.models import Customer, Invoice, InvoiceStatus, Subscription, Transaction
from billy.models.transaction import OPEN
from billy.processors.base import ReceiptStatus, SubmissionType
from billy.verification import violations
from torture.world import World


class Record(Protocol):
    """What the processor's ledger says of a movement of money."""

    @property
    def uri(self) -> str:
        """Where it is."""

    @property
    def transaction_guid(self) -> str:
        """Whose it is."""

    @property
    def type(self) -> str:
        """Debit, credit or refund."""

    @property
    def status(self) -> str:
        """Where it stands."""

    @property
    def amount(self) -> int:
        """Cents."""


_IS_OPEN = Transaction.submit_status.in_(OPEN)


@dataclass(slots=True)
class Verdict:
    """What is wrong, one line each."""

    charges: int = 0
    """Debits and credits in the ledger that did not fail."""
    doubled: list[str] = field(default_factory=list)
    """Invoices that were charged more than once."""
    lost: list[str] = field(default_factory=list)
    """Money that moved and is not in the books, or is in them and did not move; work that nobody will do."""
    violations: list[str] = field(default_factory=list)
    """Broken invariants of ``billy.verification``."""

    @property
    def is_bad(self) -> bool:
        """Whether anything is."""
        return bool(self.doubled or self.lost or self.violations)

    def __str__(self) -> str:
        wrong = {"doubled": self.doubled, "lost": self.lost, "violation": self.violations}
        return "\n".join(f"{kind}: {line}" for kind, lines in wrong.items() for line in lines)


def audit(world: World, records: Sequence[Record] | None = None, *, may_fail: bool = False) -> Verdict:
    """Compare a world's; ``records`` are the processor's, if it is not the sandbox.

    ``may_fail``: some cards were declined for good, so invoices may have failed.
    """
    if records is None:
        with world.sandbox() as sandbox:
            records = sandbox.records()
    with world.sessions() as sessions, sessions() as session:
        return compare(records, session, may_fail=may_fail)


def compare(records: Sequence[Record], session: Session, *, may_fail: bool) -> Verdict:
    """The same for any ledger and any books."""
    transactions = list(session.scalars(select(Transaction)))
    return Verdict(
        charges=sum(took_money(record) for record in records),
        doubled=list(_doubled(records, transactions)),
        lost=[
            *_lost_between(records, transactions),
            *undone(session),
            *([] if may_fail else _failed(session)),
        ],
        violations=[str(violation) for violation in violations(session)],
    )


def took_money(record: Record) -> bool:
    """Whether it is a charge that moved money, or may yet."""
    return record.type is not SubmissionType.REFUND and record.status is not ReceiptStatus.FAILED


def _doubled(records: Sequence[Record], transactions: list[Transaction]) -> Iterator[str]:
    # By the ledger alone: whether Billy noticed does not matter.
    invoice_of = {transaction.guid: transaction.invoice_guid for transaction in transactions}
    invoices = Counter(invoice_of.get(record.transaction_guid) for record in records if took_money(record))
    refunds = Counter(record.transaction_guid for record in records if record.type is SubmissionType.REFUND)
    for guid, times in invoices.items():
        if guid is not None and times > 1:
            yield f"invoice {guid} was charged {times} times"
    for guid, times in refunds.items():
        if times > 1:
            yield f"refund {guid} was made {times} times"


def _lost_between(records: Sequence[Record], transactions: list[Transaction]) -> Iterator[str]:
    booked = {each.processor_uri: each for each in transactions if each.processor_uri is not None}
    for record in records:
        own = booked.pop(record.uri, None)
        if own is None:
            yield f"{record.type} {record.uri} of {record.transaction_guid} moved money and is not in the books"
        elif _shown(own.transaction_type, own.amount, own.status) != _shown(record.type, record.amount, record.status):
            yield f"{record.uri} is {record.status} at the processor and {own.status} in the books"
    for uri, transaction in booked.items():
        yield f"transaction {transaction.guid} names {uri}, which the processor does not know"


def _shown(kind: str, amount: int, status: str | None) -> tuple[str, int, str]:
    # Plain values: Billy and its adapters have enums of their own.
    return str(kind), amount, str(status)


def undone(session: Session) -> Iterator[str]:
    """Work that is left: for a run, or for nobody, which would be worse."""
    for guid, in_doubt in session.execute(select(Transaction.guid, Transaction.in_doubt).where(_IS_OPEN)):
        yield f"transaction {guid} is open, in doubt: {in_doubt}"
    due = (Subscription.canceled_at.is_(None), Subscription.next_invoice_at <= clock.utc_now())
    for guid in session.scalars(select(Subscription.guid).where(*due)):
        yield f"subscription {guid} has a period that was not filed"
    staged = (Invoice.status == InvoiceStatus.STAGED, Invoice.funding_instrument_uri.is_not(None))
    for guid in session.scalars(select(Invoice.guid).where(*staged)):
        yield f"invoice {guid} has an instrument and was never charged"


def _failed(session: Session) -> Iterator[str]:
    statement = (
        select(Invoice.guid)
        .join(Customer, (Customer.company_guid == Invoice.company_guid) & (Customer.guid == Invoice.customer_guid))
        .where(Invoice.status == InvoiceStatus.FAILED, Customer.deleted.is_(False))
    )
    for guid in session.scalars(statement):
        yield f"invoice {guid} failed, and its card is good"


def is_overpaid_and_says_so(world: World, verdict: Verdict) -> bool:
    """Whether the only thing wrong is a double charge that the books show, and that a person can refund."""
    with world.sessions() as sessions, sessions() as session:
        shown = set(session.scalars(select(Invoice.guid).where(Invoice.overpaid.is_(True))))
    doubled = {line.split()[1] for line in verdict.doubled}
    others = [line for line in verdict.violations if "nobody_overpaid" not in line]
    return not verdict.lost and not others and doubled == shown
