"""A Billy that forgets a check: what must never happen twice is a constraint too, and that has to hold alone.

Everywhere else in the torture the code's own check comes first, so nothing would be missed if the constraint behind
it were gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billy import billing_run
from billy.models import Invoice
from billy.models.subscription import DueSubscription, file_missed
from billy.statements import insert_filed
from torture.acts import bill, check, client
from torture.case import DATABASES, Case
from torture.scenes import crowd, shop
from torture.stage import Stage
from torture.world import World


def cases() -> Iterator[Case]:
    """The two that stand between a customer and a second charge, on both databases."""
    for database in DATABASES:
        yield Case(f"constraints/{database}/charge-alive", shop, _charge_alive)
        yield Case(f"constraints/{database}/one-invoice-a-period", crowd, _one_invoice_a_period, (3,))


def _charge_alive(stage: Stage) -> None:
    stage.do(change_instrument_and_forget)
    stage.tally.faults += 1
    stage.await_lease()
    stage.settle()
    stage.audit()


def change_instrument_and_forget(world: World) -> None:
    """A new charge for an invoice whose old one is open, and stays so (``uq_transaction_charge_alive``)."""
    Invoice._cancel_open = staticmethod(lambda transactions, now: None)  # type: ignore[method-assign]
    api, facts = client(world), world.facts
    invoice = f"/v1/invoices/{facts['retrying']}"
    check(api.put(invoice, {"funding_instrument_uri": "/cards/ok"}, status="*"), {200, 500})


def _one_invoice_a_period(stage: Stage) -> None:
    stage.do(bill_what_another_has_filed)
    stage.tally.faults += 1
    stage.settle()
    stage.audit()


def bill_what_another_has_filed(world: World) -> None:
    """A run that reads what is due and does not lock it, while another files it (``UNIQUE … scheduled_at``)."""
    honest = billing_run.due_subscriptions

    def without_lock(session: Session, now: datetime, **options: Any) -> list[DueSubscription]:
        found = honest(session, now, **options)
        session.rollback()
        with world.sessions() as sessions, sessions.begin() as another:
            filed = [(due, file_missed(due, now)) for due in honest(another, now, **options)]
            insert_filed(another, filed, now)
        return found

    billing_run.due_subscriptions = without_lock
    bill(world)
