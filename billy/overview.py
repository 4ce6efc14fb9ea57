"""How the billing stands: what is due, what waits, what failed, and what needs a person.

For the operator, who sees all companies, so no query here begins with one. The counts are ``billy.standing``'s; here
are the records behind them, each found off an index of what is *open* or, through the companies' keys, of the last
day: it costs as much in the tenth year as in the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from billy.guid import first_guid
from billy.models import (
    BillingRun,
    Company,
    SubmitStatus,
    Subscription,
    Transaction,
    TransactionFailure,
    TransactionStatus,
    TransactionType,
    of_any_company,
)
from billy.models.base import Owned, among
from billy.standing import DAY, FinishedRun, Standing, standing
from billy.statements import IS_OPEN, is_lasting_doubt
from billy.verification import STALE_LEASE


class Need(StrEnum):
    """What needs a person; the names are stable."""

    DOUBT_LASTS = "doubt_lasts"
    COMPANY_PARKED = "company_parked"
    LEASE_EXPIRED = "lease_expired"
    NO_RUN = "no_run"
    RUN_WENT_WRONG = "run_went_wrong"


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs a person."""

    name: Need
    count: int
    meaning: str
    """A sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Filing:
    """Subscriptions whose invoices the next run files, and when the next one after them is due."""

    due: int
    due_since: datetime | None
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The claim that ends first."""

    company_guid: str
    transaction_guid: str
    leased_until: datetime
    """Database clock."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """Transactions that are open. One that is due is neither leased nor its company parked; nor is a leased one
    counted as in doubt, since its run is about to know."""

    due: int
    due_since: datetime | None
    leased: int
    in_doubt: int
    retrying: int
    parked: int
    oldest_lease: Lease | None


@dataclass(frozen=True, slots=True)
class Pending:
    """Transactions of which the processor has not told how they ended."""

    count: int
    since: datetime | None
    """Since when the oldest has been."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A transaction whose outcome has been unknown for too long."""

    company_guid: str
    transaction_guid: str
    amount: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction that is tried again, and what the last try came to."""

    company_guid: str
    transaction_guid: str
    amount: int
    next_attempt_at: datetime
    in_doubt: bool
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How those of the last day's transactions stand that are of one type."""

    transaction_type: TransactionType
    outcome: str
    """``staged``, ``retrying``, ``pending``, ``succeeded``, ``failed`` or ``canceled``."""
    count: int
    amount: int
    """Cents."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A transaction that failed for good, and why."""

    company_guid: str
    transaction_guid: str
    amount: int
    failed_at: datetime
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the diary."""

    guid: str
    host: str
    started_at: datetime
    finished_at: datetime | None
    """Empty while it goes on, and for ever if it was killed."""
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Parked:
    """A company that is left alone since the processor refused its key."""

    company_guid: str
    name: str | None
    parked_until: datetime
    refusals: int


@dataclass(frozen=True, slots=True)
class Overview:
    """How the billing stands ``at`` an instant. Lists are cut; their totals are not."""

    at: datetime
    concerns: list[Concern]
    filing: Filing
    submitting: Submitting
    pending: Pending
    doubts: list[Doubt]
    """The oldest first."""
    retrying: list[Waiting]
    """What comes next first."""
    last_day: list[Outcome]
    """Of what was filed, charged or refunded in the last 24 hours, how much stands how."""
    failed_last_day: int
    """What failed for good in the last 24 hours, whenever it was filed."""
    failed: list[Failed]
    """Of those the newest first."""
    runs_last_day: dict[str, int]
    """``runs`` that ended in the last 24 hours, and all that they counted, added up."""
    runs: list[Run]
    """The newest first."""
    parked: list[Parked]


def look(session: Session, now: datetime, *, doubt_alert: timedelta, run_within: timedelta, most: int = 10) -> Overview:
    """How the billing stands; a person is needed if the last run ended longer than ``run_within`` ago.

    Lists have up to ``most`` entries.
    """
    books = standing(session, now)
    stale, oldest_lease = _leases(session, books.database_time)
    lasting, doubts = _doubts(session, doubt_alert, most)
    failed_last_day, failed = _failed(session, now, most)
    return Overview(
        at=now,
        concerns=[
            *_of_records(lasting, books.companies_parked, stale),
            *_of_runs(books.last_run, since=books.database_time - run_within),
        ],
        filing=Filing(books.subscriptions_due, books.subscriptions_due_since, _next_due_at(session, now)),
        submitting=_submitting(books, oldest_lease),
        pending=Pending(books.transactions_pending, books.pending_since),
        doubts=doubts,
        retrying=_retrying(session, most),
        last_day=_last_day(session, now),
        failed_last_day=failed_last_day,
        failed=failed,
        runs_last_day={"runs": books.runs, **books.counts},
        runs=_runs(session, most),
        parked=_parked(session, now, most),
    )


def _of_records(lasting: int, parked: int, stale: int) -> list[Concern]:
    found = [
        Concern(
            Need.DOUBT_LASTS,
            lasting,
            "The outcome of a transaction has been unknown for too long: look at the processor's pages, then billy "
            "resolve.",
        ),
        Concern(Need.COMPANY_PARKED, parked, "The processor refuses a company's key: the company has to mend it."),
        Concern(
            Need.LEASE_EXPIRED,
            stale,
            "A run died with work in its hands, and none has come by since: start the scheduler.",
        ),
    ]
    return [concern for concern in found if concern.count]


def _of_runs(last: FinishedRun | None, *, since: datetime) -> list[Concern]:
    if last is None:
        return [Concern(Need.NO_RUN, 1, "No run has ever ended: start the scheduler.")]
    found = []
    if last.finished_at < since:
        at = f"{last.finished_at:%Y-%m-%d %H:%M} UTC"
        found.append(Concern(Need.NO_RUN, 1, f"The last run ended at {at}: see whether the scheduler still is."))
    wrong = last.summary.errors + last.summary.differing
    if wrong:
        meaning = "The last run met errors, or a record that is not the processor's: see its log, and billy reconcile."
        found.append(Concern(Need.RUN_WENT_WRONG, wrong, meaning))
    return found


def _next_due_at(session: Session, now: datetime) -> datetime | None:
    at = Subscription.next_invoice_at
    return session.scalar(select(func.min(at)).where(Subscription.canceled_at.is_(None), at > now))


def _submitting(books: Standing, oldest_lease: Lease | None) -> Submitting:
    return Submitting(
        due=books.transactions_due,
        due_since=books.transactions_due_since,
        leased=books.transactions_claimed,
        in_doubt=books.transactions_in_doubt,
        retrying=books.transactions_open[SubmitStatus.RETRYING],
        parked=books.transactions_parked,
        oldest_lease=oldest_lease,
    )


def _leases(session: Session, database_time: datetime) -> tuple[int, Lease | None]:
    until = Transaction.leased_until
    stale = func.count().filter(until < database_time - STALE_LEASE).over()
    first = select(Transaction.company_guid, Transaction.guid, until, stale)
    found: Sequence[Any] = session.execute(first.where(IS_OPEN, until.is_not(None)).order_by(until).limit(1)).all()
    return _total(found), next((Lease(*lease) for *lease, _ in found), None)


def _doubts(session: Session, alert: timedelta, most: int) -> tuple[int, list[Doubt]]:
    of = (Transaction.company_guid, Transaction.guid, Transaction.amount, Transaction.last_send_at)
    found: Sequence[Any] = session.execute(
        select(*of, func.count().over())
        .where(is_lasting_doubt(session, alert))
        .order_by(Transaction.last_send_at)
        .limit(most)
    ).all()
    return _total(found), [Doubt(*doubt) for *doubt, _ in found]


def _retrying(session: Session, most: int) -> list[Waiting]:
    waiting = session.execute(
        select(
            Transaction.company_guid,
            Transaction.guid,
            Transaction.amount,
            Transaction.next_attempt_at,
            Transaction.in_doubt,
        )
        .where(IS_OPEN, Transaction.submit_status == SubmitStatus.RETRYING)
        .order_by(Transaction.next_attempt_at)
        .limit(most)
    ).all()
    keys = [(row.company_guid, row.guid) for row in waiting]
    theirs = among(session, TransactionFailure.company_guid, TransactionFailure.transaction_guid, keys)
    last = {
        (failure.company_guid, failure.transaction_guid): (failure.error_code, failure.error_message)
        for failure in session.scalars(select(TransactionFailure).where(theirs).order_by(TransactionFailure.guid))
    }
    return [Waiting(*row, *last.get((row.company_guid, row.guid), (None, None))) for row in waiting]


def _last_day(session: Session, now: datetime) -> list[Outcome]:
    outcome = case(
        (Transaction.submit_status == SubmitStatus.DONE, type_coerce(Transaction.status, String)),
        else_=type_coerce(Transaction.submit_status, String),
    )
    groups = (Transaction.transaction_type, outcome)
    found = session.execute(
        select(*groups, func.count(), func.sum(Transaction.amount))
        .where(of_any_company(Transaction), Transaction.created_at > now - DAY)
        .group_by(*groups)
        .order_by(*groups)
    )
    return [Outcome(type_, outcome, count, int(amount)) for type_, outcome, count, amount in found]


def _failed(session: Session, now: datetime, most: int) -> tuple[int, list[Failed]]:
    # What failed for good has a failure of that moment, its last one; and that has a guid of that moment.
    since = now - DAY
    last = (
        select(
            TransactionFailure.company_guid,
            TransactionFailure.transaction_guid,
            func.max(TransactionFailure.guid).label("guid"),
        )
        .where(
            of_any_company(TransactionFailure),
            TransactionFailure.guid >= first_guid("TF", since),
            TransactionFailure.created_at > since,
        )
        .group_by(TransactionFailure.company_guid, TransactionFailure.transaction_guid)
        # Found first: else PostgreSQL may look through all that ever failed.
        .cte("last")
        .prefix_with("MATERIALIZED")
    )
    found: Sequence[Any] = session.execute(
        select(
            Transaction.company_guid,
            Transaction.guid,
            Transaction.amount,
            TransactionFailure.created_at,
            TransactionFailure.error_code,
            TransactionFailure.error_message,
            func.count().over(),
        )
        .select_from(last)
        .join(Transaction, _has_key(Transaction, last.c.company_guid, last.c.transaction_guid))
        .join(TransactionFailure, _has_key(TransactionFailure, last.c.company_guid, last.c.guid))
        .where(
            or_(Transaction.submit_status == SubmitStatus.FAILED, Transaction.status == TransactionStatus.FAILED),
        )
        .order_by(last.c.guid.desc())
        .limit(most)
    ).all()
    return _total(found), [Failed(*failed) for *failed, _ in found]


def _has_key(model: type[Owned], company_guid: Any, guid: Any) -> ColumnElement[bool]:
    return and_(model.company_guid == company_guid, model.guid == guid)


def _total(rows: Sequence[Any]) -> int:
    return rows[0][-1] if rows else 0


def _runs(session: Session, most: int) -> list[Run]:
    of = (BillingRun.guid, BillingRun.host, BillingRun.started_at, BillingRun.finished_at, BillingRun.counts)
    return [Run(*row) for row in session.execute(select(*of).order_by(BillingRun.guid.desc()).limit(most))]


def _parked(session: Session, now: datetime, most: int) -> list[Parked]:
    of = (Company.guid, Company.name, Company.parked_until, Company.parked_count)
    found: Sequence[Any] = session.execute(
        select(*of).where(Company.parked_until > now).order_by(Company.parked_until, Company.guid).limit(most)
    ).all()
    return [Parked(*row) for row in found]
