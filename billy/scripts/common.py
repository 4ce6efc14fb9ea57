"""What the commands share: which ini, which database, who is doing it, and how mistakes are told."""

from __future__ import annotations

import configparser
import functools
import getpass
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import plaster
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from billy import schema
from billy.db import make_engine, make_sessions, one_snapshot, read_only
from billy.errors import BillyError, ConfigurationError, NotFound
from billy.guid import is_guid
from billy.log import set_up_logging
from billy.models import Transaction, find_of_any_company
from billy.settings import Settings, parse_duration

ACTOR_LENGTH = 128


class Duration(click.ParamType):
    """``90s``, ``15m``, ``24h``, ``2d`` as a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The timedelta."""
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Instant(click.ParamType):
    """``2026-01-31T03:00Z`` as an aware datetime; without an offset it could be anybody's night."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The datetime, in UTC."""
        try:
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 date and time such as 2026-01-31T03:00Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} does not say in which zone: add Z for UTC, or an offset such as +01:00", param, ctx)
        return instant.astimezone(UTC)


class Guid(click.ParamType):
    """The guid of one kind of record."""

    name = "guid"

    def __init__(self, prefix: str, noun: str) -> None:
        self._prefix = prefix
        self._noun = noun

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The guid itself."""
        if value.endswith(".ini"):  # with one argument left, click takes it for the guid
            self.fail(f"the guid of a {self._noun} ({self._prefix}…) is missing after {value}", param, ctx)
        if not (is_guid(value) and value.startswith(self._prefix)):
            self.fail(f"{value!r} is not the guid of a {self._noun} ({self._prefix}…)", param, ctx)
        return value


def ini_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Pass the ini's path as ``ini``, given as the first argument or with ``-c``; stands above other arguments."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(*, ini: tuple[str, ...], config: str | None, **arguments: Any) -> Any:
            given = [*ini, *([] if config is None else [config])]
            if len(given) > 1:
                raise click.UsageError(f"One ini is enough; got {' and '.join(given)}.")
            if required and not given:
                context = click.get_current_context()
                raise click.UsageError(f"Which settings? For example: {context.command_path} development.ini")
            return function(ini=given[0] if given else None, **arguments)

        # Any number, because only so does click let the arguments that follow be the required ones.
        command = click.argument("ini", nargs=-1, metavar="INI" if required else "[INI]")(command)
        return click.option("-c", "--config", metavar="INI", help="The same as the argument INI.")(command)

    return decorate


def settings_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the checked ``settings`` of the ini that ``ini_argument`` takes, and log as they say."""

    @ini_argument()
    @functools.wraps(function)
    def command(*, ini: str, **arguments: Any) -> Any:
        settings = Settings.load(read_ini(ini))
        set_up_logging(settings)
        return function(settings=settings, **arguments)

    return command


def read_ini(ini: str, section: str | None = None) -> dict[str, str]:
    """The options of the ini's app, or of another section, unchecked; ConfigurationError if it cannot be read."""
    try:
        loader = plaster.get_loader(ini, protocols=["wsgi"])
        if not os.path.exists(loader.uri.path):
            raise ConfigurationError(f"there is no file {ini}")
        return dict(loader.get_settings(section) if section else loader.get_wsgi_app_settings())
    except plaster.PlasterError:
        raise ConfigurationError(f"{ini} is not an ini file") from None
    except configparser.InterpolationError as error:
        # Its own message quotes the value, which may hold a password.
        raise ConfigurationError(
            f"cannot read {ini}: {error.option} in [{error.section}] has a % that leads nowhere; a literal one is %%"
        ) from None
    except (configparser.Error, LookupError, OSError) as error:
        raise ConfigurationError(f"cannot read {ini}: {error}") from None


def open_engine(settings: Settings) -> Engine:
    """The engine of the configured database, whatever its schema; not connected yet."""
    try:
        return make_engine(settings)
    except (ArgumentError, ImportError) as error:
        raise ConfigurationError(f"sqlalchemy.url: {error}") from None


def open_sessions(settings: Settings, *, only_reading: bool = False) -> sessionmaker[Session]:
    """Sessions on a database with the schema that this Billy needs; ConfigurationError for any other.

    Those that are ``only_reading`` see one state of it in all of a transaction's queries.
    """
    engine = open_engine(settings)
    reading = read_only(engine)
    with reading.connect() as connection:
        current = schema.current_revision(connection)
    if not schema.fits(current):
        raise ConfigurationError(
            f"the database's schema is {current or 'missing'} and this Billy needs {schema.head_revision()}: "
            "run `billy init-db` first"
        )
    return make_sessions(one_snapshot(engine) if only_reading else engine)


def find_transaction(session: Session, guid: str) -> Transaction:
    """Any company's transaction; NotFound tells that there is none."""
    transaction = find_of_any_company(session, Transaction, guid)
    if transaction is None:
        raise NotFound(f"No such transaction {guid}")
    return transaction


def operator() -> str:
    """Who runs the command, for the audit: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # a container whose user has no name
    return f"{user}@{socket.gethostname()}"[:ACTOR_LENGTH]


def read_secret(prompt: str) -> str:
    """A secret that is asked for, or the first line of standard input: others may see a command's options."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    secret: str = click.prompt(prompt, hide_input=True)
    return secret.strip()


class _Misconfigured(click.ClickException):
    exit_code = 2


def explanation(error: Exception) -> click.ClickException | None:
    """The line, and the exit code, for an error that a person can do something about; None for a bug."""
    if isinstance(error, (ConfigurationError, CommandError)):  # the latter: migrations that do not fit the database
        return _Misconfigured(str(error))
    if isinstance(error, BillyError):
        return click.ClickException(str(error))
    if isinstance(error, (OperationalError, InterfaceError)):
        return click.ClickException(f"the database does not answer: {_first_line(error)}")
    return None


def _first_line(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__
