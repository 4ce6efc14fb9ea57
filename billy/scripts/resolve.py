"""``billy resolve``."""

from __future__ import annotations

import click

from billy import clock, recording
from billy.models.base import URI_LENGTH
from billy.scripts import EXIT_CODES
from billy.scripts.common import Guid, find_transaction, open_sessions, operator, settings_argument
from billy.settings import Settings


@click.command("resolve", epilog=EXIT_CODES)
@settings_argument
@click.argument("transaction_guid", metavar="TRANSACTION", type=Guid("TX", "transaction"))
@click.option("--happened", metavar="URI", help="The money moved: the processor's record of it.")
@click.option("--did-not-happen", is_flag=True, help="The processor has no record and never will have.")
def resolve(settings: Settings, transaction_guid: str, happened: str | None, *, did_not_happen: bool) -> None:
    """End the doubt about a transaction by hand.

    For a transaction that stays in doubt because the processor cannot be asked. Look at the processor's
    own pages first. After --happened the transaction is done and its invoice follows; after
    --did-not-happen the next run submits it again. Either is audited.
    """
    if bool(happened) == did_not_happen:
        raise click.UsageError("Say either --happened URI or --did-not-happen.")
    if happened and len(happened) > URI_LENGTH:
        raise click.UsageError(f"A URI has at most {URI_LENGTH} characters.")
    with open_sessions(settings).begin() as session:
        transaction = find_transaction(session, transaction_guid)
        recording.resolve(session, transaction, clock.utc_now(), processor_uri=happened, actor=operator())
    click.echo(f"{transaction_guid}: {transaction.submit_status}")
