"""When work is stored and when it is not, and what keeps SQLite's one writer and its readers apart."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyramid.response import Response
from pyramid_retry import IRetryableError
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from billy import db
from billy.db import (
    commit_tween_factory,
    engine_at,
    make_engine,
    one_snapshot,
    open_transactions,
    outside_database,
    persist,
    query_by_query,
    read_only,
)
from billy.errors import DatabaseUnavailable
from billy.models import ApiKey, Company
from billy.settings import Settings
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

# SQLite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "embedded.sqlite"


@pytest.fixture
def embedded(file: Path) -> Iterator[Engine]:
    """An engine over an SQLite file, whatever database the other tests use."""
    engine = engine_at(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (text VARCHAR)"))
    yield engine
    engine.dispose()


@pytest.fixture
def stranger(file: Path, embedded: Engine) -> Iterator[sqlite3.Connection]:
    """Another process with the same file, which waits for nobody."""
    connection = sqlite3.connect(file, timeout=0, isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("pragma", "value"), [("foreign_keys", 1), ("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 30_000)]
)
def test_every_sqlite_connection_is_set_up(embedded: Engine, pragma: str, value: object) -> None:
    with read_only(embedded).connect() as first, read_only(embedded).connect() as second:
        assert [connection.scalar(text(f"PRAGMA {pragma}")) for connection in (first, second)] == [value, value]


def test_on_sqlite_a_transaction_that_may_write_is_the_only_one_from_its_first_statement(
    embedded: Engine, stranger: sqlite3.Connection
) -> None:
    with embedded.begin() as connection:
        connection.scalar(text("SELECT 1"))

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("BEGIN IMMEDIATE")


def test_on_sqlite_a_reader_keeps_nobody_from_writing(embedded: Engine, stranger: sqlite3.Connection) -> None:
    with read_only(embedded).begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM word")) == 0

        stranger.execute("INSERT INTO word VALUES ('new')")

        assert connection.scalar(text("SELECT count(*) FROM word")) == 0


def test_on_sqlite_a_reader_does_not_wait_for_a_writer(embedded: Engine, stranger: sqlite3.Connection) -> None:
    stranger.execute("BEGIN IMMEDIATE")

    with read_only(embedded).begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM word")) == 0


@pytest.mark.postgresql
def test_on_postgresql_a_request_that_reads_has_no_transaction_and_its_connection_can_have_one_again(
    engine: Engine,
) -> None:
    is_alone = text("SELECT now() = statement_timestamp(), pg_backend_pid()")
    with query_by_query(engine).connect() as connection:
        connection.execute(text("SELECT 1"))
        reading, pid = connection.execute(is_alone).one()
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        writing, same_pid = connection.execute(is_alone).one()

    assert (reading, writing, same_pid) == (True, False, pid)


def test_the_queries_of_a_snapshot_agree_whatever_is_committed_between_them(engine: Engine, make: Factories) -> None:
    companies = select(func.count()).select_from(Company)
    make.company()
    with one_snapshot(engine).begin() as connection:
        before = connection.scalar(companies)
        make.company()
        assert (before, connection.scalar(companies)) == (1, 1)
    with one_snapshot(engine).begin() as connection:
        assert connection.scalar(companies) == 2


@pytest.mark.postgresql
def test_a_snapshot_cannot_be_written_and_its_connection_can_be_again(engine: Engine, make: Factories) -> None:
    with pytest.raises(DatabaseError, match="read-only"), one_snapshot(engine).begin() as connection:
        connection.execute(text("DELETE FROM company"))
    make.company()
    with engine.begin() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        assert connection.execute(text("UPDATE company SET name = 'written'")).rowcount == 1


# Engines and sessions


def test_an_engine_has_the_pool_of_the_settings(settings: Settings) -> None:
    url = "postgresql+psycopg2://db/billy"

    engine = make_engine(settings.model_copy(update={"database_url": url, "pool_size": 3, "max_overflow": 4}))

    assert (engine.driver, engine.pool.size(), engine.pool._max_overflow) == ("psycopg2", 3, 4)


def test_records_stay_readable_after_a_commit(sessions: sessionmaker[Session], make: Factories) -> None:
    guid = make.company(name="Trees").guid
    with sessions() as session:
        read = session.get_one(Company, guid)
        session.commit()

    assert read.name == "Trees"


@pytest.mark.parametrize("end", [Session.commit, Session.rollback, Session.close])
def test_a_transaction_is_counted_from_its_first_statement_to_its_end(
    session: Session, end: Callable[[Session], None]
) -> None:
    counts = [open_transactions()]
    session.execute(text("SELECT 1"))
    counts.append(open_transactions())

    end(session)

    assert [*counts, open_transactions()] == [0, 1, 0]


def test_a_savepoint_is_no_transaction_of_its_own(session: Session) -> None:
    session.execute(text("SELECT 1"))
    with session.begin_nested():
        session.execute(text("SELECT 1"))

    assert open_transactions() == 1


def test_a_transaction_that_only_reads_is_counted_too(engine: Engine) -> None:
    with read_only(engine).begin():
        assert open_transactions() == 1


def test_each_thread_counts_its_own_transactions(session: Session) -> None:
    session.execute(text("SELECT 1"))
    counts: list[int] = []

    thread = threading.Thread(target=lambda: counts.append(open_transactions()))
    thread.start()
    thread.join()

    assert counts == [0]


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("embedded", "INSERT INTO no_such_table VALUES (:secret)"),
        pytest.param("engine", "SELECT 1 / 0, :secret", marks=pytest.mark.postgresql),
    ],
)
def test_an_error_of_the_database_does_not_show_the_parameters(
    request: pytest.FixtureRequest, kind: str, statement: str
) -> None:
    engine: Engine = request.getfixturevalue(kind)

    with pytest.raises(DatabaseError) as refusal, engine.begin() as connection:
        connection.execute(text(statement), {"secret": "hush"})

    assert "hush" not in str(refusal.value)


# Requests

REGISTRY = {"billy.settings": SimpleNamespace(request_deadline=timedelta(seconds=25))}


@dataclass
class Web:
    """A request over the test's database, and the tween under test around a view."""

    sessions: sessionmaker[Session]
    make: Factories

    def __post_init__(self) -> None:
        self.guid = self.make.company(name="before").guid
        self.request = SimpleNamespace(method="POST", db=self.sessions(), has_committed=False, environ={})

    def rename(self, name: str) -> None:
        self.request.db.get_one(Company, self.guid).name = name

    def call(self, view: Callable[[Any], Response]) -> Response:
        return commit_tween_factory(view, REGISTRY)(self.request)

    @property
    def stored(self) -> str | None:
        with self.sessions() as session:
            return session.get_one(Company, self.guid).name


