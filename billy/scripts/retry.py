"""``billy retry``."""

from __future__ import annotations

import json

import click

from billy import clock, recording
from billy.models import Company
from billy.scripts import EXIT_CODES
from billy.scripts.common import Guid, find_transaction, open_sessions, operator, settings_argument
from billy.settings import Settings


@click.command("retry", epilog=EXIT_CODES)
@settings_argument
@click.argument("transaction_guid", metavar="TRANSACTION", type=Guid("TX", "transaction"))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for programs.")
def retry(settings: Settings, transaction_guid: str, *, as_json: bool) -> None:
    """Let the next run take a transaction that would wait for longer.

    For example when a customer says that there is money on his account now:

    \b
        billy retry production.ini TX1CkyVDq…

    Nothing is sent here, and nothing is skipped: the next run of process-transactions does what it would have done
    later, so one in doubt is looked up first. It is audited. A transaction that is closed is never opened again: the
    message says how its invoice is charged anew.

    --json prints: transaction, company (guids); changed (false: it was due already); submit_status; in_doubt;
    next_attempt_at and parked_until (ISO 8601 in UTC, or null).
    """
    now = clock.utc_now()
    with open_sessions(settings).begin() as session:
        transaction = find_transaction(session, transaction_guid)
        changed = recording.retry(session, transaction, now, actor=operator())
        parked_until = session.get_one(Company, transaction.company_guid).parked_until
    if parked_until is not None and parked_until <= now:
        parked_until = None
    if as_json:
        told = {
            "transaction": transaction.guid,
            "company": transaction.company_guid,
            "changed": changed,
            "submit_status": transaction.submit_status,
            "in_doubt": transaction.in_doubt,
            "next_attempt_at": transaction.next_attempt_at.isoformat(timespec="seconds"),
            "parked_until": parked_until and parked_until.isoformat(timespec="seconds"),
        }
        click.echo(json.dumps(told))
        return
    does = "looks it up at the processor" if transaction.in_doubt else "submits it"
    click.echo(f"{transaction.guid}: {'due now' if changed else 'was due already'}; the next run {does}")
    if transaction.in_doubt:
        click.echo("It is sent only if nothing can have happened. Where the processor cannot tell: billy resolve.")
    if parked_until is not None:
        click.echo(
            f"Its company is parked until {parked_until:%Y-%m-%d %H:%M} UTC, because the processor refused its key: "
            "no run takes it before."
        )
