"""``billy process-transactions``: bill what is due, once or every so often."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click
import structlog
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import InterfaceError, OperationalError

from billy import clock
from billy.billing_run import check_clock, run
from billy.log import set_up_logging
from billy.models.run import Summary
from billy.scripts.common import Duration, open_sessions, settings_argument
from billy.secrets import Vault
from billy.settings import Settings
from billy.submission import Processors, Submitter

log = structlog.get_logger(__name__)

EXIT_CODES = """\b
Exit codes:
  0  all went as it should (declined cards are daily life)
  1  something needs a person: errors, a refused processor key,
     an outcome unknown for too long
  2  the settings, the clock or the schema are wrong; nothing was done"""


@click.command(epilog=EXIT_CODES)
@settings_argument
@click.option("--every", type=Duration(), help="Go on, with a run each 60, 5m, … until SIGTERM; without it: one run.")
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Calls to the processor at once."
)
def process_transactions(settings: Settings, every: timedelta | None, concurrency: int) -> None:
    """File the invoices that are due and submit the open transactions.

    Any number of these may run at once, on any number of hosts: none does another's work again, so a
    cron line may be as frequent as you like. On a terminal it shows its progress; otherwise it prints
    one line of JSON for each run, with the counts.
    """
    set_up_logging(settings)
    sessions = open_sessions(settings)
    submitter = Submitter(settings, Processors.load(settings, Vault(settings.secret_keys)))
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        # What is under way is finished and recorded; a second signal is the shell's business.
        signal.signal(name, lambda number, frame: stopping.set())

    def one_run() -> Summary:
        now = clock.utc_now()
        try:
            check_clock(sessions, now)
            with _shown() as show:
                return run(
                    sessions,
                    settings,
                    submitter,
                    now,
                    concurrency=concurrency,
                    progress=show,
                    is_stopping=stopping.is_set,
                )
        except (OperationalError, InterfaceError) as error:
            log.error("run_stopped", error=type(error.orig).__name__)
            raise

    if every is None:
        sys.exit(_tell(one_run()))
    exit_code = 0
    while not stopping.is_set():
        try:
            exit_code = _tell(one_run())
        except (OperationalError, InterfaceError):
            # A daemon outlives its database: the next run goes on where this one had to stop.
            exit_code = 1
        stopping.wait(every.total_seconds())
    sys.exit(exit_code)


@contextmanager
def _shown() -> Iterator[Callable[[Summary], None]]:
    if not sys.stderr.isatty():
        yield lambda summary: None
        return
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking for what is due", total=None)

        def show(summary: Summary) -> None:
            done: dict[str, Any] = {name: count for name, count in summary.as_dict().items() if count}
            bar.update(task, description="  ".join(f"{name} {count}" for name, count in done.items()) or "nothing due")

        yield show


def _tell(summary: Summary) -> int:
    if sys.stdout.isatty():
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary.as_dict().items() if count)
        click.echo(counts or "nothing was due")
    else:
        click.echo(json.dumps(summary.as_dict()))
    return summary.exit_code