@pytest.fixture
def web(sessions: sessionmaker[Session], make: Factories) -> Web:
    return Web(sessions, make)


def away(*_: object) -> Response:
    """What the driver raises when the server has gone."""
    raise OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("status", "stored"),
    [(200, "after"), (302, "after"), (399, "after"), (400, "before"), (404, "before"), (500, "before")],
)
def test_an_answer_below_400_stores_the_work_and_any_other_does_not(web: Web, status: int, stored: str) -> None:
    def view(request: Any) -> Response:
        web.rename("after")
        return Response(status=status)

    web.call(view)

    assert web.stored == stored


@pytest.mark.usefixtures("bystander")
def test_an_error_stores_nothing_and_goes_on(web: Web) -> None:
    def view(request: Any) -> Response:
        web.rename("after")
        request.db.flush()
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        web.call(view)

    assert web.stored == "before"
    assert open_transactions() == 0


@pytest.mark.usefixtures("bystander")
def test_what_stands_before_a_call_to_the_processor_stays_whatever_comes_after(web: Web) -> None:
    def view(request: Any) -> Response:
        web.rename("intent")
        with outside_database(request):
            assert open_transactions() == 0
        web.rename("after")
        return Response(status=400)

    web.call(view)

    assert web.stored == "intent"


def test_a_database_that_is_away_is_told_as_such_and_may_be_tried_again(web: Web) -> None:
    with pytest.raises(DatabaseUnavailable) as refusal:
        web.call(away)

    assert IRetryableError.providedBy(refusal.value)
    assert "server closed" not in str(refusal.value)


