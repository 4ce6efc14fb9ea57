"""How the books stand at this moment, for monitoring: what is due, what is open, what the runs of the last day did.

Everything here is asked of the database when somebody wants to know, so it is the same whichever process answers,
and the scheduler may be a cron job that has long ended. No query reads what is closed: each is answered by an index
of what is *due*, *open* or *pending*, or of the runs of one day, and takes as long after ten years as after one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, func, literal, or_, select, text
from sqlalchemy.orm import Session

from billy.billing_run import Summary
from billy.models import BillingRun, Company, SubmitStatus, Subscription, Transaction, TransactionStatus
from billy.models.base import UtcDateTime
from billy.models.transaction import OPEN
from billy.statements import database_now

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
    transactions_pending: int
    """Accepted by the processor, which has not said yet how they ended."""
    companies_parked: int
    """Left alone for a while, since the processor refused their key."""
    last_run_started_at: datetime | None
    last_run: FinishedRun | None
    """The one that ended last."""
    runs: int
    """That ended in the last 24 hours."""
    counts: Mapping[str, int]
    """What those runs did, added up; named as in ``Summary``."""

    def age(self, since: datetime | None) -> float:
        """Seconds; 0 where there is nothing that waits."""
        return 0.0 if since is None else max((self.at - since).total_seconds(), 0.0)


def standing(session: Session, now: datetime, *, seconds: int = 5) -> Standing:
    """Ask; on PostgreSQL, OperationalError if one query takes more than ``seconds``."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = '{seconds:d}s'"))
    runs, counts = _last_day(session, now)
    return Standing(
        at=now,
        **_subscriptions(session, now),
        **_open_transactions(session, now),
        transactions_pending=_pending(session),
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


def _open_transactions(session: Session, now: datetime) -> dict[str, Any]:
    clock = literal(database_now(session), UtcDateTime())
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
    )
    # Literal values: the partial index is used only if they are seen when the query is planned.
    is_open = Transaction.submit_status.in_(bindparam("open", OPEN, expanding=True, literal_execute=True))
    found = session.execute(counts.where(is_open)).one()._asdict()
    return {"transactions_open": {status: found.pop(status) for status in OPEN}, **found}


def _pending(session: Session) -> int:
    is_pending = (  # literal values, as above
        Transaction.submit_status == bindparam("done", SubmitStatus.DONE, literal_execute=True),
        Transaction.status == bindparam("pending", TransactionStatus.PENDING, literal_execute=True),
    )
    return session.scalar(select(func.count()).where(*is_pending)) or 0


def _last_run(session: Session) -> FinishedRun | None:
    finished = select(BillingRun.started_at, BillingRun.finished_at, BillingRun.counts)
    finished = finished.where(BillingRun.finished_at.is_not(None)).order_by(BillingRun.finished_at.desc())
    last = session.execute(finished.limit(1)).first()
    if last is None:
        return None
    # Another version's run may have counted other things.
    summary = Summary(**{name: last.counts.get(name, 0) for name in _COUNTS})
    return FinishedRun(last.started_at, last.finished_at, summary)


def _last_day(session: Session, now: datetime) -> tuple[int, dict[str, int]]:
    sums = (func.coalesce(func.sum(BillingRun.counts[name].as_integer()), 0).label(name) for name in _COUNTS)
    ran = session.execute(select(func.count().label("runs"), *sums).where(BillingRun.finished_at > now - DAY)).one()
    counts = {name: int(count) for name, count in ran._asdict().items()}
    return counts.pop("runs"), counts
