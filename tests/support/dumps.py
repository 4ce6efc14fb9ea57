"""A database's schema as text, to be compared; unlike metadata it has every CHECK and every partial index."""

from __future__ import annotations

import re
import subprocess

from sqlalchemy import Engine, text

from tests.support.databases import program

# pg_dump's protection against hostile dumps: another random word each time.
_RESTRICT = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)
_QUOTED = re.compile(r'^CREATE TABLE "(\w+)"')
_COMMENT = re.compile(r"^--.*$", re.MULTILINE)


def schema_of(engine: Engine) -> set[str]:
    """The statements that make the schema, without Alembic's own table.

    Columns and constraints of a table are sorted: a column that a migration adds comes last, whatever its
    place in the model.
    """
    statements = _postgresql(engine) if engine.dialect.name == "postgresql" else _sqlite(engine)
    return {_sorted_lines(statement) for statement in statements if "alembic_version" not in statement}


def _postgresql(engine: Engine) -> list[str]:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dump = subprocess.run(
        [program("pg_dump"), "--schema-only", "--no-owner", "--dbname", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    dump = _COMMENT.sub("", _RESTRICT.sub("", dump))
    return [statement.strip() for statement in dump.split(";\n") if statement.strip()]


def _sqlite(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        statements = connection.scalars(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
        # A table that a migration rebuilt has its name in quotation marks.
        return [_QUOTED.sub(r"CREATE TABLE \1", statement) for statement in statements]


def _sorted_lines(statement: str) -> str:
    first, *lines = (line.strip().rstrip(",") for line in statement.splitlines() if line.strip())
    return "\n".join([first, *sorted(lines)])