def test_a_request_whose_time_is_up_is_not_begun_anew(web: Web) -> None:
    web.request.environ["billy.started"] = time.monotonic() - 25

    with pytest.raises(DatabaseUnavailable, match="took too long") as refusal:
        web.call(away)

    assert not IRetryableError.providedBy(refusal.value)


def test_a_request_that_has_committed_is_not_begun_anew(web: Web) -> None:
    def view(request: Any) -> Response:
        with outside_database(request):
            pass
        return away()

    with pytest.raises(DatabaseUnavailable) as refusal:
        web.call(view)

    assert not IRetryableError.providedBy(refusal.value)


def test_a_commit_that_fails_is_told_as_a_database_that_is_away(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.request.db, "commit", away)

    with pytest.raises(DatabaseUnavailable):
        web.call(lambda request: Response())


def test_a_request_without_need_of_the_database_opens_no_session() -> None:
    request = SimpleNamespace(has_committed=False, environ={})

    commit_tween_factory(lambda request: Response(), REGISTRY)(request)

    assert vars(request).keys() == {"has_committed", "environ"}


# Work that the database could not finish


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(db, "time", SimpleNamespace(sleep=slept.append))
    return slept


def stumbling(times: int, work: Callable[[], str]) -> Callable[[], str]:
    """``work``, after which the database goes away for the first few times."""
    left = [times]

    def stumble() -> str:
        done = work()
        if left[0]:
            left[0] -= 1
            away()
        return done

    return stumble


@pytest.mark.usefixtures("bystander")
def test_work_that_stumbles_is_done_again_and_stored_once(
    session: Session, make: Factories, clock: FrozenClock, sleeps: list[float]
) -> None:
    guid = make.company().guid

    def work() -> str:
        return session.get_one(Company, guid).add_api_key(session, clock.now)

    key = persist(session, stumbling(2, work))

    session.expunge_all()
    assert Company.of_api_key(session.connection(), key, clock.now) is not None
    assert len(session.scalars(select(ApiKey).where(ApiKey.company_guid == guid)).all()) == 2
    assert len(sleeps) == 2


def test_pauses_between_tries_grow(session: Session, sleeps: list[float]) -> None:
    persist(session, stumbling(3, lambda: "done"))

    assert len(sleeps) == 3
    assert sleeps == sorted(set(sleeps))


def test_work_that_stumbles_for_good_is_given_up(session: Session, sleeps: list[float]) -> None:
    with pytest.raises(OperationalError):
        persist(session, stumbling(4, lambda: "done"))

    assert len(sleeps) == 3


@pytest.mark.postgresql
def test_work_whose_connection_is_cut_is_done_again(session: Session, engine: Engine, sleeps: list[float]) -> None:
    served_by: list[int] = []

    def work() -> int:
        served_by.append(session.scalars(text("SELECT pg_backend_pid()")).one())
        if len(served_by) == 1:
            with engine.begin() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": served_by[0]})
        return session.scalars(text("SELECT pg_backend_pid()")).one()

    server = persist(session, work)

    assert [server] == served_by[1:]
    assert len(sleeps) == 1


def test_work_that_breaks_a_rule_is_not_done_again(session: Session, sleeps: list[float]) -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        raise IntegrityError("INSERT", {}, Exception("duplicate key"))

    with pytest.raises(IntegrityError):
        persist(session, work)

    assert (tries, sleeps) == ([1], [])
