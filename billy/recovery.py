"""After a restore: whatever may have been sent in the time that the books lost is looked up before it is sent.

What the back-up has open becomes doubtful here. What it does not know to be filed is filed again by the next run, and
is doubtful then, since that this happened is written down (``billy.models.recovery`` has the rules)::

    the back-up      the lost time                 the restored database
    ───────┬─────────────────────────┬─────────────────┬──────────────────────────────────
         since                   the disaster     recovered_at
                                                       what is open: in doubt, from here on
                                                       what began by then and is filed after: in doubt, when it is made

A run would undo that: what it has claimed before this is committed, it sends. So this waits for everybody who holds a
lock, lets nobody in meanwhile, and refuses while something is leased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, or_, select, text, update
from sqlalchemy.orm import Session

from billy.errors import InvalidOperationError, MoneyMoving
from billy.guid import new_guid
from billy.models import AuditEntry, BillingRun, Recovery, Subscription, Transaction, TransactionType
from billy.settings import Settings
from billy.statements import IS_OPEN, database_now

PATIENCE = "30s"
"""Whoever holds a lock for longer is not about to finish: a run or a request that should have been stopped."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a recovery concerns."""

    charges: int
    """Debits and credits that were open: in doubt now."""
    refunds: int
    """Refunds, likewise."""
    subscriptions: int
    """Those with a period that is still to be filed, and whose charge will be in doubt."""
    companies: int
    """Those that any of these belong to."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def recover(
    session: Session, settings: Settings, since: datetime, now: datetime, *, actor: str, dry_run: bool = False
) -> Found:
    """Mark what may have happened since ``since``, the time of the back-up or an earlier one; the caller commits.

    Harmless when repeated. InvalidOperationError for a time that cannot be the back-up's, MoneyMoving while something
    is being sent. A ``dry_run`` counts and changes nothing.
    """
    if not dry_run:
        _let_nobody_in(session)
    _check_time(session, since, now)
    database_time = database_now(session)
    leased = session.scalar(
        select(func.max(Transaction.leased_until)).where(IS_OPEN, Transaction.leased_until > database_time)
    )
    if leased is not None:
        raise MoneyMoving(
            "transactions are being submitted right now: stop every server and scheduler of this database, and try "
            f"again in {(leased - database_time).total_seconds():.0f} s, when their leases are over"
        )
    opened, due = _open_by_company(session), _due_by_company(session, now)
    found = Found(
        charges=sum(charges for charges, _ in opened.values()),
        refunds=sum(refunds for _, refunds in opened.values()),
        subscriptions=sum(due.values()),
        companies=len(opened.keys() | due.keys()),
    )
    if not dry_run:
        # Whoever was sending when the disaster came may go on until the lease is over that he believes in.
        last_send_at = database_time + settings.lease - settings.call_deadline
        _distrust(session, since, now, last_send_at)
        recovery = Recovery(
            guid=new_guid("RC", now),
            actor=actor,
            since=since,
            recovered_at=now,
            last_send_at=last_send_at,
            counts=found.as_dict(),
        )
        session.add(recovery)
        _audit(session, recovery, {guid: (*opened.get(guid, (0, 0)), due.get(guid, 0)) for guid in opened | due})
    return found


def _let_nobody_in(session: Session) -> None:
    if session.get_bind().dialect.name != "postgresql":
        return  # it has one writer at a time, and that is us
    session.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
    # EXCLUSIVE stops SELECT … FOR UPDATE too, with which claims, filings and requests begin; readers go on.
    session.execute(text('LOCK TABLE subscription, invoice, "transaction" IN EXCLUSIVE MODE'))


def _check_time(session: Session, since: datetime, now: datetime) -> None:
    if since > now:
        raise InvalidOperationError(f"--since {since.isoformat()} has not come yet")
    newest = session.scalar(select(func.max(BillingRun.started_at)))
    if newest is not None and newest < since:
        raise InvalidOperationError(
            f"the newest run in these books is of {newest.isoformat()}, so the back-up may be older than --since "
            f"{since.isoformat()}: what happened between would be missed. Say that time, or an earlier one"
        )


def _open_by_company(session: Session) -> dict[str, tuple[int, int]]:
    is_refund = case((Transaction.transaction_type == TransactionType.REFUND, 1), else_=0)
    counted = select(Transaction.company_guid, func.count(), func.sum(is_refund))
    rows = session.execute(counted.where(IS_OPEN).group_by(Transaction.company_guid))
    return {guid: (count - refunds, refunds) for guid, count, refunds in rows}


def _due_by_company(session: Session, now: datetime) -> dict[str, int]:
    due = and_(Subscription.canceled_at.is_(None), Subscription.next_invoice_at <= now)
    rows = session.execute(
        select(Subscription.company_guid, func.count().label("subscriptions"))
        .where(due)
        .group_by(Subscription.company_guid)
    )
    return {row.company_guid: row.subscriptions for row in rows}


def _distrust(session: Session, since: datetime, now: datetime, last_send_at: datetime) -> None:
    is_later = or_(Transaction.last_send_at.is_(None), Transaction.last_send_at < last_send_at)
    is_earlier = or_(Transaction.lost_since.is_(None), Transaction.lost_since > since)
    session.execute(
        update(Transaction)
        .where(IS_OPEN)
        .values(
            in_doubt=True,
            leased_until=None,
            lost_since=case((is_earlier, since), else_=Transaction.lost_since),
            last_send_at=case((is_later, last_send_at), else_=Transaction.last_send_at),
            # Asked about at once, so that nobody is told for days that it is being processed.
            next_attempt_at=case((Transaction.next_attempt_at > now, now), else_=Transaction.next_attempt_at),
            updated_at=now,
        ),
        execution_options={"synchronize_session": False},
    )


def _audit(session: Session, recovery: Recovery, by_company: dict[str, Sequence[int]]) -> None:
    for guid, (charges, refunds, subscriptions) in sorted(by_company.items()):
        session.add(
            AuditEntry.of(
                recovery.recovered_at,
                company_guid=guid,
                actor=recovery.actor,
                action="recover",
                subject_guid=guid,
                detail=f"in doubt since {recovery.since.isoformat()}: {charges} charges, {refunds} refunds, "
                f"{subscriptions} subscriptions with periods to file",
            )
        )
