"""The fixtures of all tests.

PostgreSQL is the default: a server from a wheel, started once, with one database for each worker. The
environment variable ``BILLY_TEST_DATABASE_URL`` names another server instead, and
``BILLY_TEST_DATABASE=sqlite`` runs the same tests on SQLite files.

What touches a database stands still at ``clock.now``, except the leases on PostgreSQL, which the database
measures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from billy import clock as billy_clock
from billy.db import engine_at, make_engine, make_sessions
from billy.secrets import Vault, new_secret_key
from billy.settings import Settings
from tests.support import databases
from tests.support.bystander import Bystander, make_bystander, unmoved
from tests.support.client import Api
from tests.support.clock import FrozenClock
from tests.support.databases import PostgresServer
from tests.support.factories import Factories

SQLITE = os.environ.get("BILLY_TEST_DATABASE", "postgresql") == "sqlite"
SECRET_KEY = new_secret_key()
UNLIMITED = {f"billy.limit.{name}": "off" for name in ("registrations", "failures_per_address", "failures_per_key")}

_server: PostgresServer | None = None


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and not SQLITE:
        _start_server()  # in xdist's controller, before its workers are made


def pytest_configure_node(node: Any) -> None:
    if _server is not None:
        node.workerinput["postgres"] = (_server.url, _server.template)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        _server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SQLITE:
        for item in items:
            if item.get_closest_marker("postgresql"):
                item.add_marker(pytest.mark.skip(reason="needs PostgreSQL"))


def _start_server() -> PostgresServer:
    global _server
    if _server is None:
        _server = PostgresServer.start()
    return _server


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """The PostgreSQL server; ``postgres.copy(name)`` and ``.drop(name)`` make and drop further databases."""
    worker = getattr(request.config, "workerinput", None)
    return PostgresServer(*worker["postgres"]) if worker else _start_server()


@pytest.fixture(scope="session")
def _worker_database(postgres: PostgresServer, worker_id: str) -> Iterator[Engine]:
    name = f"{postgres.template}_{worker_id}"
    engine = engine_at(postgres.copy(name))
    yield engine
    engine.dispose()
    postgres.drop(name)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return databases.make_sqlite_template(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with Billy's schema and no rows."""
    if SQLITE:
        template = request.getfixturevalue("_sqlite_template")
        return databases.copy_sqlite(template, tmp_path / "billy.sqlite")
    engine: Engine = request.getfixturevalue("_worker_database")
    databases.empty(engine)
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def ini(request: pytest.FixtureRequest, database_url: str) -> dict[str, str]:
    """The options that ``settings`` are loaded from; change them with ``@pytest.mark.ini({…})``."""
    options = {
        "sqlalchemy.url": database_url,
        "sqlalchemy.pool_size": "5",
        "billy.secret_keys": SECRET_KEY,
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
        **UNLIMITED,
    }
    for mark in reversed(list(request.node.iter_markers("ini"))):
        options |= {name: str(value) for name, value in mark.args[0].items()}
    return options


@pytest.fixture
def settings(ini: dict[str, str]) -> Settings:
    """Settings over the test's database, with the sandbox and a ledger in memory."""
    return Settings.load(ini)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine like the server's."""
    engine = make_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Makes sessions; close each before something else has to write (SQLite has one writer)."""
    return make_sessions(engine)


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """One session. Commit before something else has to see, or to write."""
    with sessions() as session:
        yield session


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """Opens and seals what the settings' keys can."""
    return Vault(settings.secret_keys)


@pytest.fixture
def sandbox(settings: Settings) -> Any:
    """The sandbox (a processor factory), with the ledger that ``app``, ``processors`` and ``submitter`` write."""
    return settings.make_processor_factory()


@pytest.fixture
def processors(settings: Settings, sandbox: Any, vault: Vault) -> Any:
    """The adapters by company."""
    from billy.submission import Processors

    return Processors.load(settings, vault, sandbox)


@pytest.fixture
def submitter(settings: Settings, processors: Any) -> Any:
    """Submits transactions to the sandbox."""
    from billy.submission import Submitter

    return Submitter(settings, processors)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    """The wall clock, standing still: ``clock.now``, ``clock.move(days=1)``."""
    frozen = FrozenClock()
    monkeypatch.setattr(billy_clock, "utc_now", lambda: frozen.now)
    return frozen


@pytest.fixture
def make(sessions: sessionmaker[Session], vault: Vault, clock: FrozenClock) -> Factories:
    """Makes rows: ``make.company()``, ``make.plan(company, amount=500)``, and so on, committed."""
    return Factories(sessions, vault, clock)


@pytest.fixture
def app(settings: Settings, sandbox: Any, clock: FrozenClock) -> Iterator[Any]:
    """The real application over the test's database, as WebTest's TestApp."""
    from webtest import TestApp

    from billy.app import make_app

    wsgi = make_app(settings, processor_factory=sandbox)
    yield TestApp(wsgi)
    wsgi.registry["billy.engine"].dispose()


@pytest.fixture
def api(app: Any) -> Api:
    """The API: ``api.company()`` registers a company and returns its client."""
    return Api(app)


@pytest.fixture
def bystander(make: Factories, engine: Engine) -> Iterator[Bystander]:
    """Another company with a record of each kind. After the test, not one of its rows may have changed."""
    bystander = make_bystander(make)
    with unmoved(engine, bystander):
        yield bystander
