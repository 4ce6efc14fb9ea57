"""``billy init-db``: everything that a server and a scheduler need before they can start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
from sqlalchemy import Engine, exists, inspect, select

from billy import schema
from billy.db import read_only
from billy.errors import ConfigurationError
from billy.models import Company
from billy.scripts import EXIT_CODES
from billy.scripts.common import ini_argument, open_engine, read_ini
from billy.secrets import new_secret_key
from billy.settings import Settings


@click.command("init-db", epilog=EXIT_CODES)
@ini_argument()
def init_db(ini: str) -> None:
    """Make or upgrade the database, and a missing secrets file.

    Runs the migrations that the database has not seen. Where billy.secret_keys is a `file:` that does
    not exist yet, one is written with a fresh key and mode 0600, unless the database holds companies
    already: their secrets could never be read with a new key.

    Safe to run again, and while servers run. Says what it did.
    """
    initialize(ini)


def initialize(ini: str, *, tell: Callable[[str], None] = click.echo) -> None:
    """Do it, and say what was done."""
    options = read_ini(ini)
    secrets_file = _missing_secrets_file(options)
    if secrets_file is not None:
        # All other mistakes must come to light before anything is made.
        settings = Settings.load({**options, "billy.secret_keys": new_secret_key()})
        engine = open_engine(settings)
        if _holds_companies(engine):
            raise ConfigurationError(
                f"the secrets file {secrets_file} is missing, and the database holds companies whose secrets only "
                "its keys can open: restore it from a back-up"
            )
        _write_secrets_file(secrets_file)
        tell(f"secrets: made {secrets_file}; keep a copy, without it the stored processor keys are lost")
    else:
        engine = open_engine(Settings.load(options))
    with read_only(engine).connect() as connection:
        before = schema.current_revision(connection)
    schema.upgrade(engine)
    if before == schema.head_revision():
        tell(f"database: already at {before}, nothing to do")
    else:
        tell(f"database: upgraded from {before or 'nothing'} to {schema.head_revision()}")


def _missing_secrets_file(options: dict[str, str]) -> Path | None:
    value = options.get("billy.secret_keys", "").strip()
    path = Path(value.removeprefix("file:"))
    return path if value.startswith("file:") and not path.exists() else None


def _holds_companies(engine: Engine) -> bool:
    # The schema may be an older one, or none; of Company only the primary key is asked for.
    with read_only(engine).connect() as connection:
        if not inspect(connection).has_table(Company.__tablename__):
            return False
        return bool(connection.scalar(select(exists(select(Company.guid)))))


def _write_secrets_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return  # another init-db was quicker, and its key is as good
    except OSError as error:
        raise ConfigurationError(f"billy.secret_keys: cannot write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(new_secret_key() + "\n")
        file.flush()
        os.fsync(file.fileno())
