"""``billy list-companies``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.table import Column, Table
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from billy import clock
from billy.models import ApiKey, Company
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import make_console, safe
from billy.settings import Settings


@click.command("list-companies", epilog=EXIT_CODES)
@settings_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def list_companies(settings: Settings, *, as_json: bool) -> None:
    """List all companies, oldest first.

    Shows how many API keys of each are valid, and until when a company is left alone because the
    processor refused its key. No secret is shown.
    """
    now = clock.utc_now()
    with open_sessions(settings, only_reading=True)() as session:
        if as_json:
            for company in _companies(session, now):
                click.echo(json.dumps(company))
            return
        # A guid is there to be copied: in a narrow terminal the others are folded.
        guid = Column("guid", no_wrap=True, min_width=24)
        table = Table(guid, "name", "created at", "API keys", "callback", "parked until")
        for company in _companies(session, now):
            table.add_row(
                company["guid"],
                safe(company["name"] or ""),
                company["created_at"],
                str(company["api_keys"]),
                "registered" if company["callback_registered"] else "not registered",
                company["parked_until"],
            )
    make_console().print(table)


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
            "created_at": company.created_at.isoformat(timespec="seconds"),
            "api_keys": api_keys,
            "callback_registered": company.callback_registered_at is not None,
            "parked_until": company.parked_until and company.parked_until.isoformat(timespec="seconds"),
        }
