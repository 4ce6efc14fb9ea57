"""Due dates: as dateutil's recurrence rules where both agree, and by the month's end where they do not.

A recurrence rule of RFC 5545 *skips* a month without a 31st. A subscription does not: it is billed on the
last day of such a month, and on the 31st again as soon as there is one.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule
from hypothesis import assume, given
from hypothesis import strategies as st

from billy.models import Frequency
from billy.models.schedule import due_at

RULE = {Frequency.DAILY: DAILY, Frequency.WEEKLY: WEEKLY, Frequency.MONTHLY: MONTHLY, Frequency.YEARLY: YEARLY}

starts = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
intervals = st.integers(1, 24)
numbers = st.integers(0, 40)


@given(starts, st.sampled_from([Frequency.DAILY, Frequency.WEEKLY]), intervals, numbers)
def test_days_and_weeks_are_those_of_the_recurrence_rule(
    start: datetime, frequency: Frequency, interval: int, number: int
) -> None:
    dates = list(rrule(RULE[frequency], dtstart=start.replace(microsecond=0), interval=interval, count=number + 1))

    assert due_at(start, frequency, interval, number).replace(microsecond=0) == dates[number]


@given(starts, st.sampled_from([Frequency.MONTHLY, Frequency.YEARLY]), intervals, numbers)
def test_until_the_28th_months_and_years_are_those_of_the_recurrence_rule(
    start: datetime, frequency: Frequency, interval: int, number: int
) -> None:
    assume(start.day <= 28)
    dates = list(rrule(RULE[frequency], dtstart=start.replace(microsecond=0), interval=interval, count=number + 1))

    assert due_at(start, frequency, interval, number).replace(microsecond=0) == dates[number]


def on_the_closest_day(start: datetime, months: int) -> datetime:
    """The same day of the month so many months on, or the month's last."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return start.replace(year=year, month=month + 1, day=min(start.day, calendar.monthrange(year, month + 1)[1]))


late_in_the_month = st.builds(
    lambda start, day: on_the_closest_day(start.replace(day=1), 0).replace(
        day=min(day, calendar.monthrange(start.year, start.month)[1])
    ),
    starts,
    st.integers(29, 31),
)


@given(late_in_the_month, intervals, numbers)
def test_after_the_28th_a_month_has_its_closest_day(start: datetime, interval: int, number: int) -> None:
    assert due_at(start, Frequency.MONTHLY, interval, number) == on_the_closest_day(start, interval * number)


@given(late_in_the_month, intervals, numbers)
def test_a_year_is_twelve_months(start: datetime, interval: int, number: int) -> None:
    assert due_at(start, Frequency.YEARLY, interval, number) == on_the_closest_day(start, 12 * interval * number)


@given(starts, st.sampled_from(Frequency), intervals)
def test_each_invoice_is_due_after_the_one_before_and_the_first_at_the_start(
    start: datetime, frequency: Frequency, interval: int
) -> None:
    dates = [due_at(start, frequency, interval, number) for number in range(30)]

    assert dates[0] == start
    assert all(earlier < later for earlier, later in pairwise(dates))


@given(starts, st.sampled_from(Frequency), intervals, numbers)
def test_the_time_of_day_never_moves(start: datetime, frequency: Frequency, interval: int, number: int) -> None:
    assert due_at(start, frequency, interval, number).timetz() == start.timetz()


@given(starts, intervals, numbers)
def test_a_month_is_between_28_and_31_days(start: datetime, interval: int, number: int) -> None:
    period = due_at(start, Frequency.MONTHLY, 1, number + 1) - due_at(start, Frequency.MONTHLY, 1, number)

    assert timedelta(days=28) <= period <= timedelta(days=31)
