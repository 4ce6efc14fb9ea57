"""``billy list-companies``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from billy import clock
from billy.models import ApiKey, Company
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import ABSENT, instant, make_console, print_json, safe, show, table
from billy.settings import Settings


@click.command("list-companies", epilog=EXIT_CODES)
@settings_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def list_companies(settings: Settings, *, as_json: bool) -> None:
    """List all companies, oldest first.

    Shows how many API keys of each are valid, and until when a company is left alone because the
    processor refused its key, and whether the processor knows its callback's address. No secret is shown.
    """
    now = clock.utc_now()
    with open_sessions(settings, only_reading=True)() as session:
        if as_json:
            for company in _companies(session, now):
                print_json(company)
            return
        companies = table("guid", "made", "keys", "callback", "parked until", "name", right=("keys",))
        for company in _companies(session, now):
            companies.add_row(
                company["guid"],
                f"{company['created_at']:%Y-%m-%d}",
                str(company["api_keys"]),
                "yes" if company["callback_registered"] else "no",
                instant(company["parked_until"]) if company["parked_until"] else ABSENT,
                safe(company["name"] or ABSENT),
            )
    show(make_console(), companies)


def _companies(session: Session, now: datetime) -> Iterator[dict[str, Any]]:
    valid = (
        select(func.count())
        .where(ApiKey.company_guid == Company.guid, or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
        .scalar_subquery()
    )
    statement = select(Company, valid).order_by(Company.guid).execution_options(yield_per=500)
    for company, api_keys in session.execute(statement):
        yield {
            "guid": company.guid,
            "name": company.name,
            "created_at": company.created_at,
            "api_keys": api_keys,
            "callback_registered": company.callback_registered_at is not None,
            "parked_until": company.parked_until,
        }
