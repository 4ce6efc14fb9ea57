"""Instants as callers write them: ISO 8601, complete and nothing else.

Not ``datetime.fromisoformat``: what it takes depends on the version of Python, and among that are
week dates and any character for the ``T``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_INSTANT = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,12}))?)?"
    r"(?P<offset>[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2})(?::?(?P<minutes>[0-5][0-9]))?)?)?\Z"
)


def parse_instant(text: str) -> datetime:
    """The instant in UTC; ValueError for anything else.

    Without an offset it is UTC, without a time it is midnight UTC. Below microseconds it is cut off.
    """
    match = _INSTANT.match(text.strip())
    if match is None:
        raise ValueError("not an ISO 8601 date and time")
    numbers = [int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
    offset = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    zone = timezone(-offset if match["sign"] == "-" else offset)
    try:
        return datetime(*numbers, microsecond, tzinfo=zone).astimezone(UTC)  # type: ignore[arg-type,misc]  # six of them
    except OverflowError:
        raise ValueError("outside of the calendar") from None
