"""Reading what a service answers: nothing in it is trusted to be what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from billy import clock

LONGEST_PAUSE = 86_400.0
"""Seconds; who asks for more is asked again after these."""


class Lost(Exception):
    """No answer that could be used, though the request may have been acted on."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def json_of(body: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def text_of(value: object, most: int) -> str:
    """Text of the service, fit to be stored and logged; empty if it is none."""
    # Control characters, NUL among them, are not for the database, nor for logs.
    return "".join(c if c.isprintable() else " " for c in value)[:most] if isinstance(value, str) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for, a day at most; None if it is missing or cannot be read."""
    value = headers.get("Retry-After", "").strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = float(value)
        else:
            seconds = (parsedate_to_datetime(value) - clock.utc_now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)
