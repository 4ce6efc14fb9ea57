"""``billy replace-processor-key``: for a key that leaked, or that the processor took back."""

from __future__ import annotations

import click

from billy import clock
from billy.errors import NotFound
from billy.models import AuditEntry, Company, lock
from billy.models.base import PROCESSOR_KEY_LENGTH
from billy.scripts import EXIT_CODES
from billy.scripts.common import Guid, open_sessions, operator, read_secret, settings_argument
from billy.secrets import Vault
from billy.settings import Settings


@click.command("replace-processor-key", epilog=EXIT_CODES)
@settings_argument
@click.argument("company_guid", metavar="COMPANY", type=Guid("CP", "company"))
def replace_processor_key(settings: Settings, company_guid: str) -> None:
    """Replace a company's key at its payment processor by another one of the same account.

    The new key is asked for, or read from standard input. What the company has at the processor stays where it
    is, so the key must be of the same account. Submissions that wait because the old key was refused go on with
    the next run, which also registers the callback again. The replacement is audited.
    """
    key = read_secret("New processor key")
    if not 0 < len(key) <= PROCESSOR_KEY_LENGTH:
        raise click.UsageError(f"A processor key has 1 to {PROCESSOR_KEY_LENGTH} characters.")
    now = clock.utc_now()
    with open_sessions(settings).begin() as session:
        company = session.get(Company, company_guid)
        if company is None:
            raise NotFound(f"No such company {company_guid}")
        lock(session, company).replace_processor_key(Vault(settings.secret_keys), key, now)
        session.add(
            AuditEntry.of(
                now,
                company_guid=company.guid,
                actor=operator(),
                action="replace-processor-key",
                subject_guid=company.guid,
                detail="processor key replaced",
            )
        )
    click.echo(f"replaced: {company_guid}")
