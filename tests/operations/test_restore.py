"""Back-up and restore, rehearsed: two real servers, PostgreSQL's own programs, and the documented commands.

The ledger forgives nothing (a repeated key is charged again), so every look-up that is missing is a double charge::

    30 h ago                the lost time                                       now
    ───────────┬────────────────────────────────────────────────────────────────┬──────────────
    a day      back-up      retries, another card, a period filed, a refund     the server is lost
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from billy.billing_run import run
from billy.models import Transaction
from billy.processors.base import ReceiptStatus, SubmissionType
from billy.processors.sandbox import Sandbox, SandboxOptions
from billy.secrets import new_secret_key
from tests.support.client import Api, Client
from tests.support.clock import FrozenClock
from tests.support.databases import PostgresServer

from .conftest import ROOT, Operator, libpq_url

pytestmark = pytest.mark.postgresql

SECRET_KEY = new_secret_key()

# So that nobody has to wait: the old world's last send is over when the next command has started.
QUICK = """
billy.sandbox.idempotent = false
billy.transaction.call_deadline = 0.3s
billy.transaction.lease = 0.9s
billy.transaction.settle_time = 0.1s
billy.transaction.silence_schedule = 0.1s
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """The one that will be lost, and a new one."""
    lost, new = PostgresServer.another(), PostgresServer.another()
    yield lost, new
    lost.stop()
    new.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The processor's books: they are somewhere else, and survive."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def database_url(servers: tuple[PostgresServer, PostgresServer], operator: Operator) -> str:
    """The first database, set up as documented."""
    return _set_up(servers[0], operator)


@pytest.fixture
def ini(database_url: str, ledger: Path) -> dict[str, str]:
    """What the server of the lost database ran with."""
    quick = dict(line.split(" = ") for line in QUICK.strip().splitlines())
    return {
        "sqlalchemy.url": database_url,
        "sqlalchemy.pool_size": "5",
        "billy.secret_keys": SECRET_KEY,
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
        "billy.sandbox.ledger": str(ledger),
        **quick,
    }


def _environment(server: PostgresServer, database: str = "billy") -> dict[str, str]:
    """What the documented commands find in the environment, on one of the servers."""
    owner, app = (make_url(server.url).set(username=name, database=database) for name in ("billy_owner", "billy"))
    return {
        "SERVER_URL": libpq_url(server.url),
        "BILLY_OWNER_URL": libpq_url(str(owner)),
        "BILLY_DATABASE_URL": libpq_url(str(app)),
        "BILLY_SECRET_KEYS": SECRET_KEY,
    }


def _set_up(server: PostgresServer, operator: Operator) -> str:
    _write_ini(operator, Path("ledger.sqlite"))
    operator("database", **_environment(server))
    operator("schema", **_environment(server))
    return _environment(server)["BILLY_DATABASE_URL"]


def _write_ini(operator: Any, ledger: Path) -> None:
    text = (ROOT / "production.ini").read_text().replace("/var/lib/billy/sandbox-ledger.sqlite", str(ledger))
    text = text.replace("use = egg:billy\n", f"use = egg:billy\n{QUICK}")
    (operator.directory / "production.ini").write_text(text)


class Story:
    """The day before and the lost day, of two companies. Runs and requests are at the clock's time."""

    def __init__(self, api: Api, clock: FrozenClock, bill: Any, sandbox: Sandbox) -> None:
        self.clock, self.bill, self.sandbox = clock, bill, sandbox
        self.company, self.other = api.company(), api.company(processor_key="another-key")

    def the_day_before(self) -> None:
        for company in (self.company, self.other):
            self.subscribe(company, "/cards/ok")
            self.subscribe(company, "/cards/ok")
            self.order(company, "/cards/declined-twice")
        self.poor = self.subscribe(self.company, "/cards/declined")
        self.paid = self.order(self.company, "/cards/ok")
        self.pending = self.order(self.company, "/bank_accounts/pending")
        self.bill()

    def the_lost_day(self) -> None:
        self.clock.move(hours=5)
        assert self.bill().declined == 3, "again"
        [invoice] = self.company.get(f"/v1/subscriptions/{self.poor['guid']}/invoices").json["items"]
        self.company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
        self.clock.move(hours=8)
        assert self.bill().succeeded == 2, "the cards that were declined twice paid"
        self.clock.move(hours=11)
        assert self.bill().filed == 5, "the second day of each subscription"
        self.company.post(f"/v1/invoices/{self.paid['guid']}/refund", {"amount": 300})
        [pending] = [each for each in self.sandbox.records() if each.status is ReceiptStatus.PENDING]
        self.sandbox.settle(pending.uri, ReceiptStatus.SUCCEEDED)  # and the callback was answered
        self.clock.now = datetime.now(UTC)

    def subscribe(self, company: Client, card: str) -> dict[str, Any]:
        plan = company.post("/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": 1000}).json
        customer = company.post("/v1/customers").json
        subscription = {"plan_guid": plan["guid"], "customer_guid": customer["guid"], "funding_instrument_uri": card}
        return dict(company.post("/v1/subscriptions", subscription).json)

    def order(self, company: Client, card: str) -> dict[str, Any]:
        customer = company.post("/v1/customers").json
        invoice = {"customer_guid": customer["guid"], "amount": 700, "funding_instrument_uri": card}
        return dict(company.post("/v1/invoices", invoice).json)


