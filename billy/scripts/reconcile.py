"""``billy reconcile``: does the processor say the same?"""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from billy import clock
from billy.billing_run import check_clock, reconcile_now
from billy.log import set_up_logging
from billy.scripts.common import Duration, open_sessions, settings_argument
from billy.scripts.printing import make_console, print_json, safe, show, table
from billy.secrets import Vault
from billy.settings import Settings
from billy.submission import Processors, Submitter

EXIT_CODES = """\b
Exit codes:
  0  the books agree
  1  something needs a person, and is printed or logged;
     or it could not be asked
  2  wrong usage, or a mistake in the settings, the clock or the schema"""


@click.command("reconcile", epilog=EXIT_CODES)
@settings_argument
@click.option(
    "--pending-after", type=Duration(), help="Ask about what has been pending for longer; by default as the ini says."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Calls to the processor at once."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each difference, then one with the counts.")
def reconcile(settings: Settings, pending_after: timedelta | None, concurrency: int, as_json: bool) -> None:
    """Ask the processor about what is pending or in doubt; exit 1 if its books and ours differ.

    Every run of process-transactions does this too, without haste; here it is done now. Nothing is
    charged. What the processor has told nobody yet is recorded; what a person has to look into is printed: a
    record with another amount, or that the processor does not have any more. Each transaction is asked about
    less and less often, up to once a day, however often this is run.
    """
    set_up_logging(settings)
    sessions = open_sessions(settings)
    now = clock.utc_now()
    check_clock(sessions, now)
    if pending_after is not None:
        settings = settings.model_copy(update={"reconcile_after": pending_after})
    submitter = Submitter(settings, Processors.load(settings, Vault(settings.secret_keys)))
    summary, differences = reconcile_now(sessions, settings, submitter, now, concurrency=concurrency)
    if as_json:
        for difference in differences:
            print_json(difference)
        print_json(summary)
    else:
        if differences:
            found = table("transaction, company", "the processor's record")
            for difference in differences:
                keys = f"{difference.transaction_guid}\n{difference.company_guid}"
                found.add_row(keys, safe(f"{difference.processor_uri} {difference.detail}"))
            show(make_console(), found)
        click.echo(
            f"Asked about {summary.asked} pending and {summary.submitted} doubtful transactions: "
            f"{summary.repaired} had news, {summary.differing} differences, {summary.in_doubt} old doubts."
        )
    sys.exit(summary.exit_code)
