"""A customer of a company, and the record that the processor keeps of him."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, Session, mapped_column

from billy.errors import InvalidOperationError
from billy.models.base import EXTERNAL_ID_LENGTH, URI_LENGTH, Owned, lock_all, to_company
from billy.models.invoice import Invoice, lock_invoices
from billy.models.lifecycle import InvoiceStatus
from billy.models.subscription import Subscription


class Customer(Owned):
    """Who is charged, or paid."""

    __tablename__ = "customer"
    __table_args__ = (
        to_company(),
        UniqueConstraint("company_guid", "external_id"),
        Index("ix_customer_processor_uri", "company_guid", "processor_uri", "guid"),
        Index("ix_customer_deleted", "company_guid", "deleted", "guid"),
        Index("ix_customer_created", "company_guid", "created_at", "guid"),
    )
    _shown = ("company_guid", "guid", "deleted")

    processor_uri: Mapped[str | None] = mapped_column(String(URI_LENGTH))
    """The processor's record of the customer; empty until the processor could be asked to make one."""
    external_id: Mapped[str | None] = mapped_column(String(EXTERNAL_ID_LENGTH))
    """The company's own id for the customer."""
    deleted: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime]

    def delete(self, session: Session, now: datetime) -> None:
        """Delete a locked customer: cancel his subscriptions, and his open charges that are not in doubt.

        The invoices of those charges become failed: they stay owed, but nobody charges them. A charge
        that is in doubt is left to its look-up, and given up then (contract, section 11, D10).
        """
        if self.deleted:
            raise InvalidOperationError(f"Customer {self.guid} was already deleted")
        self.deleted = True
        self.updated_at = now
        own = (Subscription.company_guid == self.company_guid, Subscription.customer_guid == self.guid)
        for subscription in lock_all(session, Subscription, *own, Subscription.canceled_at.is_(None)):
            subscription.cancel(now)
        session.flush()
        for invoice in lock_invoices(
            session,
            Invoice.company_guid == self.company_guid,
            Invoice.customer_guid == self.guid,
            Invoice.status == InvoiceStatus.PROCESSING,
        ):
            invoice.give_up(now)
