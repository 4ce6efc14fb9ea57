"""Due dates told with dates; ``tests/properties/test_schedule.py`` has the rules behind them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from billy.models.schedule import LONGEST_INTERVAL, Frequency, due_at


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("frequency", "interval", "dates"),
    [
        (Frequency.DAILY, 1, "2013-02-27 2013-02-28 2013-03-01"),
        (Frequency.DAILY, 10, "2013-12-25 2014-01-04 2014-01-14"),
        (Frequency.WEEKLY, 1, "2013-12-23 2013-12-30 2014-01-06"),
        (Frequency.WEEKLY, 2, "2013-08-16 2013-08-30 2013-09-13"),
        (Frequency.MONTHLY, 1, "2013-11-15 2013-12-15 2014-01-15"),
        (Frequency.MONTHLY, 6, "2013-08-31 2014-02-28 2014-08-31 2015-02-28"),
        (Frequency.YEARLY, 1, "2013-08-16 2014-08-16 2015-08-16"),
        (Frequency.YEARLY, 5, "2013-08-16 2018-08-16 2023-08-16"),
    ],
)
def test_an_invoice_is_due_each_period(frequency: Frequency, interval: int, dates: str) -> None:
    expected = [day(date) for date in dates.split()]

    assert [due_at(expected[0], frequency, interval, number) for number in range(len(expected))] == expected


@pytest.mark.parametrize(
    "dates",
    [
        "2013-01-30 2013-02-28 2013-03-30 2013-04-30",
        "2013-01-31 2013-02-28 2013-03-31 2013-04-30 2013-05-31",
        "2012-01-31 2012-02-29 2012-03-31",
        "2013-08-31 2013-09-30 2013-10-31 2013-11-30",
        "2013-12-29 2014-01-29 2014-02-28 2014-03-29",
    ],
)
def test_a_months_end_recovers_after_a_shorter_month(dates: str) -> None:
    expected = [day(date) for date in dates.split()]

    assert [due_at(expected[0], Frequency.MONTHLY, 1, number) for number in range(len(expected))] == expected


def test_a_leap_day_comes_back_in_the_next_leap_year() -> None:
    dates = [due_at(day("2012-02-29"), Frequency.YEARLY, 1, number) for number in range(5)]

    assert dates == [day(text) for text in ["2012-02-29", "2013-02-28", "2014-02-28", "2015-02-28", "2016-02-29"]]


@pytest.mark.parametrize("frequency", Frequency)
def test_the_time_of_day_is_kept_to_the_microsecond(frequency: Frequency) -> None:
    started_at = datetime(2013, 1, 31, 23, 59, 58, 123456, tzinfo=UTC)

    assert due_at(started_at, frequency, 1, 13).timetz() == started_at.timetz()


def test_the_zone_of_the_start_is_kept() -> None:
    started_at = datetime(2013, 1, 31, 1, 0, tzinfo=timezone(timedelta(hours=8)))

    assert due_at(started_at, Frequency.MONTHLY, 1, 1).isoformat() == "2013-02-28T01:00:00+08:00"


@pytest.mark.parametrize("frequency", Frequency)
def test_the_longest_interval_is_a_century_give_or_take_a_few_days(frequency: Frequency) -> None:
    period = due_at(day("2000-01-01"), frequency, LONGEST_INTERVAL[frequency], 1) - day("2000-01-01")

    assert abs(period - timedelta(days=36_525)) < timedelta(days=7)
