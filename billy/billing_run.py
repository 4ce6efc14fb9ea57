"""One scheduler run: file what is due, submit what is open, ask about what the processor has not told.

Any number of runs may go on at once, on any number of hosts: each takes rows that no other holds
(``billy.statements``), in batches, so a run's memory does not grow with what is due. One bad row
never stops the others: a batch that fails is done again row by row, and what then fails is reported
and left for another day.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from structlog.contextvars import bound_contextvars

from billy.callers import Callers
from billy.db import persist
from billy.errors import ConfigurationError, Misconfigured, ProcessorError, Refused
from billy.guid import new_guid
from billy.models import BillingRun, Company, Recovery, Transaction
from billy.models.base import lock
from billy.models.run import Summary
from billy.models.subscription import DueSubscription, Filed, file_missed
from billy.reconciliation import Difference, reconcile
from billy.recording import Outcome, Result
from billy.settings import Settings
from billy.statements import (
    database_now,
    delete_expired_keys,
    due_subscriptions,
    forget_counts,
    insert_filed,
    is_lasting_doubt,
)
from billy.submission import Submitter

log = structlog.get_logger(__name__)

T = TypeVar("T")
Sessions = sessionmaker[Session]

CLOCK_TOLERANCE = timedelta(seconds=5)

FORGOTTEN_AT_ONCE = 1000
"""Expired idempotency keys that are deleted in one transaction."""

FILED_AT_ONCE = 1000
"""Subscriptions that are filed in one transaction: a filing calls nobody, so others wait only for milliseconds."""

MOST_PERIODS = 10
"""Missed periods of one subscription that are filed in one batch; the rest follow in the next."""

CALLBACKS_A_RUN = 20
"""Callback registrations that one run tries: a processor that is away must not hold up the billing."""

DOUBTS_NAMED = 20


Progress = Callable[[Summary], None]


def check_clock(sessions: Sessions, now: datetime) -> None:
    """ConfigurationError if this host's clock and the database's are more than five seconds apart.

    What is due is read off the host's clock: one that is ahead would bill early.
    """
    with sessions() as session:
        difference = abs(database_now(session) - now)
    if difference > CLOCK_TOLERANCE:
        raise ConfigurationError(
            f"this host's clock and the database's are {difference.total_seconds():.0f} s apart; "
            f"more than {CLOCK_TOLERANCE.total_seconds():.0f} s is refused, since a wrong clock bills at the wrong time"
        )


def run(
    sessions: Sessions,
    settings: Settings,
    submitter: Submitter,
    now: datetime,
    *,
    concurrency: int = 8,
    progress: Progress = lambda summary: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Summary:
    """File every period that has begun by ``now`` and submit every transaction that is due by then.

    ``concurrency`` calls to processors go on at once. When ``is_stopping`` turns true, no more is begun;
    what is under way is finished and recorded.
    """
    summary, began = Summary(), time.monotonic()
    run_guid = new_guid("RN", now)
    with bound_contextvars(run=run_guid), sessions() as session:
        _begin(session, settings, run_guid, now)
        log.debug("run_started", now=now.isoformat(), concurrency=concurrency)
        try:
            _register_callbacks(session, submitter, now, summary)
            _file(session, settings, now, summary, progress, is_stopping)
            _submit(session, settings, submitter, now, concurrency, summary, progress, is_stopping)
            _reconcile(session, settings, submitter, now, concurrency, summary, is_stopping)
            _forget(session, now, summary, is_stopping)
            _report(session, settings, now, summary)
        finally:
            # Also when the run is cut short: the counts say how far it came.
            session.rollback()
            _end(session, run_guid, summary)
            _log_end(summary, seconds=time.monotonic() - began)
    return summary


def _begin(session: Session, settings: Settings, guid: str, now: datetime) -> None:
    def work() -> None:
        session.execute(delete(BillingRun).where(BillingRun.started_at < now - settings.keep_runs))
        session.merge(  # not add: when it is done again, the first may have been committed
            BillingRun(
                guid=guid,
                host=f"{socket.gethostname()[:200]}:{os.getpid()}",
                started_at=now,
                finished_at=None,
                counts={},
            )
        )

    persist(session, work)


def _end(session: Session, guid: str, summary: Summary) -> None:
    def work() -> None:
        session.execute(
            update(BillingRun)
            .where(BillingRun.guid == guid)
            .values(finished_at=database_now(session), counts=summary.as_dict())
        )

    persist(session, work)


def _log_end(summary: Summary, *, seconds: float) -> None:
    # A scheduler that runs every minute has nothing to do in most of them.
    counts = summary.as_dict()
    (log.warning if summary.exit_code else log.info if any(counts.values()) else log.debug)(
        "run_finished", milliseconds=round(1000 * seconds, 1), **counts
    )


# -- filing ------------------------------------------------------------------------------------------


def _file(
    session: Session,
    settings: Settings,
    now: datetime,
    summary: Summary,
    progress: Progress,
    is_stopping: Callable[[], bool],
) -> None:
    bad: set[tuple[str, str]] = set()

    def take() -> tuple[list[DueSubscription], Sequence[Recovery]]:
        taken = due_subscriptions(session, now, limit=FILED_AT_ONCE, excluding=bad)
        # After the locks: `billy recover` waits for whoever has some, and whoever waits for it sees it.
        return taken, Recovery.all(session) if taken else ()

    def file_batch() -> tuple[int, int]:
        taken, recoveries = take()
        filed = [(due, file_missed(due, now, most=MOST_PERIODS, recoveries=recoveries)) for due in taken]
        if filed:
            insert_filed(session, filed, now)
        return len(filed), _count(filed)

    def file_one_by_one() -> tuple[int, int]:
        subscriptions, invoices = 0, 0
        taken, recoveries = take()
        for due in taken:
            subscriptions += 1
            try:
                with session.begin_nested():
                    filed = [(due, file_missed(due, now, most=MOST_PERIODS, recoveries=recoveries))]
                    insert_filed(session, filed, now)
                    invoices += _count(filed)
            except (OperationalError, InterfaceError):
                raise
            except Exception:  # one bad subscription must not stop the others' billing (D17)
                log.exception("filing_failed", company=due.company_guid, subscription=due.guid)
                bad.add((due.company_guid, due.guid))
                summary.errors += 1
        return subscriptions, invoices

    while not is_stopping():
        # Committed together: the invoices, their transactions, and the subscriptions' next dates.
        subscriptions, invoices = _in_batch_or_one_by_one(session, file_batch, file_one_by_one)
        if not subscriptions:
            break
        summary.filed += invoices
        progress(summary)


def _count(filed: Sequence[tuple[DueSubscription, Filed]]) -> int:
    return sum(len(rows.invoices) for _, rows in filed)


def _in_batch_or_one_by_one(session: Session, batch: Callable[[], T], one_by_one: Callable[[], T]) -> T:
    try:
        return persist(session, batch)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # some row is bad: find out which, and do the others
        log.exception("batch_failed")
        session.rollback()
        return persist(session, one_by_one)


# -- submitting --------------------------------------------------------------------------------------


def _submit(
    session: Session,
    settings: Settings,
    submitter: Submitter,
    now: datetime,
    concurrency: int,
    summary: Summary,
    progress: Progress,
    is_stopping: Callable[[], bool],
    *,
    only_in_doubt: bool = False,
) -> None:
    """Keep ``concurrency`` threads busy with calls while this thread claims and records.

    The database is only ever used here, the processor only in the threads.
    """
    is_exhausted = False
    with Callers(submitter, concurrency) as callers:
        while True:
            if is_stopping():
                submitter.stop()
                is_exhausted = True
            # Claims are taken a little ahead of the calls, since a thread without one earns nothing; not far
            # ahead, since what was claimed and not recorded has to be looked up should this process die.
            claims_more = not is_exhausted and callers.unrecorded < 2 * (concurrency + settings.batch_size)
            if claims_more and callers.waiting <= concurrency:
                claims = persist(
                    session,
                    lambda: submitter.claim_due(session, now, settings.batch_size, only_in_doubt=only_in_doubt),
                )
                is_exhausted = not claims  # committed: the claims are ours, the calls may begin
                callers.take(claims)
                for claim in claims:
                    if claim.was_abandoned:
                        log.warning("lease_expired", company=claim.company_guid, transaction=claim.transaction_guid)
                        summary.expired += 1
            if not callers.unrecorded:
                return
            outcomes = callers.answers(most=settings.batch_size, unless_short=claims_more and not is_exhausted)
            if outcomes:
                results = _record(session, submitter, outcomes, now, summary)
                if Result.GIVEN_BACK in results and not is_stopping():
                    is_exhausted = False  # what a look-up proved not to have happened is due again at once
                progress(summary)


def _record(
    session: Session, submitter: Submitter, outcomes: list[Outcome], now: datetime, summary: Summary
) -> list[Result]:
    def record_batch() -> list[Result]:
        return submitter.record(session, outcomes, now)

    def record_one_by_one() -> list[Result]:
        results = []
        for outcome in outcomes:
            try:
                with session.begin_nested():
                    results += submitter.record(session, [outcome], now)
            except (OperationalError, InterfaceError):
                raise
            except Exception:  # it stays in doubt, and is looked up when its lease is over
                claim = outcome.claim
                log.exception("recording_failed", company=claim.company_guid, transaction=claim.transaction_guid)
                summary.errors += 1
        return results

    results = _in_batch_or_one_by_one(session, record_batch, record_one_by_one)
    for result in results:
        if result not in (Result.GIVEN_BACK, Result.STALE):
            summary.submitted += 1
            setattr(summary, result.value, getattr(summary, result.value) + 1)
    for outcome in outcomes:
        _count_answer(outcome, summary)
    return results


def _count_answer(outcome: Outcome, summary: Summary) -> None:
    if isinstance(outcome.answer, Refused):
        summary.declined += 1
    elif isinstance(outcome.answer, Exception) and not isinstance(outcome.answer, ProcessorError):
        summary.errors += 1


# -- reconciling -------------------------------------------------------------------------------------


def reconcile_now(
    sessions: Sessions,
    settings: Settings,
    submitter: Submitter,
    now: datetime,
    *,
    concurrency: int = 8,
    progress: Progress = lambda summary: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> tuple[Summary, list[Difference]]:
    """Only ask, and send nothing: look up what is in doubt, and reconcile what is pending."""
    summary = Summary()
    with sessions() as session:
        _submit(session, settings, submitter, now, concurrency, summary, progress, is_stopping, only_in_doubt=True)
        differences = _reconcile(session, settings, submitter, now, concurrency, summary, is_stopping)
        _report(session, settings, now, summary)
    return summary, differences


def _reconcile(
    session: Session,
    settings: Settings,
    submitter: Submitter,
    now: datetime,
    concurrency: int,
    summary: Summary,
    is_stopping: Callable[[], bool],
) -> list[Difference]:
    result = reconcile(
        session,
        submitter.processors,
        now,
        pending_after=settings.reconcile_after,
        concurrency=concurrency,
        is_stopping=is_stopping,
    )
    summary.asked, summary.repaired, summary.differing = result.asked, result.repaired, len(result.differences)
    summary.errors += result.errors
    return result.differences


# -- the rest ----------------------------------------------------------------------------------------


def _register_callbacks(session: Session, submitter: Submitter, now: datetime, summary: Summary) -> None:
    """Register callbacks that could not be registered when their company was: each run tries some again."""
    missing = session.scalars(
        select(Company)
        .where(
            Company.callback_base_url.is_not(None),
            Company.callback_registered_at.is_(None),
            (Company.parked_until.is_(None)) | (Company.parked_until <= now),
        )
        .order_by(func.random())
        .limit(CALLBACKS_A_RUN)
    ).all()
    session.commit()  # nothing was written: this ends the transaction before the calls
    for company in missing:
        key = company.sealed_processor_key
        try:
            sealed_secret = submitter.processors.register_callback(company)
            answer: ProcessorError | None = None
        except ProcessorError as error:
            log.warning("callback_not_registered", company=company.guid, code=error.code)
            sealed_secret, answer = None, error

        def work(
            company: Company = company,
            key: str = key,
            answer: ProcessorError | None = answer,
            sealed_secret: str | None = sealed_secret,
        ) -> None:
            lock(session, company)
            if isinstance(answer, Misconfigured):
                if company.is_to_be_parked(now, refused=key):
                    company.park(now)
            elif answer is None:
                company.unpark(now)
                company.callback_was_registered(now, sealed_secret=sealed_secret)

        persist(session, work)


def _forget(session: Session, now: datetime, summary: Summary, is_stopping: Callable[[], bool]) -> None:
    """Delete the idempotency keys that have expired, and the counts of rate limits whose windows are over.

    The billing is done by now, and what fails here undoes nothing.
    """
    try:
        persist(session, lambda: forget_counts(session))
        while not is_stopping():
            deleted = persist(session, lambda: delete_expired_keys(session, now, limit=FORGOTTEN_AT_ONCE))
            if not deleted:
                break
            summary.expired_keys += deleted
    except Exception:  # an expired key is as good as none, and so is a count: the next run has another try
        log.exception("expired_not_deleted")
        session.rollback()
        summary.errors += 1


def _report(session: Session, settings: Settings, now: datetime, summary: Summary) -> None:
    """Count what needs a person: doubts that last (``billy resolve`` ends them) and refused processor keys."""
    is_old = is_lasting_doubt(session, settings.doubt_alert)
    summary.in_doubt = session.scalar(select(func.count()).select_from(Transaction).where(is_old)) or 0
    for row in session.execute(
        select(Transaction.company_guid, Transaction.guid, Transaction.last_send_at).where(is_old).limit(DOUBTS_NAMED)
    ):
        log.error("doubt_lasts", company=row.company_guid, transaction=row.guid, since=row.last_send_at.isoformat())
    summary.parked = session.scalar(select(func.count()).select_from(Company).where(Company.parked_until > now)) or 0
    session.commit()
