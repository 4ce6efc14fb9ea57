"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dateutil.relativedelta import relativedelta

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


class FrozenClock:
    """What ``billy.clock.utc_now`` says. Assign ``now``, or ``move`` it.

    The database's own clock, which leases use on PostgreSQL, goes on.
    """

    def __init__(self) -> None:
        self.now = START

    def move(self, *, months: int = 0, years: int = 0, **duration: float) -> datetime:
        """Go on by ``days=``, ``hours=``, ``months=`` …; returns the new time."""
        self.now += relativedelta(months=months, years=years) + timedelta(**duration)
        return self.now
