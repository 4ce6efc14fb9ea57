"""The invoices that something is recorded on: locked, with all their transactions, and written together.

The verbs of the models do the recording, and work on two kinds of objects alike. A request, a callback and a
person have one invoice, and mapped objects. A run has hundreds at a time: it gets plain records (``models.plain``),
and what has changed is written by one UPDATE for each set of columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from billy.models import Customer, Invoice, Transaction, lock_invoices
from billy.models.base import Owned, among
from billy.models.plain import Shape, shape
from billy.statements import update_many

Key = tuple[str, str]
R = TypeVar("R", bound=Owned)


class Books:
    """Mapped objects. ``invoices`` are complete and current until the transaction of the database ends."""

    def __init__(self, session: Session, keys: Collection[Key]) -> None:
        """Lock the invoices of these ``(company_guid, guid)`` and all of their transactions."""
        self.session = session
        self.invoices: dict[Key, Invoice] = {}
        self.deleted_customers: set[Key] = set()
        """Whose customers are deleted. Read under the locks: a deletion that comes later finds what is recorded
        here, and cancels it."""
        self._load(keys)

    def _load(self, keys: Collection[Key]) -> None:
        found = lock_invoices(self.session, among(self.session, Invoice.company_guid, Invoice.guid, keys))
        self.invoices = {(invoice.company_guid, invoice.guid): invoice for invoice in found}
        customers = {(invoice.company_guid, invoice.customer_guid) for invoice in found}
        deleted = select(Customer.company_guid, Customer.guid).where(
            among(self.session, Customer.company_guid, Customer.guid, customers), Customer.deleted.is_(True)
        )
        self.deleted_customers = {(row.company_guid, row.guid) for row in self.session.execute(deleted)}

    def is_gone(self, invoice: Invoice) -> bool:
        """Whether the customer of an invoice is deleted."""
        return (invoice.company_guid, invoice.customer_guid) in self.deleted_customers

    def write(self) -> None:
        """Store what has changed since the last time; the caller commits."""
        self.session.flush()


class PlainBooks(Books):
    """The same for many: plain objects, which nobody else has."""

    def _load(self, keys: Collection[Key]) -> None:
        self._before: list[tuple[Shape, Any, tuple[Any, ...]]] = []
        connection = self.session.connection()
        own = among(self.session, Invoice.company_guid, Invoice.guid, keys)
        locked = _INVOICE.select().where(own).order_by(Invoice.company_guid, Invoice.guid)
        for row in connection.execute(locked.with_for_update(key_share=True)):
            invoice = self._keep(_INVOICE, row)
            invoice.transactions = []
            self.invoices[invoice.company_guid, invoice.guid] = invoice
        same = and_(Customer.company_guid == Transaction.company_guid, Customer.guid == Transaction.customer_guid)
        theirs = (
            _TRANSACTION.select()
            .add_columns(Customer.deleted)
            .join(Customer, same)
            .where(among(self.session, Transaction.company_guid, Transaction.invoice_guid, keys))
            .order_by(Transaction.company_guid, Transaction.guid)
            .with_for_update(key_share=True, of=Transaction)
        )
        for *values, is_deleted in connection.execute(theirs):
            transaction = self._keep(_TRANSACTION, values)
            self.invoices[transaction.company_guid, transaction.invoice_guid].transactions.append(transaction)
            if is_deleted:
                self.deleted_customers.add((transaction.company_guid, transaction.customer_guid))

    def _keep(self, kept_as: Shape, values: Iterable[Any]) -> Any:
        before = tuple(values)
        record = kept_as.record(before)
        self._before.append((kept_as, record, before))
        return record

    def write(self) -> None:
        """Store what has changed since the last time; the caller commits."""
        changed: dict[tuple[type[Owned], tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        for number, (kept_as, record, before) in enumerate(self._before):
            names, values = kept_as.names, vars(record)
            columns = tuple(name for name, value in zip(names, before, strict=True) if values[name] != value)
            if columns:
                changed[kept_as.model, columns].append({name: values[name] for name in (*_KEY, *columns)})
                self._before[number] = (kept_as, record, tuple(values[name] for name in names))
        for (model, _), rows in changed.items():
            update_many(self.session, model, rows)
        super().write()  # what a verb or a recording has made anew is mapped


_KEY = ("company_guid", "guid")

_DOCUMENTS = frozenset({"items", "adjustments"})
"""Written once, and parsed at some cost: no verb that follows from an answer looks at them."""

_INVOICE = shape(Invoice, without=_DOCUMENTS)
_TRANSACTION = shape(Transaction)
