"""How the operator's commands print: tables that fit 80 columns, and one line of JSON for programs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

ABSENT = "-"
WIDEST = 1000


def print_json(value: Any) -> None:
    """Print plain values and dataclasses as one line of JSON; instants are ISO 8601 in UTC, to the second."""
    click.echo(orjson.dumps(value, option=orjson.OPT_OMIT_MICROSECONDS))


def instant(at: datetime) -> str:
    """``2026-01-15 12:00``, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def cents(amount: int) -> str:
    """``1,234.50`` of 123450 cents."""
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100:,}.{abs(amount) % 100:02}"


def make_console() -> Console:
    """A console that takes texts as they are: what companies and processors wrote is no markup."""
    return Console(markup=False, emoji=False, highlight=False)


def safe(text: str) -> str:
    """A text from elsewhere on one line, without what a terminal would obey."""
    return "".join(
        each if each.isprintable() else " " if each.isspace() else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def show(console: Console, made: Table) -> None:
    """Print a table. A terminal that is too narrow breaks its lines: half an amount would be a wrong one."""
    width = console.width
    roomy = console.options.update(width=WIDEST)
    console.width = max(width, console.measure(made, options=roomy).minimum)
    console.print(made)
    console.width = width


def table(*headings: str, right: Collection[str] = (), fold: bool = True) -> Table:
    """An empty table without frames, so that what is in it can be copied. None but its last column is folded."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, highlight=False)
    for heading in headings:
        side: JustifyMethod = "right" if heading in right else "left"
        made.add_column(heading, justify=side, no_wrap=not (fold and heading == headings[-1]), overflow="fold")
    return made
