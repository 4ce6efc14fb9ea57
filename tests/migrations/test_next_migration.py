"""What the author of the next migration may rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
from alembic.util import CommandError
from sqlalchemy import Engine, text

from billy import schema
from billy.db import engine_at
from tests.support.dumps import schema_of

CHECKOUT = Path(__file__).parents[2]
HEAD = schema.head_revision()
NEXT = f"{int(HEAD) + 1:04}"


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the migrations, which one may add to."""
    copy = shutil.copytree(CHECKOUT / "alembic", tmp_path / "alembic")
    shutil.copy(CHECKOUT / "alembic.ini", tmp_path)
    monkeypatch.setattr(schema, "migrations", lambda: copy)
    schema.head_revision.cache_clear()
    yield copy
    schema.head_revision.cache_clear()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = engine_at(f"sqlite:///{tmp_path}/billy.sqlite")
    yield engine
    engine.dispose()


def write(migrations: Path, upgrade: str) -> None:
    """Add a migration after the last one."""
    schema.head_revision.cache_clear()
    number = int(schema.head_revision()) + 1
    header = f"""
        import sqlalchemy as sa
        from alembic import op
        revision, down_revision = "{number:04}", "{number - 1:04}"

        def upgrade():
    """
    code = dedent(header) + indent(dedent(upgrade), "    ")
    (migrations / "versions" / f"{number:04}_next.py").write_text(code)


def alembic(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "alembic.config", "-c", str(directory / "alembic.ini"), *arguments],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
    )


def test_the_alembic_command_upgrades_the_database_that_the_environment_names(sqlite: Engine) -> None:
    done = alembic(CHECKOUT, "upgrade", "head", BILLY_DATABASE_URL=str(sqlite.url))
    assert done.returncode == 0, done.stderr
    with sqlite.connect() as connection:
        assert schema.current_revision(connection) == schema.head_revision()


def test_the_alembic_command_upgrades_the_database_of_an_ini(
    sqlite: Engine, ini: dict[str, str], tmp_path: Path
) -> None:
    options = {**ini, "use": "egg:billy", "sqlalchemy.url": str(sqlite.url)}
    path = tmp_path / "some.ini"
    path.write_text("[app:main]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    done = alembic(CHECKOUT, "-x", f"ini={path}", "upgrade", "head", BILLY_DATABASE_URL="")
    assert done.returncode == 0, done.stderr
    with sqlite.connect() as connection:
        assert schema.current_revision(connection) == schema.head_revision()


def test_the_alembic_command_asks_for_a_database() -> None:
    done = alembic(CHECKOUT, "upgrade", "head", BILLY_DATABASE_URL="")
    assert done.returncode != 0
    assert "which database?" in done.stdout + done.stderr


def test_a_new_migration_has_the_next_number_its_sentence_and_the_rules(migrations: Path, sqlite: Engine) -> None:
    schema.upgrade(sqlite)
    done = alembic(migrations.parent, "revision", "-m", "add coupons", BILLY_DATABASE_URL=str(sqlite.url))
    assert done.returncode == 0, done.stderr
    made = (migrations / "versions" / f"{NEXT}_add_coupons.py").read_text()
    assert made.startswith('"""Add coupons.\n\nHouse rules')
    assert "No imports from billy" in made

    schema.upgrade(sqlite)
    with sqlite.connect() as connection:
        assert schema.current_revision(connection) == NEXT
    schema.downgrade(sqlite, HEAD)


def test_autogenerate_finds_nothing_to_do(migrations: Path, sqlite: Engine) -> None:
    schema.upgrade(sqlite)
    done = alembic(migrations.parent, "check", BILLY_DATABASE_URL=str(sqlite.url))
    assert done.returncode == 0, done.stdout + done.stderr


PLAN_WITH_SUBSCRIPTION = """
    INSERT INTO company (guid, sealed_processor_key, sealed_callback_key, parked_count, created_at, updated_at)
        VALUES ('CP1', '', '', 0, '2026-01-01', '2026-01-01');
    INSERT INTO customer VALUES ('CP1', 'CU1', NULL, NULL, 0, '2026-01-01', '2026-01-01');
    INSERT INTO plan VALUES
        ('CP1', 'PL1', 'debit', 'monthly', 1, 500, NULL, NULL, NULL, 0, '2026-01-01', '2026-01-01');
    INSERT INTO subscription VALUES
        ('CP1', 'SU1', 'CU1', 'PL1', NULL, NULL, NULL, NULL,
         '2026-01-01', '2026-01-01', 0, NULL, '2026-01-01', '2026-01-01');
"""


@pytest.fixture
def with_rows(migrations: Path, sqlite: Engine) -> Engine:
    """A database in which a subscription refers to a plan."""
    schema.upgrade(sqlite)
    with sqlite.begin() as connection:
        for statement in PLAN_WITH_SUBSCRIPTION.split(";")[:-1]:
            connection.execute(text(statement))
    return sqlite


def test_sqlite_rebuilds_a_table_that_others_refer_to(migrations: Path, with_rows: Engine) -> None:
    write(
        migrations,
        """
        with op.batch_alter_table("plan") as batch:
            batch.alter_column("name", type_=sa.String(200), existing_type=sa.String(128))
            batch.create_check_constraint("ck_plan_amount_small", "amount < 1000")
        """,
    )
    schema.upgrade(with_rows)
    with with_rows.begin() as connection:
        assert connection.scalar(text("SELECT amount FROM plan")) == 500
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    assert any("VARCHAR(200)" in statement for statement in schema_of(with_rows))


def test_sqlite_refuses_a_migration_that_breaks_a_reference(migrations: Path, with_rows: Engine) -> None:
    write(migrations, """op.execute("DELETE FROM plan")""")
    before = schema_of(with_rows)
    with pytest.raises(CommandError, match="breaks 1 references, the first in table subscription"):
        schema.upgrade(with_rows)
    with with_rows.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM plan")) == 1
        assert schema.current_revision(connection) == HEAD
    assert schema_of(with_rows) == before


def test_an_upgrade_that_fails_half_way_leaves_nothing(migrations: Path, with_rows: Engine) -> None:
    write(migrations, 'op.create_table("coupon", sa.Column("guid", sa.String(64), primary_key=True))')
    write(migrations, """raise RuntimeError("this one does not work")""")
    before = schema_of(with_rows)
    with pytest.raises(RuntimeError):
        schema.upgrade(with_rows)
    assert schema_of(with_rows) == before
    with with_rows.connect() as connection:
        assert schema.current_revision(connection) == HEAD
