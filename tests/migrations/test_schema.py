"""The migrations are the only source of the schema, so what they make must be what the models mean."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import OperationalError

from billy import schema
from billy.db import engine_at
from billy.models import Base
from tests.support.dumps import schema_of

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(params=["postgresql", "sqlite"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Makes empty databases, without even a schema."""
    engines: list[Engine] = []

    def make() -> Engine:
        name = f"billy_{uuid.uuid4().hex[:12]}"
        if request.param == "sqlite":
            engine = engine_at(f"sqlite:///{tmp_path}/{name}.sqlite")
        else:
            engine = engine_at(request.getfixturevalue("postgres").create(name))
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.dispose()
        if request.param == "postgresql":
            request.getfixturevalue("postgres").drop(engine.url.database)


def run_python(code: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


UPGRADE = """
import sys
from billy import schema
from billy.db import engine_at
engine = engine_at(sys.argv[1])
print("ready", flush=True)
schema.upgrade(engine)
"""


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def revision_of(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return schema.current_revision(connection)


def test_the_migrated_schema_is_that_of_the_models(new_database: Callable[[], Engine]) -> None:
    migrated, modelled = new_database(), new_database()
    schema.upgrade(migrated)
    Base.metadata.create_all(modelled)
    assert schema_of(migrated) == schema_of(modelled)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(["ALTER TABLE plan DROP CONSTRAINT ck_plan_interval_positive"], id="a missing CHECK"),
        pytest.param(["ALTER TABLE invoice ALTER COLUMN title TYPE varchar(127)"], id="a shorter text"),
        pytest.param(["ALTER TABLE plan ALTER COLUMN guid TYPE varchar(64) COLLATE \"default\""], id="a collation"),
        pytest.param(
            ["DROP INDEX ix_transaction_open", "CREATE INDEX ix_transaction_open ON transaction (next_attempt_at)"],
            id="an index that is not partial",
        ),
    ],
)
@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_the_comparison_sees(new_database: Callable[[], Engine], change: list[str]) -> None:
    engine = new_database()
    schema.upgrade(engine)
    before = schema_of(engine)
    with engine.begin() as connection:
        for statement in change:
            connection.execute(text(statement))
    assert schema_of(engine) != before


def test_up_down_and_up_again_is_the_same_schema(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    assert revision_of(engine) is None
    schema.upgrade(engine)
    once = schema_of(engine)
    assert once
    assert revision_of(engine) == schema.head_revision()

    schema.downgrade(engine, "base")
    assert revision_of(engine) is None
    assert inspect(engine).get_table_names() == ["alembic_version"]

    schema.upgrade(engine)
    assert schema_of(engine) == once


def test_an_upgrade_of_a_database_at_head_changes_nothing(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    schema.upgrade(engine)
    before = schema_of(engine)
    schema.upgrade(engine)
    assert schema_of(engine) == before


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_two_upgrades_at_once_take_turns_on_postgresql(new_database: Callable[[], Engine], tmp_path: Path) -> None:
    engine = new_database()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x42494C4C59})
        upgrades = [run_python(UPGRADE, url_of(engine), cwd=tmp_path) for _ in range(2)]
        waiting = text(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        wait_until(lambda: connection.scalar(waiting) == 2)
    assert [finish(upgrade) for upgrade in upgrades] == [0, 0]
    assert revision_of(engine) == schema.head_revision()


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_two_upgrades_at_once_take_turns_on_sqlite(new_database: Callable[[], Engine], tmp_path: Path) -> None:
    engine = new_database()
    with engine.begin():  # billy.db begins it IMMEDIATE: this is the file's one writer
        upgrades = [run_python(UPGRADE, url_of(engine), cwd=tmp_path) for _ in range(2)]
        for upgrade in upgrades:
            assert upgrade.stdout is not None
            assert upgrade.stdout.readline() == "ready\n"
    assert [finish(upgrade) for upgrade in upgrades] == [0, 0]
    assert revision_of(engine) == schema.head_revision()


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_an_upgrade_gives_up_on_a_busy_table_and_changes_nothing(new_database: Callable[[], Engine]) -> None:
    engine = new_database()
    schema.upgrade(engine)
    before = schema_of(engine)
    with engine.connect() as site:
        site.execute(text("SET LOCAL idle_in_transaction_session_timeout = '20s'"))  # else the test could hang
        site.execute(text("LOCK TABLE company IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            schema.downgrade(engine, "base")
    assert schema_of(engine) == before
    assert revision_of(engine) == schema.head_revision()


def test_no_name_is_longer_than_postgresql_keeps() -> None:
    names = [
        str(item.name)
        for table in Base.metadata.sorted_tables
        for item in [table, *table.columns, *table.constraints, *table.indexes]
    ]
    assert [name for name in names if len(name) > 63] == []


def test_the_migrations_are_found_from_any_directory(new_database: Callable[[], Engine], tmp_path: Path) -> None:
    engine = new_database()
    assert finish(run_python(UPGRADE, url_of(engine), cwd=tmp_path)) == 0
    assert revision_of(engine) == schema.head_revision()


def test_a_database_can_be_named_by_url(new_database: Callable[[], Engine]) -> None:
    from alembic import command

    engine = new_database()
    command.upgrade(schema.alembic_config(url_of(engine)), "head")
    assert revision_of(engine) == schema.head_revision()


def finish(process: subprocess.Popen[str]) -> int:
    output, _ = process.communicate(timeout=60)
    print(output)
    return process.returncode


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)
