"""When invoices are due.

The *n*-th date is computed from the start and never from the date before it, so a month's end
recovers: 01-31, 02-28, 03-31. This is the rule of the API reference of 2014 ("the closest day to the
started one in a month will be selected").
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from dateutil.relativedelta import relativedelta


class Frequency(StrEnum):
    """The unit of a plan's period."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


_UNIT = {
    Frequency.DAILY: "days",
    Frequency.WEEKLY: "weeks",
    Frequency.MONTHLY: "months",
    Frequency.YEARLY: "years",
}

# One period is a century at most: nobody bills more rarely, and no date leaves the calendar (D36).
LONGEST_INTERVAL = {
    Frequency.DAILY: 36_525,
    Frequency.WEEKLY: 5_217,
    Frequency.MONTHLY: 1_200,
    Frequency.YEARLY: 100,
}


def due_at(started_at: datetime, frequency: Frequency, interval: int, number: int) -> datetime:
    """When invoice ``number`` (counted from 0) of a subscription is due.

    ``interval`` is the number of ``frequency`` units in a period. The time of day and the zone are
    those of ``started_at``.
    """
    return started_at + _span(frequency, interval * number)


@lru_cache(maxsize=4096)
def _span(frequency: Frequency, number: int) -> relativedelta:
    # Making one takes longer than adding it.
    return relativedelta(**{_UNIT[frequency]: number})  # type: ignore[arg-type]  # one int key
