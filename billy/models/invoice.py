"""An invoice: what a customer owes (or is owed) once, and how that is derived from its transactions.

Callers lock an invoice together with its transactions (``lock_invoice``) before they use a verb, so
every verb sees all charges there are. A verb that makes a transaction returns it; the caller adds it
to the session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship
from sqlalchemy.orm.attributes import set_committed_value

from billy.errors import InvalidOperationError, MoneyMoving
from billy.guid import new_guid
from billy.models.base import (
    EXTERNAL_ID_LENGTH,
    NAME_LENGTH,
    STATEMENT_LENGTH,
    URI_LENGTH,
    Guid,
    Owned,
    among,
    enum_column,
    lock_all,
    reference,
)
from billy.models.lifecycle import INVOICE, InvoiceEvent, InvoiceStatus, TransactionStatus
from billy.models.transaction import Transaction, TransactionType, new_transaction


class InvoiceType(StrEnum):
    """What an invoice was filed for."""

    SUBSCRIPTION = "subscription"
    CUSTOMER = "customer"


class Invoice(Owned):
    """Money owed."""

    __tablename__ = "invoice"
    __table_args__ = (
        reference("customer", "customer_guid"),
        reference("subscription", "subscription_guid"),
        reference("plan", "plan_guid"),
        UniqueConstraint("company_guid", "subscription_guid", "scheduled_at"),
        UniqueConstraint("company_guid", "customer_guid", "external_id"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("amount + total_adjustment_amount >= 0", name="effective_amount_not_negative"),
        CheckConstraint(
            "(invoice_type = 'subscription') = (subscription_guid IS NOT NULL)"
            " AND (subscription_guid IS NULL) = (scheduled_at IS NULL)"
            " AND (subscription_guid IS NULL) = (plan_guid IS NULL)",
            name="subscription_invoice_has_schedule",
        ),
        Index("ix_invoice_customer", "company_guid", "customer_guid", "guid"),
        Index("ix_invoice_external_id", "company_guid", "external_id"),
        Index("ix_invoice_type", "company_guid", "invoice_type", "guid"),
        Index("ix_invoice_plan", "company_guid", "plan_guid", "scheduled_at", "guid"),
        Index("ix_invoice_status", "company_guid", "status", "guid"),
        Index("ix_invoice_transaction_type", "company_guid", "transaction_type", "guid"),
        Index("ix_invoice_created", "company_guid", "created_at", "guid"),
        Index(
            "ix_invoice_scheduled",
            "company_guid",
            "scheduled_at",
            "guid",
            postgresql_where=text("scheduled_at IS NOT NULL"),
            sqlite_where=text("scheduled_at IS NOT NULL"),
        ),
        Index(
            "ix_invoice_overpaid",
            "company_guid",
            "guid",
            postgresql_where=text("overpaid"),
            sqlite_where=text("overpaid"),
        ),
    )
    _shown = ("company_guid", "guid", "status", "amount", "total_adjustment_amount")

    invoice_type: Mapped[InvoiceType] = mapped_column(enum_column(InvoiceType, "invoice_type"))
    customer_guid: Mapped[str] = mapped_column(Guid)
    subscription_guid: Mapped[str | None] = mapped_column(Guid)
    plan_guid: Mapped[str | None] = mapped_column(Guid)
    scheduled_at: Mapped[datetime | None]
    """The start of the period it is for; subscriptions only."""
    transaction_type: Mapped[TransactionType] = mapped_column(enum_column(TransactionType, "transaction_type"))
    status: Mapped[InvoiceStatus] = mapped_column(enum_column(InvoiceStatus, "status"))
    amount: Mapped[int] = mapped_column(BigInteger)
    """Cents before adjustments."""
    total_adjustment_amount: Mapped[int] = mapped_column(BigInteger)
    """The sum of ``adjustments``, kept because charges depend on it."""
    overpaid: Mapped[bool]
    """More was charged, and not given back, than was owed. A person refunds it, never Billy by itself."""
    title: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    external_id: Mapped[str | None] = mapped_column(String(EXTERNAL_ID_LENGTH))
    """The company's own id for the order; unique for a customer."""
    appears_on_statement_as: Mapped[str | None] = mapped_column(String(STATEMENT_LENGTH))
    funding_instrument_uri: Mapped[str | None] = mapped_column(String(URI_LENGTH))
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """What was sold, as shown to the customer. Written once, read only with the invoice: a document."""
    adjustments: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """Discounts (negative) and fees; written once."""
    updated_at: Mapped[datetime]

    transactions: Mapped[list[Transaction]] = relationship(viewonly=True, order_by=Transaction.guid)
    """All there are, oldest first; complete and current after ``lock_invoice``."""

    @property
    def effective_amount(self) -> int:
        """Cents that are due, adjustments included."""
        return self.amount + self.total_adjustment_amount

    @property
    def charges(self) -> list[Transaction]:
        """Its debits or credits, oldest first."""
        return [transaction for transaction in self.transactions if transaction.is_charge]

    @property
    def refunds(self) -> list[Transaction]:
        """Its refunds, oldest first."""
        return [transaction for transaction in self.transactions if not transaction.is_charge]

    def charge(self, now: datetime) -> Transaction:
        """A new charge of the effective amount to the invoice's instrument; the invoice is processing."""
        self.status = INVOICE.after(InvoiceEvent.CHARGE, self.status)
        self.updated_at = now
        number = len(self.charges) + 1
        charge = Transaction(**new_charge(now, self, amount=self.effective_amount, number=number))
        set_committed_value(self, "transactions", [*self.transactions, charge])
        return charge

    def change_instrument(self, funding_instrument_uri: str, now: datetime) -> Transaction | None:
        """Pay with another instrument from now on; returns the new charge, or None where nothing is due.

        InvalidOperationError where the invoice is settled or canceled, MoneyMoving while a charge of the
        old instrument may still take the money.
        """
        if self.effective_amount == 0:
            self.funding_instrument_uri = funding_instrument_uri
            self.updated_at = now
            return None
        INVOICE.after(InvoiceEvent.CHARGE, self.status)  # refuses before anything has changed
        self._refuse_while_money_moves("changing its instrument")
        self._cancel_open(self.charges, now)
        self.funding_instrument_uri = funding_instrument_uri
        return self.charge(now)

    def cancel(self, now: datetime) -> None:
        """Nobody has to pay it any more; its open charges are canceled.

        InvalidOperationError where it is settled or canceled, MoneyMoving while money may be moving.
        """
        if INVOICE.allows(InvoiceEvent.CANCEL, self.status):
            self._refuse_while_money_moves("canceling it")
            self._cancel_open(self.charges, now)
        self.status = INVOICE.after(InvoiceEvent.CANCEL, self.status)
        self.updated_at = now

    def give_up(self, now: datetime) -> None:
        """Charge no more: cancel the open charges that are not in doubt and see what that leaves."""
        self._cancel_open(self.charges, now)
        self.follow_charges(now)

    def refund(self, amount: int, now: datetime, *, disputed: Collection[str] = ()) -> list[Transaction]:
        """Give ``amount`` cents back: one refund for each charge it takes, duplicates first.

        InvalidOperationError where the invoice is not settled, is a pay-out, or less than that is left;
        MoneyMoving where that takes one of the ``disputed`` charges, whose money is the customer's bank's for now.
        """
        if self.transaction_type is not TransactionType.DEBIT:
            raise InvalidOperationError("You can only refund an invoice that debits the customer, not a pay-out")
        self.status = INVOICE.after(InvoiceEvent.REFUND, self.status)
        refundable = [(charge, self._left_of(charge)) for charge in reversed(self.charges) if charge.has_succeeded]
        left = sum(cents for _, cents in refundable)
        if amount > left:
            charged = sum(charge.amount for charge, _ in refundable)
            raise InvalidOperationError(
                f"Refund total amount {charged - left} + {amount} will exceed invoice effective amount {charged}"
            )
        refunds = []
        for charge, cents in refundable:
            part = min(cents, amount)
            if part and charge.guid in disputed:
                raise MoneyMoving(
                    f"Transaction {charge.guid} of invoice {self.guid} is disputed; the customer's bank has taken the "
                    "money back until it has decided"
                )
            if part:
                amount -= part
                refunds.append(self._refund_of(charge, part, now))
        set_committed_value(self, "transactions", [*self.transactions, *refunds])
        self.updated_at = now
        return refunds

    def follow_charges(self, now: datetime) -> None:
        """Derive the status from *all* charges; called after anything new about one of them.

        One succeeded: paid, and an open one that is not in doubt is canceled. Else one open or pending:
        no change. Else: unpaid. So a late success of an old charge settles the invoice, and a late refusal
        of a superseded one changes nothing (design, section 3).
        """
        charges = self.charges
        before = (self.status, self.overpaid)
        if any(charge.has_succeeded for charge in charges):
            self._cancel_open(charges, now)
            self.status = INVOICE.after(InvoiceEvent.PAID, self.status)
        elif charges and not any(charge.is_open or charge.is_moving for charge in charges):
            self.status = INVOICE.after(InvoiceEvent.UNPAID, self.status)
        failed = {charge.guid for charge in charges if charge.status is TransactionStatus.FAILED}
        self._cancel_open([refund for refund in self.refunds if refund.refund_of_guid in failed], now)
        self.overpaid = self._kept() > self.effective_amount
        if before != (self.status, self.overpaid):
            self.updated_at = now

    def _kept(self) -> int:
        charged = sum(charge.amount for charge in self.charges if charge.has_succeeded)
        return charged - sum(refund.amount for refund in self.refunds if refund.has_succeeded)

    def _left_of(self, charge: Transaction) -> int:
        # Only refunds that succeeded or may still succeed count: one that failed gave nothing back (D6).
        taken = (
            refund.amount
            for refund in self.refunds
            if refund.refund_of_guid == charge.guid and (refund.is_open or refund.is_moving or refund.has_succeeded)
        )
        return max(charge.amount - sum(taken), 0)

    def _refund_of(self, charge: Transaction, amount: int, now: datetime) -> Transaction:
        return Transaction(
            **new_transaction(
                now,
                company_guid=self.company_guid,
                invoice_guid=self.guid,
                customer_guid=self.customer_guid,
                subscription_guid=self.subscription_guid,
                plan_guid=self.plan_guid,
                transaction_type=TransactionType.REFUND,
                amount=amount,
                refund_of_guid=charge.guid,
            )
        )

    def _refuse_while_money_moves(self, doing: str) -> None:
        for charge in self.charges:
            if charge.is_moving:
                raise MoneyMoving(
                    f"Transaction {charge.guid} of invoice {self.guid} is being processed right now; "
                    f"{doing} has to wait until its outcome is known, try again later"
                )

    @staticmethod
    def _cancel_open(transactions: Sequence[Transaction], now: datetime) -> None:
        for transaction in transactions:
            if transaction.is_open and not transaction.in_doubt:
                transaction.cancel(now)


