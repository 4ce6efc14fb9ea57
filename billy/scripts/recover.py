"""``billy recover``."""

from __future__ import annotations

import json
from datetime import datetime

import click

from billy import clock, recovery
from billy.billing_run import check_clock
from billy.scripts import EXIT_CODES
from billy.scripts.common import Instant, open_sessions, operator, settings_argument
from billy.settings import Settings


@click.command("recover", epilog=EXIT_CODES)
@settings_argument
@click.option(
    "--since",
    type=Instant(),
    required=True,
    help="When the back-up was taken, or earlier: ISO 8601 with its offset, such as 2026-01-31T03:00Z.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be marked.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON with the counts.")
def recover(settings: Settings, since: datetime, *, dry_run: bool, as_json: bool) -> None:
    """After a restore: see to it that what may have been charged since the back-up is looked up.

    Run it before anything else runs. It marks every open transaction as in doubt, and sees to it that the
    charges of periods which have to be filed again will be. The runs that follow ask the processor about
    each of them, under every submission key that it may have had, and send only what did not happen.
    Refuses while something is being submitted: stop servers and schedulers first. May be run again. It is
    audited.
    """
    sessions, now = open_sessions(settings), clock.utc_now()
    check_clock(sessions, now)
    with sessions.begin() as session:
        found = recovery.recover(session, settings, since, now, actor=operator(), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    click.echo(
        f"{'would be' if dry_run else 'now'} in doubt, of {found.companies} companies: {found.charges} charges and "
        f"{found.refunds} refunds; and the charges of {found.subscriptions} subscriptions, when they are filed"
    )
