"""A subscription: a customer on a plan, and the filing of its invoices, one for each period.

Filing is written as a function from plain values to plain rows, because the scheduler files by the
thousand and the API by one, and there must be one rule for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from billy.errors import InvalidOperationError
from billy.models.base import EXTERNAL_ID_LENGTH, STATEMENT_LENGTH, URI_LENGTH, Guid, Owned, reference
from billy.models.invoice import Invoice, lock_invoices, new_charge, new_invoice
from billy.models.lifecycle import INVOICE, InvoiceEvent, InvoiceStatus
from billy.models.plan import Plan, PlanType
from billy.models.recovery import Recovery, distrust, doubt_about
from billy.models.schedule import Frequency, due_at
from billy.models.transaction import Transaction, TransactionType

UNPAID = (InvoiceStatus.STAGED, InvoiceStatus.PROCESSING, InvoiceStatus.FAILED)


class Subscription(Owned):
    """A customer's agreement to a plan."""

    __tablename__ = "subscription"
    __table_args__ = (
        reference("customer", "customer_guid"),
        reference("plan", "plan_guid"),
        UniqueConstraint("company_guid", "external_id"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("invoice_count >= 0", name="invoice_count_not_negative"),
        Index("ix_subscription_customer", "company_guid", "customer_guid", "guid"),
        Index("ix_subscription_plan", "company_guid", "plan_guid", "guid"),
        Index("ix_subscription_plan_customer", "company_guid", "plan_guid", "customer_guid"),
        Index("ix_subscription_next_invoice", "company_guid", "next_invoice_at", "guid"),
        Index("ix_subscription_created", "company_guid", "created_at", "guid"),
        Index(
            "ix_subscription_active",
            "company_guid",
            "guid",
            postgresql_where=text("canceled_at IS NULL"),
            sqlite_where=text("canceled_at IS NULL"),
        ),
        Index(
            "ix_subscription_canceled",
            "company_guid",
            "guid",
            postgresql_where=text("canceled_at IS NOT NULL"),
            sqlite_where=text("canceled_at IS NOT NULL"),
        ),
        Index(
            "ix_subscription_due",
            "next_invoice_at",
            postgresql_where=text("canceled_at IS NULL"),
            sqlite_where=text("canceled_at IS NULL"),
        ),
    )
    _shown = ("company_guid", "guid", "next_invoice_at", "invoice_count", "canceled_at")

    customer_guid: Mapped[str] = mapped_column(Guid)
    plan_guid: Mapped[str] = mapped_column(Guid)
    amount: Mapped[int | None] = mapped_column(BigInteger)
    """Cents a period instead of the plan's."""
    funding_instrument_uri: Mapped[str | None] = mapped_column(String(URI_LENGTH))
    """Charged for each invoice; without it invoices wait for an instrument of their own."""
    appears_on_statement_as: Mapped[str | None] = mapped_column(String(STATEMENT_LENGTH))
    external_id: Mapped[str | None] = mapped_column(String(EXTERNAL_ID_LENGTH))
    """The company's own id for the subscription."""
    started_at: Mapped[datetime]
    """Every due date is computed from it."""
    next_invoice_at: Mapped[datetime]
    """When invoice number ``invoice_count`` is due; keeps its value after a cancel."""
    invoice_count: Mapped[int]
    """Invoices filed so far."""
    canceled_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]

    plan: Mapped[Plan] = relationship(viewonly=True, lazy="joined", innerjoin=True)

    @property
    def canceled(self) -> bool:
        """Whether it files no more invoices."""
        return self.canceled_at is not None

    @property
    def effective_amount(self) -> int:
        """Cents a period: its own amount, else the plan's."""
        return self.plan.amount if self.amount is None else self.amount

    def cancel(self, now: datetime) -> None:
        """File no more invoices; those already filed stay owed (contract, section 11, D11)."""
        if self.canceled:
            raise InvalidOperationError("Cannot cancel a canceled subscription")
        self.canceled_at = now
        self.updated_at = now

    def change(self, changes: Mapping[str, Any], now: datetime) -> None:
        """Set ``funding_instrument_uri``, ``amount`` or ``appears_on_statement_as`` of what comes next."""
        if self.canceled:
            raise InvalidOperationError("Cannot change a canceled subscription")
        assert changes.keys() <= {"funding_instrument_uri", "amount", "appears_on_statement_as"}
        for name, value in changes.items():
            setattr(self, name, value)
        self.updated_at = now

    def cancel_open_invoices(self, session: Session, now: datetime) -> None:
        """Cancel its unpaid invoices too; MoneyMoving, and nothing changes, if one is being charged."""
        for invoice in self._lock_unpaid(session):
            invoice.cancel(now)

    def move_open_invoices(self, session: Session, now: datetime) -> None:
        """Charge its unpaid invoices to its present instrument; MoneyMoving as above."""
        assert self.funding_instrument_uri is not None
        unpaid = self._lock_unpaid(session)
        recoveries = Recovery.all(session)
        for invoice in unpaid:
            charge = invoice.change_instrument(self.funding_instrument_uri, now)
            session.flush()  # the old charge is canceled before the new one is alive: uq_transaction_charge_alive
            if charge is not None:
                distrust(charge, invoice.scheduled_at, recoveries)
                session.add(charge)

    def _lock_unpaid(self, session: Session) -> list[Invoice]:
        return lock_invoices(
            session,
            Invoice.company_guid == self.company_guid,
            Invoice.subscription_guid == self.guid,
            Invoice.status.in_(UNPAID),
        )

    def file_due(self, session: Session, now: datetime) -> list[tuple[Invoice, Transaction | None]]:
        """File what is due at ``now`` and add it to the session: the API's way, for one subscription."""
        filed = file_missed(DueSubscription.of(self), now)
        self.invoice_count = filed.invoice_count
        self.next_invoice_at = filed.next_invoice_at
        invoices = [Invoice(**values) for values in filed.invoices]
        charges = {values["invoice_guid"]: Transaction(**values) for values in filed.transactions}
        session.add_all(invoices)
        session.flush()  # invoices before the transactions that refer to them
        session.add_all(charges.values())
        return [(invoice, charges.get(invoice.guid)) for invoice in invoices]


