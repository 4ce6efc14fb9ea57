"""``billy rotate-secrets``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from billy import clock
from billy.errors import BillyError, ConfigurationError
from billy.models import AuditEntry, Company
from billy.models.base import lock_all
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, operator, settings_argument
from billy.secrets import Vault
from billy.settings import Settings


@click.command("rotate-secrets", epilog=EXIT_CODES)
@settings_argument
def rotate_secrets(settings: Settings) -> None:
    """Encrypt all stored secrets under the newest secret key.

    How to replace a secret key: put the new one before the old in billy.secret_keys and restart every
    server and scheduler; run this; remove the old key. Works in batches and skips what is under the
    newest key already, so it may be interrupted and run again. Each company's change is audited.
    """
    vault, newest = Vault(settings.secret_keys), Vault(settings.secret_keys[:1])
    rotated, unreadable, seen = 0, [], ""
    sessions = open_sessions(settings)
    while True:
        with sessions.begin() as session:
            guids = _next_guids(session, after=seen, most=settings.batch_size)
            if not guids:
                break
            seen = guids[-1]
            for company in lock_all(session, Company, Company.guid.in_(guids)):
                try:
                    rotated += _rotate(session, company, vault, newest, clock.utc_now())
                except ConfigurationError:
                    session.expire(company)  # one of its secrets may have been changed
                    unreadable.append(company.guid)
    click.echo(f"rotated: {rotated}")
    if unreadable:
        raise BillyError(f"the secrets of {', '.join(unreadable)} cannot be opened with any of billy.secret_keys")


def _next_guids(session: Session, *, after: str, most: int) -> Sequence[str]:
    return session.scalars(select(Company.guid).where(Company.guid > after).order_by(Company.guid).limit(most)).all()


def _rotate(session: Session, company: Company, vault: Vault, newest: Vault, now: datetime) -> bool:
    if all(_opens(newest, sealed) for sealed in company.sealed_secrets):
        return False
    company.rotate_secrets(vault, now)
    session.add(
        AuditEntry.of(
            now,
            company_guid=company.guid,
            actor=operator(),
            action="rotate-secrets",
            subject_guid=company.guid,
            detail="secrets encrypted under the newest key",
        )
    )
    return True


def _opens(vault: Vault, sealed: str) -> bool:
    try:
        vault.open(sealed)
    except ConfigurationError:
        return False
    return True
