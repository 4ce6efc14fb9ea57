"""Rows for tests, made through the models and committed. Name what matters to the test; the rest is ordinary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy.orm import Session, sessionmaker

from billy.guid import new_guid
from billy.models import (
    Base,
    Company,
    Customer,
    Frequency,
    Invoice,
    Plan,
    PlanType,
    Subscription,
    TransactionStatus,
    lock_invoice,
)
from billy.models.invoice import new_invoice
from billy.secrets import Vault
from tests.support.clock import FrozenClock

CARD = "/cards/ok"

R = TypeVar("R", bound=Base)


class Factories:
    """``make.company()``, ``make.plan(company, amount=500)`` …: each returns the record, readable but detached."""

    def __init__(self, sessions: sessionmaker[Session], vault: Vault, clock: FrozenClock) -> None:
        self._sessions = sessions
        self._vault = vault
        self._clock = clock
        self.keys: dict[str, str] = {}
        """API keys by the guid of their company."""

    def company(self, *, processor_key: str = "a-processor-key", name: str | None = None, **values: Any) -> Company:
        """A company; its API key is in ``make.keys[company.guid]``."""
        with self._sessions.begin() as session:
            company, key = Company.register(
                session, self._vault, self._clock.now, processor_key=processor_key, name=name
            )
            for column, value in values.items():
                setattr(company, column, value)
        self.keys[company.guid] = key
        return company

    def plan(self, company: Company, **values: Any) -> Plan:
        """A plan of 10.00 a month."""
        ordinary = {
            "plan_type": PlanType.DEBIT,
            "frequency": Frequency.MONTHLY,
            "interval": 1,
            "amount": 1000,
            "deleted": False,
        }
        return self._add(Plan(**self._row(company, "PL"), **{**ordinary, **values}))

    def customer(self, company: Company, **values: Any) -> Customer:
        """A customer whom the processor knows."""
        row = self._row(company, "CU")
        ordinary = {"processor_uri": f"/customers/{row['guid']}", "deleted": False}
        return self._add(Customer(**row, **{**ordinary, **values}))

    def subscription(
        self, company: Company, *, customer: Customer | None = None, plan: Plan | None = None, **values: Any
    ) -> Subscription:
        """A subscription that starts now, with a card, and has no invoice yet: the first one is due."""
        customer = customer or self.customer(company)
        plan = plan or self.plan(company)
        started_at = values.pop("started_at", self._clock.now)
        ordinary = {
            "customer_guid": customer.guid,
            "plan_guid": plan.guid,
            "funding_instrument_uri": CARD,
            "started_at": started_at,
            "next_invoice_at": started_at,
            "invoice_count": 0,
        }
        return self._add(Subscription(**self._row(company, "SU"), **{**ordinary, **values}))

    def filed(self, subscription: Subscription) -> list[Invoice]:
        """File what is due of a subscription at the clock's time; returns its new invoices, charges staged."""
        with self._sessions.begin() as session:
            subscription = session.get_one(Subscription, (subscription.company_guid, subscription.guid))
            return [invoice for invoice, _ in subscription.file_due(session, self._clock.now)]

    def invoice(
        self,
        company: Company,
        *,
        customer: Customer | None = None,
        charge: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Invoice:
        """An invoice of 10.00 to a customer. With ``funding_instrument_uri`` it has a charge, staged and due.

        ``charge`` sets columns of that charge.
        """
        customer = customer or self.customer(company)
        owners = {"company_guid": company.guid, "customer_guid": customer.guid}
        with self._sessions.begin() as session:
            invoice = Invoice(**new_invoice(self._clock.now, **owners, **{"amount": 1000, **values}))
            session.add(invoice)
            session.flush()
            if invoice.funding_instrument_uri is not None and invoice.effective_amount:
                staged = invoice.charge(self._clock.now)
                for column, value in (charge or {}).items():
                    setattr(staged, column, value)
                session.add(staged)
        return invoice

    def paid_invoice(self, company: Company, *, processor_uri: str = "/debits/1", **values: Any) -> Invoice:
        """A settled invoice whose only charge succeeded at the processor as ``processor_uri``.

        The processor knows nothing of it. Where that matters, charge an invoice through ``submitter``.
        """
        invoice = self.invoice(company, **{"funding_instrument_uri": CARD, **values})
        with self._sessions.begin() as session:
            invoice = lock_invoice(session, invoice)
            [charge] = invoice.charges
            charge.accept(processor_uri, TransactionStatus.SUCCEEDED, self._clock.now)
            invoice.follow_charges(self._clock.now)
        return invoice

    def _row(self, company: Company, prefix: str) -> dict[str, Any]:
        now = self._clock.now
        return {"company_guid": company.guid, "guid": new_guid(prefix, now), "created_at": now, "updated_at": now}

    def _add(self, record: R) -> R:
        with self._sessions.begin() as session:
            session.add(record)
        return record