def new_invoice(
    now: datetime,
    *,
    company_guid: str,
    customer_guid: str,
    amount: int,
    transaction_type: TransactionType = TransactionType.DEBIT,
    subscription_guid: str | None = None,
    plan_guid: str | None = None,
    scheduled_at: datetime | None = None,
    title: str | None = None,
    external_id: str | None = None,
    appears_on_statement_as: str | None = None,
    funding_instrument_uri: str | None = None,
    items: Sequence[Mapping[str, Any]] = (),
    adjustments: Sequence[Mapping[str, Any]] = (),
    guid: str | None = None,
) -> dict[str, Any]:
    """The column values of a new invoice: settled if nothing is due, else staged.

    Plain values, not a mapped object, because filing inserts them by the thousand.
    """
    total_adjustment_amount = sum(adjustment["amount"] for adjustment in adjustments)
    status = INVOICE.initial
    if amount + total_adjustment_amount == 0:
        status = INVOICE.after(InvoiceEvent.PAID, status)
    return {
        "company_guid": company_guid,
        "guid": guid or new_guid("IV", now),
        "invoice_type": InvoiceType.CUSTOMER if subscription_guid is None else InvoiceType.SUBSCRIPTION,
        "customer_guid": customer_guid,
        "subscription_guid": subscription_guid,
        "plan_guid": plan_guid,
        "scheduled_at": scheduled_at,
        "transaction_type": transaction_type,
        "status": status,
        "amount": amount,
        "total_adjustment_amount": total_adjustment_amount,
        "overpaid": False,
        "title": title,
        "external_id": external_id,
        "appears_on_statement_as": appears_on_statement_as,
        "funding_instrument_uri": funding_instrument_uri,
        "items": list(items),
        "adjustments": list(adjustments),
        "created_at": now,
        "updated_at": now,
    }


