"""``billy rotate-secrets``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, sessionmaker

from billy import clock
from billy.errors import BillyError, ConfigurationError
from billy.models import AuditEntry, Company, IdempotencyKey
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
    newest key already, so it may be interrupted and run again. Each company's change is audited. The
    answers that are kept for idempotency keys are encrypted anew too.
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
    answers, lost = _rotate_answers(sessions, vault, newest, most=settings.batch_size)
    click.echo(f"Encrypted anew: the secrets of {rotated} companies, {answers} answers to idempotency keys.")
    if unreadable:
        raise BillyError(f"the secrets of {', '.join(unreadable)} cannot be opened with any of billy.secret_keys")
    if lost:
        raise BillyError(f"{lost} answers to idempotency keys cannot be opened with any of billy.secret_keys")


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


def _rotate_answers(sessions: sessionmaker[Session], vault: Vault, newest: Vault, *, most: int) -> tuple[int, int]:
    """How many stored answers were encrypted anew, and how many cannot be read.

    Those stay: without them the requests would be done again, and they expire by themselves.
    """
    rotated, lost, seen = 0, 0, ("", "")
    while True:
        with sessions.begin() as session:
            keys = _next_answers(session, after=seen, most=most)
            if not keys:
                return rotated, lost
            seen = keys[-1]
            for key in lock_all(session, IdempotencyKey, tuple_(*_ANSWER).in_(keys)):
                if key.sealed_answer is not None and not _opens(newest, key.sealed_answer):
                    if _opens(vault, key.sealed_answer):
                        key.sealed_answer = vault.rotate(key.sealed_answer)
                        rotated += 1
                    else:
                        lost += 1


_ANSWER = (IdempotencyKey.company_guid, IdempotencyKey.key_hash)


def _next_answers(session: Session, *, after: tuple[str, str], most: int) -> list[tuple[str, str]]:
    statement = select(*_ANSWER).where(IdempotencyKey.sealed_answer.is_not(None), tuple_(*_ANSWER) > after)
    rows = session.execute(statement.order_by(*_ANSWER).limit(most))
    return [(company_guid, key_hash) for company_guid, key_hash in rows]


def _opens(vault: Vault, sealed: str) -> bool:
    try:
        vault.open(sealed)
    except ConfigurationError:
        return False
    return True
