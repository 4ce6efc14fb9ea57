"""The role ``billy`` of docs/examples/postgresql: everything works as it, and the books cannot be destroyed as it."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from billy import recovery, schema
from billy.billing_run import run
from billy.db import engine_at
from billy.models import Base
from billy.verification import violations
from tests.support.databases import PostgresServer, program

from .conftest import EXAMPLES, ROOT, libpq_url

pytestmark = pytest.mark.postgresql

POSTGRESQL = EXAMPLES / "postgresql"


def psql(url: str, file: Path, **variables: str) -> None:
    command = [program("psql"), "-X", "-v", "ON_ERROR_STOP=1", f"--dbname={libpq_url(url)}", f"--file={file}"]
    command += [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def as_documented(postgres: PostgresServer) -> Iterator[tuple[str, str]]:
    """The URLs of a database for the owner and for the app, set up by the two files."""
    name = f"billy_{uuid.uuid4().hex[:8]}"
    owner, app = f"{name}_owner", f"{name}_app"
    psql(postgres.url, POSTGRESQL / "roles.sql", database=name, owner=owner, app=app)
    password = uuid.uuid4().hex
    postgres._run(f"ALTER ROLE {owner} PASSWORD '{password}'; ALTER ROLE {app} PASSWORD '{password}'")
    server = make_url(postgres.url).set(password=password, database=name)
    urls = [server.set(username=role).render_as_string(hide_password=False) for role in (owner, app)]
    engine = engine_at(urls[0])
    schema.upgrade(engine)
    engine.dispose()
    for _ in range(2):  # harmless when repeated
        psql(urls[0], POSTGRESQL / "grants.sql", app=app)
    yield urls[0], urls[1]
    postgres.drop(name)
    postgres._run(f"DROP ROLE {owner}; DROP ROLE {app}")


@pytest.fixture
def database_url(as_documented: tuple[str, str]) -> str:
    """Everything below is done as the app's role."""
    return as_documented[1]


def test_a_customers_life_is_served_and_billed(
    api: Any, sessions: Any, settings: Any, submitter: Any, sandbox: Any, clock: Any, bystander: Any
) -> None:
    company = api.company()
    plan = company.post("/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": 1000}).json
    customer = company.post("/v1/customers").json
    subscription = company.post(
        "/v1/subscriptions",
        {"plan_guid": plan["guid"], "customer_guid": customer["guid"], "funding_instrument_uri": "/cards/ok"},
    ).json
    order = {"customer_guid": customer["guid"], "amount": 700, "funding_instrument_uri": "/cards/declined"}
    invoice = company.post("/v1/invoices", order).json
    clock.move(days=1)
    summary = run(sessions, settings, submitter, clock.now)
    assert (summary.filed, summary.succeeded, summary.declined, summary.errors) == (1, 1, 1, 0)
    company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 300})
    pending = company.post("/v1/invoices", {**order, "funding_instrument_uri": "/bank_accounts/pending"}).json
    [charge] = company.get(f"/v1/invoices/{pending['guid']}/transactions").json["items"]
    body = sandbox.settle(charge["processor_uri"], "succeeded")
    [url] = [url for url in sandbox.callbacks("a-processor-key") if company.guid in url]
    assert company.app.post(urlsplit(url).path, body).json == {"code": "ok"}
    company.post(f"/v1/subscriptions/{subscription['guid']}/cancel")
    company.delete(f"/v1/customers/{customer['guid']}")
    clock.move(days=100)  # the diary of the first run is thrown away
    run(sessions, settings, submitter, clock.now)
    assert api.anonymous.get("/health").json["status"] == "ok"
    with sessions() as session:
        assert list(violations(session)) == []


def test_an_operators_commands_work(sessions: Any, settings: Any, make: Any, clock: Any, vault: Any) -> None:
    company = make.company()
    make.invoice(company, funding_instrument_uri="/cards/ok")
    with sessions.begin() as session:
        assert recovery.recover(session, settings, clock.now, clock.now, actor="operator@host").charges >= 1
    with sessions.begin() as session:
        company = session.merge(company)
        company.rotate_secrets(vault, clock.now)
        company.reset_api_key(session, clock.now)


@pytest.mark.parametrize("table", sorted(set(Base.metadata.tables) - {"billing_run", "idempotency_key", "rate_limit"}))
def test_no_record_can_be_deleted(engine: Engine, table: str) -> None:
    _refused(engine, f'DELETE FROM "{table}"')
    _refused(engine, f'TRUNCATE "{table}"')


@pytest.mark.parametrize(
    "statement",
    [
        'DROP TABLE "transaction"',
        "DROP SCHEMA public CASCADE",
        "ALTER TABLE invoice DROP CONSTRAINT ck_invoice_amount_not_negative",
        "DROP INDEX uq_transaction_charge_alive",
        "CREATE TABLE public.another (guid text)",
        "CREATE SCHEMA another",
        "CREATE TEMPORARY TABLE another (guid text)",
        "UPDATE alembic_version SET version_num = '0001'",
        "DELETE FROM alembic_version",
        "UPDATE audit_entry SET actor = 'nobody'",
        "UPDATE recovery SET since = recovered_at",
        "UPDATE transaction_event SET status = 'failed'",
        "SET ROLE postgres",
    ],
)
def test_what_the_books_stand_on_cannot_be_changed(engine: Engine, statement: str) -> None:
    _refused(engine, statement)


def _refused(engine: Engine, statement: str) -> None:
    with engine.connect() as connection, pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        connection.execute(text(statement))


def test_nobody_else_may_connect(postgres: PostgresServer, as_documented: tuple[str, str]) -> None:
    stranger = f"stranger_{uuid.uuid4().hex[:8]}"
    postgres._run(f"CREATE ROLE {stranger} LOGIN PASSWORD 'secret'")
    url = make_url(as_documented[1]).set(username=stranger, password="secret")
    try:
        with pytest.raises(Exception, match="permission denied for database"):
            create_engine(url, poolclass=NullPool).connect()
    finally:
        postgres._run(f"DROP ROLE {stranger}")


def test_what_a_later_migration_adds_can_be_used_at_once(as_documented: tuple[str, str], engine: Engine) -> None:
    owner = create_engine(as_documented[0], poolclass=NullPool)
    with owner.begin() as connection:
        connection.execute(text("CREATE TABLE coupon (guid text)"))
    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO coupon VALUES ('CO1')"))
            assert inspect(connection).has_table("coupon")
    finally:
        with owner.begin() as connection:
            connection.execute(text("DROP TABLE coupon"))


def test_the_grants_name_every_table_that_billy_deletes_from() -> None:
    granted = re.search(r"tablename IN \(([^)]*)\)", (POSTGRESQL / "grants.sql").read_text())
    assert granted is not None
    sources = [path.read_text() for path in (ROOT / "billy").rglob("*.py")]
    models = {name for source in sources for name in re.findall(r"\bdelete\(([A-Z]\w+)\)", source)}
    tables = {mapper.class_.__name__: mapper.local_table.name for mapper in Base.registry.mappers}
    assert models
    assert {tables[name] for name in models} <= set(re.findall(r"'(\w+)'", granted[1]))
