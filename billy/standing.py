"""How the books stand at this moment: what is due, what is open, what the runs of the last day did.

Counted once, for whoever asks: ``billy.metrics`` tells it to Prometheus, ``billy.overview`` to the operator.
Everything here is asked of the database when somebody wants to know, so it is the same whichever process answers,
and the scheduler may be a cron job that has long ended. No query reads what is closed: each is answered by an index
of what is *due*, *open* or *pending*, or of the runs of one day, and takes as long after ten years as after one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, literal, or_, select
from sqlalchemy.orm import Session

from billy.models import BillingRun, Company, SubmitStatus, Subscription, Transaction
from billy.models.base import UtcDateTime
from billy.models.run import Summary
from billy.models.transaction import OPEN
from billy.statements import IS_OPEN, IS_PENDING, database_now

DAY = timedelta(days=1)

_COUNTS = tuple(field.name for field in fields(Summary))


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of the scheduler that came to its end."""

    started_at: datetime
    finished_at: datetime
    summary: Summary

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts over all companies, and since when the oldest of those counted has been waiting (None: there is none)."""

    at: datetime
    database_time: datetime
    """The same instant by the database's clock, with which leases and the diary of runs are written."""
    subscriptions_due: int
    """Not canceled, with an invoice to file."""
    subscriptions_due_since: datetime | None
    transactions_open: Mapping[SubmitStatus, int]
    """To be submitted, now or later."""
    transactions_due: int
    """Of the open ones those that a run would claim now."""
    transactions_due_since: datetime | None
    transactions_claimed: int
    """Of the open ones those that somebody is submitting."""
    leases_expired: int
    """Of the open ones those whose claimant died, and that nobody has taken over yet."""
    transactions_in_doubt: int
    """Of the open ones those whose outcome is unknown, and that nobody is looking up right now."""
    doubt_since: datetime | None
    transactions_parked: int
    """Of the open ones those of parked companies."""
    transactions_pending: int
    """Accepted by the processor, which has not said yet how they ended."""
    pending_since: datetime | None
    companies_parked: int
    """Left alone for a while, since the processor refused their key."""
    last_run_started_at: datetime | None
    last_run: FinishedRun | None
    """The one that ended last."""
    runs: int
    """That ended in the last 24 hours."""
    counts: Mapping[str, int]
    """What those runs did, added up; all that a ``Summary`` has, and named as there."""

    def age(self, since: datetime | None) -> float:
        """Seconds; 0 where there is nothing that waits."""
        return 0.0 if since is None else max((self.at - since).total_seconds(), 0.0)


def standing(session: Session, now: datetime) -> Standing:
    """Ask, in queries whose number is fixed."""
    database_time = database_now(session)
    runs, counts = _last_day(session, database_time)
    return Standing(
        at=now,
        database_time=database_time,
        **_subscriptions(session, now),
        **_open_transactions(session, now, database_time),
        **_pending(session),
        companies_parked=session.scalar(select(func.count()).where(Company.parked_until > now)) or 0,
        last_run_started_at=session.scalar(select(BillingRun.started_at).order_by(BillingRun.guid.desc()).limit(1)),
        last_run=_last_run(session),
        runs=runs,
        counts=counts,
    )


def _subscriptions(session: Session, now: datetime) -> dict[str, Any]:
    due = select(
        func.count().label("subscriptions_due"),
        func.min(Subscription.next_invoice_at).label("subscriptions_due_since"),
    )
    is_due = (Subscription.canceled_at.is_(None), Subscription.next_invoice_at <= now)
    return session.execute(due.where(*is_due)).one()._asdict()


def _open_transactions(session: Session, now: datetime, database_time: datetime) -> dict[str, Any]:
    clock = literal(database_time, UtcDateTime())
    is_free = or_(Transaction.leased_until.is_(None), Transaction.leased_until < clock)
    is_in_doubt = and_(Transaction.in_doubt, is_free)
    is_parked = Transaction.company_guid.in_(select(Company.guid).where(Company.parked_until > now))
    is_due = and_(Transaction.next_attempt_at <= now, is_free, ~is_parked)
    counts = select(
        *(func.count().filter(Transaction.submit_status == status).label(status) for status in OPEN),
        func.count().filter(is_due).label("transactions_due"),
        func.min(Transaction.next_attempt_at).filter(is_due).label("transactions_due_since"),
        func.count().filter(Transaction.leased_until >= clock).label("transactions_claimed"),
        func.count().filter(Transaction.leased_until < clock).label("leases_expired"),
        func.count().filter(is_in_doubt).label("transactions_in_doubt"),
        func.min(Transaction.last_send_at).filter(is_in_doubt).label("doubt_since"),
        func.count().filter(is_parked).label("transactions_parked"),
    )
    found = session.execute(counts.where(IS_OPEN)).one()._asdict()
    return {"transactions_open": {status: found.pop(status) for status in OPEN}, **found}


def _pending(session: Session) -> dict[str, Any]:
    pending = select(
        func.count().label("transactions_pending"), func.min(Transaction.updated_at).label("pending_since")
    )
    return session.execute(pending.where(IS_PENDING)).one()._asdict()


def _last_run(session: Session) -> FinishedRun | None:
    finished = select(BillingRun.started_at, BillingRun.finished_at, BillingRun.counts)
    finished = finished.where(BillingRun.finished_at.is_not(None)).order_by(BillingRun.finished_at.desc())
    last = session.execute(finished.limit(1)).first()
    if last is None:
        return None
    # Another version's run may have counted other things.
    summary = Summary(**{name: last.counts.get(name, 0) for name in _COUNTS})
    return FinishedRun(last.started_at, last.finished_at, summary)


def _last_day(session: Session, database_time: datetime) -> tuple[int, dict[str, int]]:
    sums = (func.coalesce(func.sum(BillingRun.counts[name].as_integer()), 0).label(name) for name in _COUNTS)
    is_of_the_day = BillingRun.finished_at > database_time - DAY
    ran = session.execute(select(func.count().label("runs"), *sums).where(is_of_the_day)).one()
    counts = {name: int(count) for name, count in ran._asdict().items()}
    return counts.pop("runs"), counts