@dataclass(frozen=True, slots=True)
class DueSubscription:
    """What filing needs to know of a subscription and its plan."""

    company_guid: str
    guid: str
    customer_guid: str
    plan_guid: str
    plan_type: PlanType
    frequency: Frequency
    interval: int
    amount: int
    """The effective amount."""
    funding_instrument_uri: str | None
    appears_on_statement_as: str | None
    started_at: datetime
    next_invoice_at: datetime
    invoice_count: int

    @property
    def is_charged(self) -> bool:
        """Whether its invoices are charged when they are filed; else they wait for an instrument, or nothing is due."""
        return self.funding_instrument_uri is not None and self.amount > 0

    @classmethod
    def of(cls, subscription: Subscription) -> DueSubscription:
        """From a mapped subscription."""
        plan = subscription.plan
        return cls(
            company_guid=subscription.company_guid,
            guid=subscription.guid,
            customer_guid=subscription.customer_guid,
            plan_guid=subscription.plan_guid,
            plan_type=plan.plan_type,
            frequency=plan.frequency,
            interval=plan.interval,
            amount=subscription.effective_amount,
            funding_instrument_uri=subscription.funding_instrument_uri,
            appears_on_statement_as=subscription.appears_on_statement_as,
            started_at=subscription.started_at,
            next_invoice_at=subscription.next_invoice_at,
            invoice_count=subscription.invoice_count,
        )

    @classmethod
    def columns(cls) -> list[Any]:
        """The same from a query that joins the two tables, in the order of the fields."""
        return [
            Subscription.company_guid,
            Subscription.guid,
            Subscription.customer_guid,
            Subscription.plan_guid,
            Plan.plan_type,
            Plan.frequency,
            Plan.interval,
            func.coalesce(Subscription.amount, Plan.amount),
            Subscription.funding_instrument_uri,
            Subscription.appears_on_statement_as,
            Subscription.started_at,
            Subscription.next_invoice_at,
            Subscription.invoice_count,
        ]


@dataclass(slots=True)
class Filed:
    """Rows to write for one subscription, and where it stands afterwards."""

    invoice_count: int
    next_invoice_at: datetime
    invoices: list[dict[str, Any]] = field(default_factory=list)
    transactions: list[dict[str, Any]] = field(default_factory=list)


def file_missed(
    due: DueSubscription, now: datetime, *, most: int = 1000, recoveries: Sequence[Recovery] = ()
) -> Filed:
    """The invoices of all periods that have begun by ``now``, oldest first, ``most`` of them at once.

    Where more periods were missed, ``next_invoice_at`` still is in the past afterwards, and the next call
    goes on from there. What the books may have lost by then is looked up before it is charged
    (``recoveries``). Nothing is written here.
    """
    filed = Filed(due.invoice_count, due.next_invoice_at)
    while filed.next_invoice_at <= now and len(filed.invoices) < most:
        invoice = new_invoice(
            now,
            company_guid=due.company_guid,
            customer_guid=due.customer_guid,
            amount=due.amount,
            transaction_type=TransactionType(due.plan_type.value),
            subscription_guid=due.guid,
            plan_guid=due.plan_guid,
            scheduled_at=filed.next_invoice_at,
            appears_on_statement_as=due.appears_on_statement_as,
            funding_instrument_uri=due.funding_instrument_uri,
        )
        if due.is_charged:
            invoice["status"] = INVOICE.after(InvoiceEvent.CHARGE, invoice["status"])
            charge = new_charge(now, SimpleNamespace(**invoice), amount=due.amount, number=1)
            filed.transactions.append({**charge, **doubt_about(filed.next_invoice_at, recoveries)})
        filed.invoices.append(invoice)
        filed.invoice_count += 1
        filed.next_invoice_at = due_at(due.started_at, due.frequency, due.interval, filed.invoice_count)
    return filed
