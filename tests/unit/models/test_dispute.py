"""Disputes: a decision stays, whatever arrives late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from billy.errors import MoneyMoving
from billy.models import Dispute, DisputeState, Invoice, disputed, lock_invoice
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

INQUIRY, OPEN, WON, LOST = DisputeState


@pytest.fixture
def invoice(make: Factories, session: Session, bystander: Bystander) -> Invoice:
    """A paid one, locked."""
    paid = make.paid_invoice(make.company())
    return lock_invoice(session, session.get_one(Invoice, (paid.company_guid, paid.guid)))


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([OPEN], OPEN),
        ([INQUIRY, OPEN], OPEN),
        ([OPEN, WON], WON),
        ([OPEN, LOST, OPEN], LOST),
        ([WON, INQUIRY], WON),
        ([LOST, WON], WON),
        ([WON, LOST], LOST),
    ],
)
def test_a_decision_is_not_undone_by_old_news(
    invoice: Invoice, session: Session, clock: FrozenClock, told: list[DisputeState], state: DisputeState
) -> None:
    [charge] = invoice.charges
    for each in told:
        Dispute.record(session, charge, each, clock.move(hours=1))
        session.flush()
    [dispute] = session.scalars(select(Dispute))
    assert (dispute.transaction_guid, dispute.state) == (charge.guid, state)
    assert dispute.created_at <= dispute.updated_at <= clock.now


@pytest.mark.parametrize(("state", "is_disputed"), [(INQUIRY, False), (OPEN, True), (WON, False), (LOST, False)])
def test_only_while_it_is_open_a_dispute_keeps_a_charge_from_being_refunded(
    invoice: Invoice, session: Session, clock: FrozenClock, state: DisputeState, is_disputed: bool
) -> None:
    [charge] = invoice.charges
    Dispute.record(session, charge, state, clock.now)
    session.flush()
    in_dispute = disputed(session, invoice.company_guid, invoice.charges)
    assert in_dispute == ({charge.guid} if is_disputed else set())


def test_a_refund_of_a_disputed_charge_is_refused_for_now_and_files_nothing(
    invoice: Invoice, clock: FrozenClock
) -> None:
    [charge] = invoice.charges
    before = invoice.updated_at
    with pytest.raises(MoneyMoving, match="is disputed"):
        invoice.refund(1, clock.now + timedelta(hours=1), disputed={charge.guid})
    assert (invoice.refunds, invoice.updated_at) == ([], before)