@pytest.fixture
def story(api: Api, clock: FrozenClock, sessions: Any, settings: Any, submitter: Any, sandbox: Sandbox) -> Story:
    clock.now = datetime.now(UTC) - timedelta(hours=30)
    return Story(api, clock, lambda: run(sessions, settings, submitter, clock.now), sandbox)


def charged(ledger: Path) -> Counter[str]:
    """How often money was taken for what: a period of a subscription, or an order's transaction."""
    records = _records(ledger)
    alive = (each for each in records if each.type is SubmissionType.DEBIT and each.status is not ReceiptStatus.FAILED)
    return Counter(_purpose(each.submission_key) for each in alive)


def _copy(ledger: Path, path: Path) -> Path:
    with sqlite3.connect(ledger) as source, sqlite3.connect(path) as target:
        source.backup(target)
    source.close()
    target.close()
    return path


def _purpose(key: str) -> str:
    stem = key.rpartition("-")[0]
    owner, _, _ = stem.rpartition("/")
    return owner or stem


def _records(ledger: Path) -> list[Any]:
    return Sandbox(SandboxOptions(ledger=str(ledger)), call_deadline=10).records()


def booked(url: str) -> set[tuple[str, str]]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with Session(engine) as session:
        rows = session.execute(
            select(Transaction.processor_uri, Transaction.status).where(Transaction.processor_uri.is_not(None))
        )
        return {(uri, str(status)) for uri, status in rows}


def test_a_back_up_is_restored_in_a_new_server_and_nobody_is_charged_twice(
    servers: tuple[PostgresServer, PostgresServer],
    story: Story,
    operator: Any,
    ledger: Path,
    app: Any,
    engine: Any,
    tmp_path: Path,
) -> None:
    lost, new = servers
    story.the_day_before()
    backed_up_at = story.clock.now
    operator("back-up", **_environment(lost))
    story.the_lost_day()
    before = charged(ledger)
    assert len(before) == 13
    assert set(before.values()) == {1}
    app.app.registry["billy.engine"].dispose()
    engine.dispose()
    lost.stop()

    environment: Mapping[str, str] = {**_environment(new), "BACKED_UP_AT": backed_up_at.isoformat()}
    operator("restore", **environment)
    assert "The books hold" in operator("check", **environment).stdout
    assert "(2 rows)" in operator("what-is-due", **environment).stdout
    # What would become of it without `billy recover`: in a copy of everything.
    new.create("careless", template="billy")
    careless = _copy(ledger, tmp_path / "careless.sqlite")
    _write_ini(operator, careless)
    operator("run", **{**environment, **_environment(new, "careless")})
    assert max(charged(careless).values()) == 2, "else the look-ups below prove nothing"

    _write_ini(operator, ledger)
    recovered = operator("recover", **environment)
    operator("run", **environment)
    verified = operator("after-a-recovery", **environment)

    assert "now in doubt, of 2 companies: 3 charges and 0 refunds" in recovered.stdout
    assert "The books hold" in verified.stdout
    assert charged(ledger) == before
    records = {(each.uri, str(each.status)) for each in _records(ledger) if each.type is SubmissionType.DEBIT}
    assert booked(environment["BILLY_DATABASE_URL"]) == records
