"""The database: engine, sessions, and when a request commits.

We do not use pyramid_tm. Billy must commit what it is about to do *before* it calls a processor, so
one request may commit twice, and each commit is written where it happens (``outside_database``).

Both databases get the same code. SQLite has no row locks: there every transaction that may write
begins with BEGIN IMMEDIATE, so writers queue up; readers (``read_only``) never wait for them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
import structlog
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from pyramid_retry import mark_error_retryable
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from billy.errors import DatabaseUnavailable
from billy.settings import Settings, driver_url

SQLITE_BUSY_SECONDS = 30

CONNECT_SECONDS = 10
"""How long is waited for a new connection, and for a free one of the pool."""

LEAST_SECONDS = 5
"""What a request's statement gets, however late it is: what a processor answered has to be recorded."""

# All of it is libpq's own, so PgBouncer does not see it. A host that vanished is noticed within half a minute.
_LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

DATABASE_TRIES = 4
"""How often a piece of work is begun that the database could not finish."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _Thread(threading.local):
    open_transactions = 0
    queries = 0
    until: float | None = None
    """When the database's time for the request of this thread is over, by ``time.monotonic()``."""


_thread = _Thread()


def make_engine(settings: Settings) -> Engine:
    """The engine for the configured database; connects only when first used."""
    return engine_at(settings.database_url, pool_size=settings.pool_size, max_overflow=settings.max_overflow)


def engine_at(url: str, *, pool_size: int = 5, max_overflow: int = 10) -> Engine:
    """The same for a bare URL, where there are no settings: migrations on the command line, tests."""
    url = driver_url(url)
    if url.startswith("postgresql"):
        engine = create_engine(
            url,
            hide_parameters=True,  # in errors: among them are keys
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=CONNECT_SECONDS,
            connect_args=_connect_args(make_url(url)),
            executemany_mode="values_plus_batch",
            json_deserializer=orjson.loads,  # a page of invoices has forty documents
        )
        event.listen(engine, "begin", _begin_postgresql)
    else:
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": SQLITE_BUSY_SECONDS})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _name_lost_connections)
    event.listen(engine, "before_cursor_execute", _count_query, retval=True)  # which saves SQLAlchemy's wrapper
    for name, change in (("begin", 1), ("commit", -1), ("rollback", -1)):
        event.listen(engine, name, lambda connection, change=change: _count_open(change))
    return engine


def _connect_args(url: URL) -> dict[str, int]:
    uses_libpq = url.get_driver_name() in ("psycopg2", "psycopg")
    return {name: value for name, value in _LIBPQ.items() if uses_libpq and name not in url.query}


def _name_lost_connections(context: ExceptionContext) -> Exception | None:
    # libpq says of some lost connections nothing that psycopg2 could read, and it raises a bare DatabaseError.
    if context.is_disconnect and not isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError):
        return OperationalError(context.statement, None, context.original_exception, hide_parameters=True)
    return None


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions that may write. Objects stay readable after a commit: whoever changes one locks it first,
    and that reads it again."""
    return sessionmaker(engine, expire_on_commit=False)


def read_only(engine: Engine) -> Engine:
    """The same engine for transactions that only read; matters on SQLite alone."""
    return engine.execution_options(billy_read_only=True)


def one_snapshot(engine: Engine) -> Engine:
    """The same for queries that have to agree: all of a transaction see the database as it stood at its first.

    Nothing can be written, and nobody is kept waiting. On PostgreSQL it also reads a standby.
    """
    reading = read_only(engine)  # which is a snapshot by itself on SQLite, in WAL
    if engine.dialect.name != "postgresql":
        return reading
    return reading.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def query_by_query(engine: Engine) -> Engine:
    """The same for requests that only read, a query or three: on PostgreSQL each sees what is committed when it begins.

    That saves the round trips of BEGIN and COMMIT. Not for queries that have to agree, for locks or for cursors.
    """
    return read_only(engine).execution_options(billy_autocommit=True)


def statement_by_statement(engine: Engine) -> Engine:
    """The same for single statements that write: each is a transaction of its own, on SQLite with the next commit."""
    return engine.execution_options(billy_autocommit=True)


def with_time_out(engine: Engine, seconds: int) -> Engine:
    """The same for a request's statements that may take no longer than that, though it has more time left."""
    return engine.execution_options(billy_time_out=seconds)


def open_transactions() -> int:
    """How many database transactions this thread has open: 0 whenever a processor is called."""
    return _thread.open_transactions


def queries_sent() -> int:
    """How many statements this thread has sent to databases so far: take two readings, and subtract."""
    return _thread.queries


def _count_open(change: int) -> None:
    _thread.open_transactions = max(_thread.open_transactions + change, 0)


def _count_query(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: object, is_many: bool
) -> tuple[str, Any]:
    if not statement.startswith(("BEGIN", "PRAGMA")):  # which only SQLite is sent
        _thread.queries += 1
    return statement, parameters


