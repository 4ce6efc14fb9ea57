"""/ and /health"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from sqlalchemy import text
from webtest import TestApp

from billy import schema
from billy.app import make_app
from tests.api.shapes import SERVER, mistakes
from tests.api.steps import new_invoice
from tests.support.client import Client


@pytest.fixture
def at_database(settings, sandbox):
    """A client of the same server with another database."""
    made = []

    def client(url):
        wsgi = make_app(settings.model_copy(update={"database_url": url}), processor_factory=sandbox)
        made.append(wsgi)
        return Client(TestApp(wsgi))

    yield client
    for wsgi in made:
        wsgi.registry["billy.engine"].dispose()


def test_the_index_answers_every_documented_field_to_anyone(api):
    answer = api.anonymous.get("/").json
    assert mistakes(SERVER, answer) == {}
    assert answer["version"] == metadata.version("billy")
    assert (answer["revision"], answer["last_transaction_created_at"]) == (None, None)


@pytest.mark.ini({"billy.revision": "abc123"})
def test_the_index_shows_the_deployed_revision(api):
    assert api.anonymous.get("/").json["revision"] == "abc123"


def test_the_index_tells_a_company_when_it_last_moved_money(api, company, clock):
    assert company.get("/").json["last_transaction_created_at"] is None, "another company's activity is not shown"
    new_invoice(company, card="/cards/ok")
    then = clock.now
    clock.move(days=1)
    other = api.company()
    new_invoice(other, card="/cards/ok")
    assert company.get("/").json["last_transaction_created_at"] == then.isoformat()
    assert other.get("/").json["last_transaction_created_at"] == clock.now.isoformat()
    for nobody in (api.anonymous, api.client("wrong")):
        assert nobody.get("/").json["last_transaction_created_at"] is None


def test_health_is_well_before_the_first_run(api):
    head = schema.head_revision()
    assert api.anonymous.get("/health").json == {
        "status": "ok",
        "database": "ok",
        "schema": {"current": head, "head": head},
        "last_run": None,
    }


def test_health_tells_of_the_last_run(api, bill, clock):
    bill()
    clock.move(hours=1)
    bill()
    last_run = api.anonymous.get("/health").json["last_run"]
    assert last_run["guid"].startswith("RN")
    assert last_run["started_at"] == clock.now.isoformat()
    assert last_run["finished_at"]


def test_health_needs_no_key_and_minds_no_wrong_one(api):
    assert api.client("wrong").get("/health").json["status"] == "ok"


def test_a_database_without_a_schema_is_not_healthy(at_database, tmp_path):
    answer = at_database(f"sqlite:///{tmp_path}/empty.sqlite").get("/health", status=503).json
    assert answer["status"] == "schema_outdated"
    assert answer["schema"] == {"current": None, "head": schema.head_revision()}


@pytest.mark.parametrize(
    ("revision", "status", "told"), [("0000_older", 503, "schema_outdated"), ("9999_newer", 200, "ok")]
)
def test_it_works_at_its_own_revision_and_at_those_of_later_releases(api, engine, revision, status, told):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    try:
        answer = api.anonymous.get("/health", status=status).json
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.head_revision()})
    assert (answer["status"], answer["schema"]["current"]) == (told, revision)
    assert api.anonymous.get("/health").json["status"] == "ok"


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_without_a_database_health_is_503_and_the_index_still_answers(at_database, kind, tmp_path: Path):
    url = {
        "postgresql": f"postgresql+psycopg2://nobody@/billy?host={tmp_path}",
        "sqlite": f"sqlite:///{tmp_path}/no/such/directory/billy.sqlite",
    }[kind]
    client = at_database(url)
    answer = client.get("/health", status=503)
    assert (answer.json["status"], answer.json["database"]) == ("unavailable", "unavailable")
    assert answer.json["last_run"] is None
    assert mistakes(SERVER, client.get("/").json) == {}
    assert str(tmp_path) not in answer.text
