"""How often is too often: registrations, and keys that open nothing.

Two applications over one database stand for two web processes. Time passes for all that measures it: the host's
clock (SQLite), the windows in the database (PostgreSQL), and the memory of each process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Interval, func, literal, select, update
from structlog.testing import capture_logs
from webtest import TestApp

from billy.app import make_app
from billy.models import Company, RateLimit
from tests.support.client import Api, basic

LIMITS = {
    "billy.limit.registrations": "3/1h",
    "billy.limit.failures_per_address": "6/1m",
    "billy.limit.failures_per_key": "2/1m",
}
pytestmark = pytest.mark.ini(LIMITS)

REGISTRATION = {"processor_key": "a-processor-key"}


def at(app: TestApp, address: str) -> Api:
    """The API as it is called from an address."""
    return Api(TestApp(app.app, extra_environ={"REMOTE_ADDR": address}))


@pytest.fixture
def other_process(settings, sandbox, clock) -> Iterator[TestApp]:
    """A second web process."""
    wsgi = make_app(settings, processor_factory=sandbox)
    yield TestApp(wsgi)
    wsgi.registry["billy.engine"].dispose()


@pytest.fixture
def pass_time(sessions, clock, engine, monkeypatch) -> Callable[[float], None]:
    """Let seconds pass; negative ones are a clock that is set back."""
    measured, passed = time.monotonic, [0.0]
    monkeypatch.setattr("billy.api.limits.time.monotonic", lambda: measured() + passed[0])

    def let_pass(seconds: float) -> None:
        passed[0] += max(seconds, 0)  # a monotonic clock is never set back
        if engine.dialect.name == "sqlite":
            clock.move(seconds=seconds)
            return
        with sessions.begin() as session:
            span = literal(timedelta(seconds=seconds), Interval())
            session.execute(update(RateLimit).values(until=RateLimit.until - span))

    return let_pass


def register(api: Api, *, status: int = 200):
    return api.anonymous.post("/v1/companies", REGISTRATION, status=status)


def fail(api: Api, key: str, *, status: int = 401):
    return api.client(key).get("/v1/plans", status=status)


def counts(sessions) -> dict[str, int]:
    with sessions() as session:
        return {row.bucket.partition("#")[0]: row.count for row in session.scalars(select(RateLimit))}


# -- registrations -----------------------------------------------------------------------------------


def test_an_address_registers_so_many_companies_and_then_is_told_when_to_come_again(app, bystander, sessions):
    here = at(app, "203.0.113.7")
    for _ in range(3):
        register(here)
    refused = register(here, status=429)
    assert refused.json["error_class"] == "TooManyRequests"
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Company)) == 3 + 1


def test_other_addresses_register_meanwhile(app, bystander):
    for _ in range(3):
        register(at(app, "203.0.113.7"))
    register(at(app, "203.0.113.7"), status=429)
    register(at(app, "203.0.113.8"))
    register(at(app, "2001:db8::1"))


def test_the_processes_share_a_limit(app, other_process, bystander):
    first, second = at(app, "203.0.113.7"), at(other_process, "203.0.113.7")
    register(first)
    register(second)
    register(first)
    register(second, status=429)
    register(first, status=429)


def test_what_is_refused_or_wrong_makes_no_company_and_does_not_count(app, bystander, sessions, sandbox):
    here = at(app, "203.0.113.7")
    for _ in range(5):
        here.anonymous.post("/v1/companies", {"processor_key": ""}, status=400)
    for _ in range(3):
        register(here)
    for _ in range(3):
        register(here, status=429)
    assert counts(sessions) == {"registrations from 203.0.113.7": 3}


def test_of_many_at_once_no_more_than_the_limit_register(app, other_process, bystander, sessions):
    apis = [at(app, "203.0.113.7"), at(other_process, "203.0.113.7")]

    def try_to_register(number: int) -> int:
        return apis[number % 2].anonymous.app.post("/v1/companies", REGISTRATION, status="*").status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(try_to_register, range(16)))
    assert sorted(statuses) == [200] * 3 + [429] * 13


def test_a_window_ends_to_the_second_and_another_begins(app, bystander, pass_time):
    here = at(app, "203.0.113.7")
    for _ in range(3):
        register(here)
    register(here, status=429)
    pass_time(3580)
    assert int(register(here, status=429).headers["Retry-After"]) <= 20
    pass_time(20)
    for _ in range(3):
        register(here)
    register(here, status=429)


def test_who_was_refused_does_not_wait_longer_for_having_asked(app, bystander, pass_time):
    here = at(app, "203.0.113.7")
    for _ in range(3):
        register(here)
    for _ in range(10):
        pass_time(350)
        register(here, status=429)
    pass_time(100)
    register(here)


def test_a_clock_that_is_set_back_does_not_refuse_for_a_year(app, other_process, bystander, pass_time):
    for _ in range(3):
        register(at(app, "203.0.113.7"))
    register(at(app, "203.0.113.7"), status=429)
    pass_time(-365 * 86400)
    register(at(other_process, "203.0.113.7"))


def test_a_clock_that_is_set_a_little_back_opens_nothing(app, other_process, bystander, pass_time):
    for _ in range(3):
        register(at(app, "203.0.113.7"))
    pass_time(-30)
    refused = register(at(other_process, "203.0.113.7"), status=429)
    assert int(refused.headers["Retry-After"]) <= 3630


def test_the_registrations_of_a_network_count_together_and_of_mapped_addresses_apart(app, bystander):
    for number in (1, 2, 3):
        register(at(app, f"2001:db8:0:1::{number}"))
    register(at(app, "2001:db8:0:1:ffff::9"), status=429)
    register(at(app, "2001:db8:0:2::1"))
    for number in (1, 2, 3, 4):
        register(at(app, f"::ffff:198.51.100.{number}"))
    for _ in range(2):
        register(at(app, "198.51.100.1"))
    register(at(app, "::ffff:198.51.100.1"), status=429)


def test_an_address_that_the_client_makes_up_counts_for_nothing(app, bystander):
    here = at(app, "203.0.113.7").anonymous
    for number in range(3):
        here.post("/v1/companies", REGISTRATION, headers={"X-Forwarded-For": f"198.51.100.{number}"})
    made_up = {"X-Forwarded-For": "198.51.100.77", "Forwarded": "for=1.2.3.4", "X-Real-IP": "198.51.100.78"}
    here.post("/v1/companies", REGISTRATION, headers=made_up, status=429)


def test_where_there_is_no_address_all_count_as_one(app, bystander):
    for _ in range(3):
        register(at(app, ""))
    register(at(app, "unix:"), status=429)
    register(at(app, "203.0.113.7"))


@pytest.mark.ini({"billy.limit.registrations": "off"})
def test_a_limit_that_is_off_counts_nothing(app, bystander, sessions):
    for _ in range(10):
        register(at(app, "203.0.113.7"))
    assert counts(sessions) == {}


# -- failed authentications --------------------------------------------------------------------------


def test_a_key_that_opens_nothing_is_401_twice_and_then_429(app, company, sessions):
    here = at(app, "203.0.113.7")
    for _ in range(2):
        fail(here, "revoked")
    refused = fail(here, "revoked", status=429)
    assert refused.json["error_class"] == "TooManyRequests"
    assert "revoked" not in refused.text
    assert 50 < int(refused.headers["Retry-After"]) <= 60
    fail(here, "another")
    with sessions() as session:
        assert "revoked" not in str([row.bucket for row in session.scalars(select(RateLimit))])


def test_a_key_is_refused_from_every_address_and_in_every_process(app, other_process, company):
    for number in range(2):
        fail(at(app, f"203.0.113.{number}"), "revoked")
    fail(at(other_process, "198.51.100.1"), "revoked", status=429)
    fail(at(app, "2001:db8::1"), "revoked", status=429)


def test_an_address_is_refused_whatever_keys_it_makes_up(app, other_process, company):
    here, there = at(app, "203.0.113.7"), at(other_process, "203.0.113.7")
    for number in range(3):
        fail(here, f"guess-{number}")
        fail(there, f"guess-{number}!")
    fail(here, "guess-7", status=429)
    fail(there, "guess-8", status=429)
    fail(at(app, "203.0.113.8"), "guess-9")


def test_a_valid_key_is_never_refused(app, other_process, company):
    here = at(app, "203.0.113.7")
    for number in range(6):
        fail(here, f"guess-{number}")
    fail(here, "guess-7", status=429)
    for process in (app, other_process):
        at(process, "203.0.113.7").client(company.api_key).get("/v1/plans")
        at(process, "203.0.113.7").client(company.api_key).post("/v1/customers")
    for _ in range(3):
        register_with_it = {"Authorization": f"Bearer {company.api_key}"}
        company.get("/v1/plans", headers=register_with_it, status=401)
    company.get("/v1/plans")


def test_a_guess_from_a_refused_address_is_answered_alike_however_near_it_is(app, company):
    here = at(app, "203.0.113.7")
    for number in range(6):
        fail(here, f"guess-{number}")
    guesses = (company.api_key[:-1], company.api_key + "1", "x", "ключ")
    assert len({fail(here, guess, status=429).json["error_message"] for guess in guesses}) == 1


def test_who_presents_no_key_is_401_for_ever_and_costs_the_database_nothing(app, company, statements):
    here = at(app, "203.0.113.7")
    with statements() as seen:
        for header in ("", "Basic", "Basic ####", "Bearer x", basic("")):
            for _ in range(5):
                here.anonymous.get("/v1/plans", headers={"Authorization": header}, status=401)
    assert seen == []


def test_what_is_refused_costs_the_database_nothing_by_its_key_and_a_look_up_by_its_address(app, company, statements):
    here = at(app, "203.0.113.7")
    for _ in range(2):
        fail(here, "revoked")
    fail(here, "revoked", status=429)
    with statements() as seen:
        for _ in range(5):
            fail(here, "revoked", status=429)
    assert seen == []
    for number in range(3):
        fail(here, f"guess-{number}")
    fail(here, "guess-8", status=429)
    with statements() as seen:
        for number in range(5):
            fail(here, f"other-{number}", status=429)
    assert len(seen) == 5
    assert not [statement for statement in seen if "INSERT" in statement]


def test_a_refusal_is_over_when_it_said_so(app, company, pass_time):
    here = at(app, "203.0.113.7")
    for _ in range(2):
        fail(here, "revoked")
    seconds = int(fail(here, "revoked", status=429).headers["Retry-After"])
    pass_time(seconds)
    for _ in range(2):
        fail(here, "revoked")
    fail(here, "revoked", status=429)


def test_a_write_with_a_wrong_key_writes_nothing_but_its_count(app, company, sessions):
    here = at(app, "203.0.113.7")
    for _ in range(2):
        here.client("wrong").post("/v1/customers", status=401)
    here.client("wrong").post("/v1/customers", status=429)
    assert company.get("/v1/customers").json["items"] == []
    assert counts(sessions)["failures of one API key"] == 3


def test_callback_keys_that_are_wrong_count_and_the_right_one_always_works(app, api, company, callback_path, sandbox):
    path, headers = callback_path(company), {"Content-Type": "application/json"}
    wrong = path.rstrip("/")[:-1] + "x"
    for _ in range(2):
        api.anonymous.post(wrong, body=b"{}", headers=headers, status=404)
    api.anonymous.post(wrong, body=b"{}", headers=headers, status=429)
    assert api.anonymous.post(path, body=b"{}", headers=headers, status=400).json["error_class"] != "TooManyRequests"


def test_the_log_says_once_who_is_refused_and_never_with_which_key(app, company):
    here = at(app, "203.0.113.7")
    with capture_logs() as logs:
        for number in range(9):
            here.client(f"guess-{number}").get("/v1/plans", status=429 if number >= 6 else 401)
    [told] = [entry for entry in logs if entry["event"] == "rate_limited"]
    assert told["limit"] == "failures from 203.0.113.7"
    assert "guess" not in str(logs)


def test_a_process_remembers_no_more_than_it_may(app, company, monkeypatch):
    monkeypatch.setattr("billy.api.limits.MOST_REMEMBERED", 3)
    for number in range(8):
        for _ in range(2):
            fail(at(app, f"203.0.113.{number}"), f"wrong-{number}")
        fail(at(app, f"203.0.113.{number}"), f"wrong-{number}", status=429)
    assert len(app.app.registry["billy.limits"]._refused) == 3
    fail(at(app, "203.0.113.0"), "wrong-0", status=429)


# -- the scheduler -----------------------------------------------------------------------------------


def test_a_run_deletes_the_windows_that_are_over_and_no_other(app, company, bill, sessions, pass_time):
    for number in range(4):
        fail(at(app, f"203.0.113.{number}"), f"wrong-{number}")
    pass_time(61)
    register(at(app, "203.0.113.9"))
    bill()
    left = counts(sessions)
    assert left.pop("registrations from 203.0.113.9") == 1
    assert set(left) == {name for name in left if name.startswith("registrations from")}


@pytest.mark.postgresql
def test_a_run_does_not_wait_for_a_window_that_is_being_counted_in(app, company, bill, sessions, pass_time):
    fail(at(app, "203.0.113.1"), "wrong")
    pass_time(61)
    with sessions() as session:
        held = session.scalars(select(RateLimit).where(RateLimit.bucket.like("failures%")).with_for_update()).all()
        assert len(held) == 2
        bill()
    assert len([name for name in counts(sessions) if name.startswith("failures")]) == 2
