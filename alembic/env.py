"""How a migration meets a database.

``billy.schema`` hands over an engine or a URL. The ``alembic`` command gets its URL from ``-x ini=FILE``
or from the environment variable BILLY_DATABASE_URL.

The whole upgrade is one transaction: it happens, or nothing did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig

from alembic import context
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pyramid.paster import get_appsettings
from sqlalchemy import Connection, Engine, text

from billy.db import engine_at, make_engine
from billy.models import Base
from billy.settings import Settings

# Any fixed number that nobody else locks in this database.
UPGRADE_LOCK = 0x42494C4C59


@contextmanager
def database() -> Iterator[Engine]:
    """The engine of whoever called, else one for the database that the command line names."""
    engine: Engine | None = context.config.attributes.get("engine")
    if engine is not None:
        yield engine
        return
    ini = context.get_x_argument(as_dictionary=True).get("ini")
    url = context.config.get_main_option("sqlalchemy.url") or os.environ.get("BILLY_DATABASE_URL")
    if ini is not None:
        engine = make_engine(Settings.load(get_appsettings(str(ini))))
    elif url:
        engine = engine_at(url)
    else:
        raise CommandError("which database? Give `alembic -x ini=development.ini …`, or set BILLY_DATABASE_URL")
    yield engine
    engine.dispose()


def take_turns(connection: Connection) -> None:
    """Let one upgrade run at a time, and let it give up rather than hold up the site.

    The second upgrade waits here for as long as it takes and then finds nothing left to do. After that, a
    statement that waits for a busy table gives up soon: while it waits, everybody else queues up behind it.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '3s'"))


@contextmanager
def tables_may_be_rebuilt(connection: Connection) -> Iterator[None]:
    """Let SQLite's batch mode drop, and make again, a table that others refer to.

    The pragma does nothing inside a transaction, so it goes around it.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def check_references(connection: Connection) -> None:
    """Refuse, and so roll back, an upgrade that left a reference pointing at nothing."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise CommandError(f"the migration breaks {len(broken)} references, the first in table {broken[0][0]}")


def number_it(migration_context: object, revision: object, directives: list) -> None:
    """Number a new revision: 0002 comes after 0001."""
    head = ScriptDirectory.from_config(context.config).get_current_head()
    directives[0].rev_id = f"{int(head or 0) + 1:04}"


def migrate(connection: Connection) -> None:
    """Run what the command asks for, in one transaction."""
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=sqlite,
        # SQLite can do it, and billy.db begins its transactions itself.
        transactional_ddl=True,
        process_revision_directives=number_it,
    )
    with context.begin_transaction():
        if not sqlite:
            take_turns(connection)
        context.run_migrations()
        if sqlite:
            check_references(connection)


if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

with database() as engine, engine.connect() as connection, tables_may_be_rebuilt(connection):
    migrate(connection)
