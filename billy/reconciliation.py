"""Asking the processor about what it has not told: a lost callback costs a delay, never a wrong book.

A transaction that is pending at the processor ends by a callback. Callbacks get lost: a firewall, an outage of
days, an URL that nobody re-registered. So every run asks about those that have been pending for longer than
``billy.reconcile.pending_after``, and records the answer as it would have recorded the callback. (Those whose
outcome is unknown need no step of their own: a run looks each of them up before it sends anything again.)

What cannot be repaired from here is reported, as a ``Difference``: money at the processor that the books do
not have, or with another amount, or a record that the processor does not have any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from billy.db import persist
from billy.errors import Misconfigured, ProcessorError
from billy.models import Company
from billy.models.base import lock
from billy.processors.base import Receipt, ReceiptStatus, Record, Submission
from billy.recording import apply_record
from billy.statements import claim_pending, put_off
from billy.submission import Processors, submission_of

log = structlog.get_logger(__name__)

ASKED_A_RUN = 500
"""Questions after which a run ends: they must not hold up the billing. The others follow in the next."""

AGAIN = timedelta(minutes=15)
"""After this a question that the processor could not be asked is asked again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the processor's books and ours disagree about, for a person to look into."""

    company_guid: str
    transaction_guid: str
    processor_uri: str
    detail: str


@dataclass(slots=True)
class Reconciliation:
    """What asking came to."""

    asked: int = 0
    """Transactions."""
    repaired: int = 0
    """Those of which the processor told something that the books did not have."""
    errors: int = 0
    """Answers that could not be recorded, and crashes of an adapter."""
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Question:
    """A pending transaction, in plain values."""

    company_guid: str
    sealed_processor_key: str
    processor: str | None
    processor_uri: str
    submission: Submission

    @property
    def ids(self) -> dict[str, str]:
        """For the log."""
        return {"company": self.company_guid, "transaction": self.submission.transaction_guid}

    def difference(self, processor_uri: str, detail: str) -> Difference:
        """Something that a record says otherwise."""
        return Difference(self.company_guid, self.submission.transaction_guid, processor_uri, detail)


def reconcile(
    session: Session,
    processors: Processors,
    now: datetime,
    *,
    pending_after: timedelta,
    concurrency: int,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Reconciliation:
    """Ask about what has been pending for longer than ``pending_after``; any number of these may run at once."""
    result = Reconciliation()
    is_away = False
    with ThreadPoolExecutor(concurrency, thread_name_prefix="reconcile") as pool:
        # A batch takes a call's deadline at most: so a run can be stopped, and who is away holds nobody up.
        while result.asked < ASKED_A_RUN and not (is_away or is_stopping()):
            questions = persist(session, lambda: _claim(session, now, concurrency, pending_after))
            if not questions:  # committed: the next question is put off, and no transaction is open
                break
            result.asked += len(questions)
            asked = [pool.submit(copy_context().run, _ask, processors, question) for question in questions]
            answers = [each.result() for each in asked]
            for question, answer in zip(questions, answers, strict=True):
                if isinstance(answer, ProcessorError):
                    _ask_again(session, question, answer, now, pending_after)
                else:
                    _take(session, question, answer, now, result)
            is_away = all(isinstance(answer, ProcessorError) for answer in answers)
    for difference in result.differences:
        log.error(
            "books_differ",
            company=difference.company_guid,
            transaction=difference.transaction_guid,
            processor_uri=difference.processor_uri,
            detail=difference.detail,
        )
    return result


def _claim(session: Session, now: datetime, limit: int, pending_after: timedelta) -> list[Question]:
    return [
        Question(
            company_guid=row.company_guid,
            sealed_processor_key=row.sealed_processor_key,
            processor=row.processor,
            processor_uri=row.processor_uri,
            submission=submission_of(
                row, customer_uri=row.customer_uri, charge_uri=row.charge_uri, period=row.scheduled_at
            ),
        )
        for row in claim_pending(session, now, limit=limit, pending_after=pending_after)
    ]


def _ask(processors: Processors, question: Question) -> Sequence[Record] | Exception:
    """Needs no database; never raises."""
    try:
        processor = processors.with_key(question.sealed_processor_key, question.processor)
        return processor.find_records(question.submission, question.processor_uri)
    except ProcessorError as error:
        return error
    except Exception as error:  # an adapter's bug must not stop the others; it is reported as what it is
        log.exception("reconciliation_crashed", **question.ids)
        return error


def _ask_again(
    session: Session, question: Question, error: ProcessorError, now: datetime, pending_after: timedelta
) -> None:
    """The processor could not be asked: that is no answer, and not one to wait a day for."""
    guid = question.submission.transaction_guid
    log.warning("processor_not_asked", company=question.company_guid, transaction=guid, code=error.code)

    def work() -> None:
        put_off(session, question.company_guid, guid, until=now + AGAIN, pending_after=pending_after)
        if isinstance(error, Misconfigured):
            company = lock(session, session.get_one(Company, question.company_guid))
            if company.is_to_be_parked(now, refused=question.sealed_processor_key):
                company.park(now)

    persist(session, work)


def _take(
    session: Session,
    question: Question,
    answer: Sequence[Record] | Exception,
    now: datetime,
    result: Reconciliation,
) -> None:
    if isinstance(answer, Exception):
        result.errors += 1
        return
    result.differences += _contradictions(question, answer)
    # Money of another amount is not the transaction's: it would make the books wrong.
    receipts = [record.receipt for record in answer if record.amount == question.submission.amount]
    try:
        news = persist(session, lambda: [each for each in receipts if _apply(session, question, each, now)])
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # one bad row must not stop the others; it is asked about again
        session.rollback()
        log.exception("reconciliation_failed", **question.ids)
        result.errors += 1
        return
    result.repaired += bool(news)
    result.differences += [
        question.difference(each.processor_uri, "a second charge for the same submission: the books show it now")
        for each in news
        if each.processor_uri != question.processor_uri
    ]


def _contradictions(question: Question, records: Sequence[Record]) -> Iterator[Difference]:
    if all(record.receipt.processor_uri != question.processor_uri for record in records):
        yield question.difference(question.processor_uri, "the processor has no such record")
    for record in records:
        if record.amount != question.submission.amount and record.receipt.status is not ReceiptStatus.FAILED:
            told = f"is of {record.amount} cents at the processor and of {question.submission.amount} in the books"
            yield question.difference(record.receipt.processor_uri, told)


def _apply(session: Session, question: Question, receipt: Receipt, now: datetime) -> bool:
    if receipt.processor_uri != question.processor_uri and receipt.status is ReceiptStatus.FAILED:
        return False  # a second record that took no money
    return apply_record(session, question.company_guid, question.submission.transaction_guid, receipt, now)
