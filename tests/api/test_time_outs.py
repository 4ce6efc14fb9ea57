"""A database that takes too long: the request is answered before its server, or its caller, gives up on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

import pytest
from sqlalchemy import text

from billy import db
from billy.api.views import server_info
from billy.db import read_only
from tests.api.steps import new_customer, new_plan

SHORT = {
    "billy.transaction.call_deadline": "1s",
    "billy.transaction.lease": "10s",
    "billy.api.request_deadline": "2s",
}
pytestmark = pytest.mark.ini(SHORT)


@pytest.fixture(autouse=True)
def a_second_is_enough(monkeypatch) -> None:
    monkeypatch.setattr(db, "LEAST_SECONDS", 1)


@pytest.fixture
def busy(engine) -> Callable[[str], AbstractContextManager[None]]:
    """Somebody else's transaction, which holds what a statement takes."""

    @contextmanager
    def held(statement: str):
        with engine.connect() as connection:  # on SQLite this alone is enough: BEGIN IMMEDIATE
            if engine.dialect.name == "postgresql":
                connection.execute(text(statement))
            else:
                connection.execute(text("SELECT 1"))
            yield

    return held


def refused(send: Callable[[], object]) -> float:
    """How long it takes to be told that the database took too long."""
    began = time.monotonic()
    answer = send()
    assert answer.json["error_class"] == "DatabaseUnavailable"
    assert "took too long" in answer.json["error_message"]
    assert int(answer.headers["Retry-After"]) >= 1
    return time.monotonic() - began


def test_a_write_that_waits_for_a_lock_is_503_at_the_deadline_and_saves_nothing(company, busy):
    customer, plan = new_customer(company), new_plan(company)
    sent = {"customer_guid": customer["guid"], "plan_guid": plan["guid"], "funding_instrument_uri": "/cards/ok"}
    with busy("SELECT * FROM customer FOR UPDATE"):
        seconds = refused(lambda: company.post("/v1/subscriptions", sent, status=503))
    assert 1.9 < seconds < 12
    assert company.get("/v1/subscriptions").json["items"] == []
    company.post("/v1/subscriptions", sent)


def test_the_transactions_of_others_are_waited_for_if_they_end_in_time(company, busy):
    customer, held = new_customer(company), threading.Event()

    def hold() -> None:
        with busy("SELECT * FROM customer FOR UPDATE"):
            held.set()
            time.sleep(0.7)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    began = time.monotonic()
    company.post("/v1/invoices", {"customer_guid": customer["guid"], "amount": 100})
    assert time.monotonic() - began > 0.5
    other.join()


@pytest.mark.postgresql
def test_a_list_that_takes_too_long_is_503_and_the_query_is_not_left_behind(company, busy, engine):
    new_plan(company)
    with busy("LOCK TABLE plan IN ACCESS EXCLUSIVE MODE"):
        assert 1.9 < refused(lambda: company.get("/v1/plans", status=503)) < 12
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with read_only(engine).connect() as connection:
            assert connection.scalar(waiting) == 0
    assert len(company.get("/v1/plans").json["items"]) == 1


@pytest.mark.postgresql
def test_the_time_out_is_the_requests_and_stays_on_no_connection(app, company):
    new_plan(company)
    with app.app.registry["billy.engine"].connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "0"


@pytest.mark.postgresql
def test_each_statement_of_a_request_gets_what_is_left_of_its_time(company, statements, monkeypatch):
    customer = new_customer(company)
    with statements() as seen:
        company.get("/v1/customers")
        sent = {"customer_guid": customer["guid"], "amount": 100, "funding_instrument_uri": "/cards/ok"}
        company.post("/v1/invoices", sent)
    assert len(seen) > 4
    assert {statement.partition(";")[0] for statement in seen} <= {
        "SET LOCAL statement_timeout = 1000",
        "SET LOCAL statement_timeout = 2000",
    }


@pytest.mark.postgresql
def test_a_host_that_vanished_is_noticed_and_the_url_has_the_last_word(database_url):
    for suffix, idle in (("", "15"), ("keepalives_idle=77", "77")):
        engine = db.engine_at(database_url + ("&" if "?" in database_url else "?") + suffix)
        with engine.connect() as connection:
            told = connection.connection.dbapi_connection.get_dsn_parameters()
        engine.dispose()
        assert (told["keepalives_idle"], told["connect_timeout"]) == (idle, "10")


@pytest.mark.postgresql
@pytest.mark.ini({"billy.metrics": "true", "billy.api.request_deadline": "40s"})
def test_what_is_asked_for_the_metrics_takes_no_longer_than_its_own_time_out(api, busy, monkeypatch):
    monkeypatch.setattr(server_info, "_SCRAPE_SECONDS", 1)
    with busy('LOCK TABLE "transaction" IN ACCESS EXCLUSIVE MODE'):
        began = time.monotonic()
        assert "billy_database_up 0" in api.anonymous.get("/metrics").text
        assert time.monotonic() - began < 6
