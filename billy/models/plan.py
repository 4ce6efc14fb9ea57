"""A plan: how much, how often, and in which direction. Immutable but for its deletion."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from billy.errors import InvalidOperationError
from billy.models.base import EXTERNAL_ID_LENGTH, NAME_LENGTH, Owned, enum_column, to_company
from billy.models.schedule import Frequency

MINIMUM_AMOUNT = 50
"""The least a plan or subscription may charge, in cents (the 2014 Billy's limit, which came from Balanced)."""


class PlanType(StrEnum):
    """Which way the money goes."""

    DEBIT = "debit"
    """From the customer to the company."""
    CREDIT = "credit"
    """From the company to the customer: a pay-out."""


class Plan(Owned):
    """What customers subscribe to."""

    __tablename__ = "plan"
    __table_args__ = (
        to_company(),
        UniqueConstraint("company_guid", "external_id"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("interval >= 1", name="interval_positive"),
        Index("ix_plan_plan_type", "company_guid", "plan_type", "guid"),
        Index("ix_plan_frequency", "company_guid", "frequency", "guid"),
        Index("ix_plan_deleted", "company_guid", "deleted", "guid"),
        Index("ix_plan_created", "company_guid", "created_at", "guid"),
    )
    _shown = ("company_guid", "guid", "plan_type", "frequency", "interval", "amount")

    plan_type: Mapped[PlanType] = mapped_column(enum_column(PlanType, "plan_type"))
    frequency: Mapped[Frequency] = mapped_column(enum_column(Frequency, "frequency"))
    interval: Mapped[int]
    """How many units of ``frequency`` make a period."""
    amount: Mapped[int] = mapped_column(BigInteger)
    """Cents a period, unless a subscription says otherwise."""
    name: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    description: Mapped[str | None] = mapped_column(Text)
    external_id: Mapped[str | None] = mapped_column(String(EXTERNAL_ID_LENGTH))
    """The company's own id for the plan."""
    deleted: Mapped[bool] = mapped_column(default=False)
    """No new subscriptions; those that stand go on (contract, section 11, D10)."""
    updated_at: Mapped[datetime]

    def delete(self, now: datetime) -> None:
        """Take no new subscriptions."""
        if self.deleted:
            raise InvalidOperationError(f"Plan {self.guid} was already deleted")
        self.deleted = True
        self.updated_at = now
