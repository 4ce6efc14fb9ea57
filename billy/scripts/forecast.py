"""``billy forecast``: what will be filed and charged?"""

from __future__ import annotations

import click
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from billy import clock
from billy.forecast import Expected, Forecast, foretell
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import cents, instant, make_console, print_json, show, table
from billy.settings import Settings

PLOT_FROM = 80
"""Columns of a terminal that has room for the plot."""
PLOT_WIDTH = 40
COLOR = "cyan"


@click.command("forecast", epilog=EXIT_CODES)
@settings_argument
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many, today included; in UTC."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for programs.")
def forecast(settings: Settings, days: int, *, as_json: bool) -> None:
    """Foretell what will be filed and charged, day by day.

    If nothing changes: nobody subscribes or leaves, and nobody is declined. What is due already is told apart, since
    the next run does it at once. Reads only; memory does not grow with the subscriptions.

    \b
        billy forecast production.ini
        billy forecast production.ini --days 7 --json

    --json prints an object: at and until (ISO 8601 in UTC), overdue, days (each with day and expected) and total.
    Overdue, expected and total have, in cents where they are amounts:

    \b
    invoices          that are filed
    charges           of those, how many are charged at once
    debit             what those charges take from customers
    credit            what they pay out
    waiting           of the invoices, how many wait for an instrument
    waiting_amount    and their amount
    attempts          transactions that are open now, by when they are tried next
    attempts_debit    of those, what debits take
    attempts_credit   what credits pay out
    attempts_refund   what refunds give back
    """
    with open_sessions(settings, only_reading=True)() as session:
        foretold = foretell(session, clock.utc_now(), days)
    if as_json:
        print_json(foretold)
    else:
        _print(foretold, make_console())


def _print(foretold: Forecast, console: Console) -> None:
    console.print(f"From {instant(foretold.at)} to {instant(foretold.until)} UTC")
    has_plot = console.is_terminal and console.width >= PLOT_FROM
    most = max(day.expected.debit + day.expected.credit for day in foretold.days)
    headings = ("day", "invoices", "waiting", "debits", "credits", "attempts")
    days = table(*headings, right=headings[1:], fold=False)
    if has_plot:
        days.add_column("", max_width=PLOT_WIDTH)
    _add(days, "overdue", foretold.overdue)
    for day in foretold.days:
        charged = day.expected.debit + day.expected.credit
        plot = ProgressBar(total=most, completed=charged, complete_style=COLOR, finished_style=COLOR) if charged else ""
        _add(days, str(day.day), day.expected, *([plot] if has_plot else []))
    days.add_section()
    _add(days, "total", foretold.total)
    show(console, days)
    console.print("Waiting invoices have no instrument to charge. Attempts are transactions that are open now.")


def _add(days: Table, name: str, expected: Expected, *plot: ProgressBar | str) -> None:
    days.add_row(
        name,
        str(expected.invoices),
        str(expected.waiting),
        cents(expected.debit),
        cents(expected.credit),
        str(expected.attempts),
        *plot,
    )