def new_charge(now: datetime, invoice: Any, *, amount: int, number: int) -> dict[str, Any]:
    """The column values of the ``number``-th charge of an invoice (or of anything with its attributes).

    A subscription's charge is named by its period, so a period that is filed again after a restored
    back-up has the same submission key and the processor knows it.
    """
    stem = None
    if invoice.subscription_guid is not None:
        period = invoice.scheduled_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        stem = f"{invoice.subscription_guid}/{period}/{number}"
    return new_transaction(
        now,
        company_guid=invoice.company_guid,
        invoice_guid=invoice.guid,
        customer_guid=invoice.customer_guid,
        subscription_guid=invoice.subscription_guid,
        plan_guid=invoice.plan_guid,
        transaction_type=invoice.transaction_type,
        amount=amount,
        funding_instrument_uri=invoice.funding_instrument_uri,
        appears_on_statement_as=invoice.appears_on_statement_as,
        key_stem=stem,
    )


def lock_invoice(session: Session, invoice: Invoice) -> Invoice:
    """Lock an invoice and all its transactions, and read them again."""
    own = (Invoice.company_guid == invoice.company_guid, Invoice.guid == invoice.guid)
    return lock_invoices(session, *own)[0]


def lock_invoices(session: Session, *where: Any) -> list[Invoice]:
    """Lock all invoices that match, with all their transactions, in the order of the lock rule."""
    invoices = lock_all(session, Invoice, *where)
    if not invoices:
        return []
    keys = [(invoice.company_guid, invoice.guid) for invoice in invoices]
    transactions = defaultdict(list)
    for transaction in lock_all(
        session, Transaction, among(session, Transaction.company_guid, Transaction.invoice_guid, keys)
    ):
        transactions[transaction.company_guid, transaction.invoice_guid].append(transaction)
    for invoice, key in zip(invoices, keys, strict=True):
        set_committed_value(invoice, "transactions", transactions[key])
    return invoices
