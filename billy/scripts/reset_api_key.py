"""``billy reset-api-key``."""

from __future__ import annotations

from datetime import timedelta

import click

from billy import clock
from billy.errors import NotFound
from billy.models import AuditEntry, Company, lock
from billy.scripts import EXIT_CODES
from billy.scripts.common import Duration, Guid, open_sessions, operator, settings_argument
from billy.settings import Settings


@click.command("reset-api-key", epilog=EXIT_CODES)
@settings_argument
@click.argument("company_guid", metavar="COMPANY", type=Guid("CP", "company"))
@click.option(
    "--grace",
    type=Duration(),
    default="0s",
    help="How long the old keys go on working, such as 24h; without it they stop at once.",
)
def reset_api_key(settings: Settings, company_guid: str, grace: timedelta) -> None:
    """Replace a company's API keys by a new one, and print it.

    The new key is shown this once and kept only as a hash. The reset is audited.
    """
    now = clock.utc_now()
    with open_sessions(settings).begin() as session:
        company = session.get(Company, company_guid)
        if company is None:
            raise NotFound(f"No such company {company_guid}")
        lock(session, company)
        key = company.reset_api_key(session, now, grace=grace)
        session.add(
            AuditEntry.of(
                now,
                company_guid=company.guid,
                actor=operator(),
                action="reset-api-key",
                subject_guid=company.guid,
                detail=f"earlier keys valid until {(now + grace).isoformat()}",
            )
        )
    click.echo(f"api_key: {key}")