def _set_up_sqlite(connection: Any, record: object) -> None:
    # The driver must not begin transactions by itself: it would begin them DEFERRED, and two that both
    # read and then write cannot be resolved by waiting.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("billy_read_only", False)
    seconds = _seconds_left() or SQLITE_BUSY_SECONDS
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * seconds}")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    # The driver's own switch, and not SQLAlchemy's isolation level AUTOCOMMIT, which asks the server. Set at
    # each begin, so a connection that comes back to the pool need not be reset.
    driver: Any = connection.connection.dbapi_connection
    driver.autocommit = connection.get_execution_options().get("billy_autocommit", False)


def _seconds_left() -> int | None:
    """What the request of this thread has left for a statement; None where there is no request."""
    until = _thread.until
    return None if until is None else max(math.ceil(until - time.monotonic()), LEAST_SECONDS)


def _bound_statement(
    connection: Connection, cursor: object, statement: str, parameters: Any, context: object, executemany: bool
) -> tuple[str, Any]:
    # In one message with the statement, which is a transaction of its own where none is open: it costs 4 µs. As a
    # message of its own it would cost a round trip, and as a parameter of the connection PgBouncer would refuse it.
    seconds = _seconds_left()
    if seconds is not None and not executemany:
        seconds = min(seconds, connection.get_execution_options().get("billy_time_out", seconds))
        statement = f"SET LOCAL statement_timeout = {1000 * seconds}; {statement}"
    return statement, parameters


@contextmanager
def outside_database(request: Request) -> Iterator[None]:
    """Commit what the request did so far, and hold no transaction during the block (a processor's call).

    What was committed stays, whatever the block does. The request cannot be retried as a whole any more.
    """
    request.db.commit()
    request.has_committed = True
    yield


def persist(session: Session, work: Callable[[], T]) -> T:
    """Do ``work`` and commit; begin anew after a deadlock, a serialization error or a lost connection.

    ``work`` must be safe to repeat, also when the lost commit had in fact succeeded: every write of
    ours is, since claims are leases and records are fenced.
    """
    for left in reversed(range(DATABASE_TRIES)):
        try:
            result = work()
            session.commit()
            return result
        except (OperationalError, InterfaceError) as error:
            session.rollback()
            if not left:
                raise
            log.warning("database_stumbled", error=type(error.orig).__name__, tries_left=left)
            time.sleep(0.1 * 4 ** (DATABASE_TRIES - 1 - left))
    raise AssertionError("unreachable")


def commit_tween_factory(handler: Callable[[Request], Response], registry: Any) -> Callable[[Request], Response]:
    """Commit a request's work if its answer is below 400; roll everything else back.

    The database has as long as the request (``billy.api.request_deadline``), and ``LEAST_SECONDS`` for a statement
    that begins late.
    """
    seconds = registry["billy.settings"].request_deadline.total_seconds()

    def commit_tween(request: Request) -> Response:
        _thread.until = until = request.environ.setdefault("billy.started", time.monotonic()) + seconds
        try:
            response = handler(request)
            if "db" in vars(request) and response.status_code < 400:
                request.db.commit()
            return response
        except (OperationalError, InterfaceError) as error:
            # Away, restarting, out of disk, deadlocked or locked for too long: all pass.
            has_time = time.monotonic() < until
            what = "is unavailable right now" if has_time else "took too long"
            unavailable = DatabaseUnavailable(f"The database {what}, try again in a moment")
            if has_time and not request.has_committed:
                mark_error_retryable(unavailable)
            raise unavailable from error
        finally:
            give_back(request)
            _thread.until = None

    return commit_tween


def give_back(request: Request) -> None:
    """Roll back what a request has not committed, and hold no connection for it until it asks again."""
    for name in {"db", "reading"} & vars(request).keys():
        vars(request).pop(name).close()


def reads(request: Request) -> bool:
    """Whether a request only reads."""
    return request.method in ("GET", "HEAD")


def open_session(request: Request) -> Session:
    """A session for a request that writes."""
    assert not reads(request), "what only reads has a connection, and no session"
    return Session(request.registry["billy.engine"], expire_on_commit=False)


def open_connection(request: Request) -> Connection:
    """A connection for a request that only reads; it asks ``query_by_query``."""
    connection: Connection = request.registry["billy.reading_engine"].connect()
    return connection


def includeme(config: Configurator) -> None:
    """Connect to the database, and commit each request's work."""
    settings: Settings = config.registry["billy.settings"]
    engine = make_engine(settings)
    if engine.dialect.driver == "psycopg2":  # others do not send two statements in one message
        event.listen(engine, "before_cursor_execute", _bound_statement, retval=True)
    config.registry["billy.engine"] = engine
    config.registry["billy.reading_engine"] = query_by_query(engine)
    config.registry["billy.sessions"] = make_sessions(engine)
    config.add_settings({"retry.attempts": 3})
    config.include("pyramid_retry")
    config.add_tween("billy.db.commit_tween_factory", under=EXCVIEW)
