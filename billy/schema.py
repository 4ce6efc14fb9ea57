"""The database's schema, which only the migrations make: there is no ``create_all``.

A checkout has the migrations in ``alembic/`` at its top; an installed Billy has the same files in
``billy/migrations`` (``setup.py`` puts them there). They are found from any directory.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine


def migrations() -> Path:
    """The directory of the migrations."""
    package = Path(__file__).resolve().parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def alembic_config(database: Engine | str | None = None) -> Config:
    """What Alembic's own commands take, for an engine of ours or a URL."""
    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if isinstance(database, str):
        config.set_main_option("sqlalchemy.url", database.replace("%", "%%"))
    else:
        config.attributes["engine"] = database
    return config


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest schema, or leave it untouched.

    Harmless where it is there already. A second upgrade at the same time waits for the first. It gives
    up, with an error, when the site keeps a table locked for more than a few seconds: run it again.
    """
    command.upgrade(alembic_config(engine), "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to an older schema; ``base`` is an empty database. What newer columns held is lost."""
    command.downgrade(alembic_config(engine), revision)


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None where Billy's schema was never made."""
    return MigrationContext.configure(connection).get_current_revision()


def fits(current: str | None) -> bool:
    """Whether this code works with a database at that revision: at its own, or at one of a later release.

    Revisions are numbered, and every migration leaves the code before it working: so servers and schedulers go on
    while the next release upgrades the database under them.
    """
    return current is not None and current >= head_revision()


@cache
def head_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None, f"there are no migrations in {migrations()}"
    return head
