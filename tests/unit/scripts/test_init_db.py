from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from billy import schema
from billy.db import engine_at

from .conftest import Billy, write_ini


@pytest.fixture
def fresh(ini: dict[str, str], tmp_path: Path) -> Path:
    """Settings as a newcomer has them: neither a database nor a secrets file."""
    return write_ini(
        tmp_path / "fresh.ini",
        {**ini, "sqlalchemy.url": "sqlite:///%(here)s/fresh.sqlite", "billy.secret_keys": "file:%(here)s/.secrets"},
    )


def revision(path: Path) -> str | None:
    engine = engine_at(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = schema.current_revision(connection)
    engine.dispose()
    return found


def test_a_newcomer_gets_a_database_and_secrets(billy: Billy, fresh: Path) -> None:
    result = billy("init-db", fresh)

    assert result.exit_code == 0
    secrets = fresh.parent / ".secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    Fernet(secrets.read_text().strip())
    assert revision(fresh.parent / "fresh.sqlite") == schema.head_revision()
    assert f"secrets: made {secrets}" in result.stdout
    assert f"database: upgraded from nothing to {schema.head_revision()}" in result.stdout
    assert secrets.read_text().strip() not in result.output


def test_again_it_changes_nothing(billy: Billy, fresh: Path) -> None:
    billy("init-db", fresh)
    secrets = (fresh.parent / ".secrets").read_text()
    result = billy("init-db", fresh)

    assert (result.exit_code, result.stdout) == (0, f"database: already at {schema.head_revision()}, nothing to do\n")
    assert (fresh.parent / ".secrets").read_text() == secrets


def test_lost_secrets_are_not_replaced_where_companies_need_them(billy: Billy, fresh: Path) -> None:
    billy("init-db", fresh)
    billy("create-company", fresh, input="a-processor-key\n")
    (fresh.parent / ".secrets").unlink()
    result = billy("init-db", fresh)

    assert result.exit_code == 2
    assert "restore it from a back-up" in result.stderr
    assert not (fresh.parent / ".secrets").exists()


def test_lost_secrets_are_replaced_while_nobody_needs_them(billy: Billy, fresh: Path) -> None:
    billy("init-db", fresh)
    (fresh.parent / ".secrets").unlink()

    assert billy("init-db", fresh).exit_code == 0
    assert (fresh.parent / ".secrets").exists()


def test_nothing_is_made_while_the_settings_have_mistakes(billy: Billy, fresh: Path) -> None:
    fresh.write_text(fresh.read_text() + "billy.transaction.maximum_retry = many\n")
    result = billy("init-db", fresh)

    assert result.exit_code == 2
    assert "billy.transaction.maximum_retry" in result.stderr
    assert sorted(path.name for path in fresh.parent.iterdir() if path.name != "billy.sqlite") == ["fresh.ini"]


def test_a_directory_where_secrets_cannot_be_kept_is_told(billy: Billy, fresh: Path) -> None:
    fresh.write_text(fresh.read_text().replace("/.secrets", "/nowhere/.secrets"))
    result = billy("init-db", fresh)

    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_a_database_of_a_newer_billy_is_refused(billy: Billy, fresh: Path) -> None:
    billy("init-db", fresh)
    engine = engine_at(f"sqlite:///{fresh.parent / 'fresh.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    result = billy("init-db", fresh)

    assert result.exit_code == 2
    assert "9999" in result.stderr


def test_it_finds_a_database_that_is_ready(billy: Billy, ini_file: Path) -> None:
    assert billy("init-db", ini_file).stdout == f"database: already at {schema.head_revision()}, nothing to do\n"
