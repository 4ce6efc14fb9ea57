"""How the operator's commands print: tables that fit 80 columns, and one line of JSON for programs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich import box
from rich.table import Table

ABSENT = "-"


def print_json(value: Any) -> None:
    """Print plain values and dataclasses as one line of JSON; instants are ISO 8601 in UTC, to the second."""
    click.echo(orjson.dumps(value, option=orjson.OPT_OMIT_MICROSECONDS))


def instant(at: datetime) -> str:
    """``2026-01-15 12:00``, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def cents(amount: int) -> str:
    """``1,234.50`` of 123450 cents."""
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100:,}.{abs(amount) % 100:02}"


def table(*headings: str, right: Collection[str] = ()) -> Table:
    """An empty table without frames, so that what is in it can be copied. Only its last column is ever folded."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, highlight=False)
    for heading in headings:
        is_last = heading == headings[-1]
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=not is_last, overflow="fold")
    return made
