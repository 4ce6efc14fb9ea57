"""What will be filed and charged in the days to come, if nothing changes.

The dates are those that filing itself computes. What cannot be known is left out: who will be declined, subscribe or
leave, and the retries that follow from declines to come. Rows are streamed, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Row, and_, select
from sqlalchemy.orm import Session

from billy.models import Plan, PlanType, Subscription, Transaction, TransactionType
from billy.models.schedule import due_at
from billy.models.subscription import DueSubscription
from billy.statements import IS_OPEN

READ_AT_ONCE = 2000


@dataclass(slots=True)
class Expected:
    """What is expected of a span of time. Amounts are cents."""

    invoices: int = 0
    """That are filed."""
    charges: int = 0
    """Of those, how many are charged at once."""
    debit: int = 0
    """What those charges take from customers."""
    credit: int = 0
    """What they pay out."""
    waiting: int = 0
    """Of the invoices, how many wait for an instrument."""
    waiting_amount: int = 0
    attempts: int = 0
    """Transactions that are open already, by when they are tried next."""
    attempts_debit: int = 0
    attempts_credit: int = 0
    attempts_refund: int = 0

    def file(self, due: DueSubscription) -> None:
        """Expect one invoice of a subscription."""
        self.invoices += 1
        if due.is_charged:
            self.charges += 1
            if due.plan_type is PlanType.DEBIT:
                self.debit += due.amount
            else:
                self.credit += due.amount
        elif due.amount:
            self.waiting += 1
            self.waiting_amount += due.amount

    def attempt(self, transaction_type: TransactionType, amount: int) -> None:
        """Expect one try of a transaction."""
        self.attempts += 1
        name = f"attempts_{transaction_type.value}"
        setattr(self, name, getattr(self, name) + amount)


@dataclass(frozen=True, slots=True)
class Day:
    """A day in UTC, and what is expected of it."""

    day: date
    expected: Expected = field(default_factory=Expected)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected from ``at`` to ``until``, which is a midnight in UTC."""

    at: datetime
    until: datetime
    overdue: Expected
    """What is due already: the next run does it."""
    days: list[Day]
    """The first one is what is left of today."""
    total: Expected
    """Of all days and what is overdue."""

    @classmethod
    def blank(cls, now: datetime, days: int) -> Forecast:
        """Of today and the ``days`` - 1 that follow, and nothing is expected yet."""
        midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
        dates = [midnight.date() + timedelta(days=number) for number in range(days)]
        return cls(now, midnight + timedelta(days=days), Expected(), [Day(each) for each in dates], Expected())

    def file(self, due: DueSubscription) -> None:
        """Expect all invoices of a subscription."""
        at, number = due.next_invoice_at, due.invoice_count
        while at < self.until:
            self._of(at).file(due)
            self.total.file(due)
            number += 1
            at = due_at(due.started_at, due.frequency, due.interval, number)

    def attempt(self, transaction_type: TransactionType, amount: int, at: datetime) -> None:
        """Expect the next try of a transaction."""
        self._of(at).attempt(transaction_type, amount)
        self.total.attempt(transaction_type, amount)

    def _of(self, at: datetime) -> Expected:
        if at <= self.at:
            return self.overdue
        return self.days[(at.astimezone(UTC).date() - self.days[0].day).days].expected


def foretell(session: Session, now: datetime, days: int) -> Forecast:
    """The forecast of today and the ``days`` - 1 that follow."""
    forecast = Forecast.blank(now, days)
    for due in _due(session, forecast.until):
        forecast.file(due)
    for transaction_type, amount, at in _open(session, forecast.until):
        forecast.attempt(transaction_type, amount, at)
    return forecast


def _due(session: Session, until: datetime) -> Iterator[DueSubscription]:
    # Of all companies, as the scheduler files: off ix_subscription_due, what is due until then and nothing else.
    statement = (
        select(*DueSubscription.columns())
        .join(Plan, and_(Plan.company_guid == Subscription.company_guid, Plan.guid == Subscription.plan_guid))
        .where(Subscription.canceled_at.is_(None), Subscription.next_invoice_at < until)
        .execution_options(yield_per=READ_AT_ONCE)
    )
    for row in session.execute(statement):
        yield DueSubscription(*row)


def _open(session: Session, until: datetime) -> Iterator[Row[TransactionType, int, datetime]]:
    # Of all companies, too: off ix_transaction_open.
    statement = (
        select(Transaction.transaction_type, Transaction.amount, Transaction.next_attempt_at)
        .where(IS_OPEN, Transaction.next_attempt_at < until)
        .execution_options(yield_per=READ_AT_ONCE)
    )
    yield from session.execute(statement)
