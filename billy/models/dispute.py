"""A dispute: a customer's complaint to his bank about a charge.

It moves money of its own, which no transaction of Billy's shows: whatever becomes of it, the charge succeeded, and
what the customer still owes is for the company to say. So it changes no status. It only keeps a charge from being
refunded while the bank has the money, and ``billy verify`` lists those that were lost.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from billy.guid import new_guid
from billy.models.base import Guid, Owned, enum_column, reference
from billy.models.transaction import Transaction


class DisputeState(StrEnum):
    """Where a dispute stands."""

    INQUIRY = "inquiry"
    """The bank asks; the money stays."""
    OPEN = "open"
    """The bank has the money until it has decided."""
    WON = "won"
    LOST = "lost"


class Dispute(Owned):
    """The dispute of one charge."""

    __tablename__ = "dispute"
    __table_args__ = (
        reference("transaction", "transaction_guid"),
        UniqueConstraint("company_guid", "transaction_guid"),
    )
    _shown = ("company_guid", "guid", "transaction_guid", "state")

    transaction_guid: Mapped[str] = mapped_column(Guid)
    state: Mapped[DisputeState] = mapped_column(enum_column(DisputeState, "state"))
    updated_at: Mapped[datetime]

    @classmethod
    def record(cls, session: Session, transaction: Transaction, state: DisputeState, now: datetime) -> None:
        """Note where the dispute of a charge stands, under its invoice's lock; a decision is not undone by old news."""
        own = (cls.company_guid == transaction.company_guid, cls.transaction_guid == transaction.guid)
        known = session.scalar(select(cls).where(*own))
        if known is None:
            ids = {"company_guid": transaction.company_guid, "guid": new_guid("DP", now)}
            session.add(cls(**ids, transaction_guid=transaction.guid, state=state, created_at=now, updated_at=now))
        elif state in DECIDED or known.state not in DECIDED:
            known.state = state
            known.updated_at = now


DECIDED = (DisputeState.WON, DisputeState.LOST)


def disputed(session: Session, company_guid: str, transactions: list[Transaction]) -> set[str]:
    """The guids of those whose money is the bank's for now."""
    statement = select(Dispute.transaction_guid).where(
        Dispute.company_guid == company_guid,
        Dispute.transaction_guid.in_([each.guid for each in transactions]),
        Dispute.state == DisputeState.OPEN,
    )
    return set(session.scalars(statement))
