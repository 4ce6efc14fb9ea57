from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.guid import new_guid
from billy.models import BillingRun, SubmitStatus, Transaction
from billy.models.run import Summary
from billy.overview import Need
from billy.scripts.status import status as status_command
from billy.settings import Settings
from billy.statements import database_now
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

Status = Callable[..., dict[str, Any]]


@pytest.fixture
def database_time(sessions: sessionmaker[Session]) -> datetime:
    """The database's own clock, which leases, doubts and the diary go by."""
    with sessions() as session:
        return database_now(session)


@pytest.fixture
def add_run(sessions: sessionmaker[Session], clock: FrozenClock, database_time: datetime) -> Callable[..., None]:
    """Writes a run into the diary, which ended so long ago."""

    def add(*, ago: timedelta | None, **counts: int) -> None:
        finished_at = None if ago is None else database_time - ago
        with sessions.begin() as session:
            ids = {"guid": new_guid("RN", clock.now), "host": "billing-1:42", "started_at": clock.now}
            session.add(BillingRun(**ids, finished_at=finished_at, counts=counts))

    return add


@pytest.fixture
def status(billy: Billy, ini_file: Path) -> Status:
    """What ``billy status --json`` says; ``exit_code`` is expected."""

    def ask(*options: str, exit_code: int = 0) -> dict[str, Any]:
        result = billy("status", ini_file, "--json", *options)
        told: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == exit_code, told["concerns"]
        return told

    return ask


def names(told: dict[str, Any]) -> list[tuple[str, int]]:
    return [(concern["name"], concern["count"]) for concern in told["concerns"]]


def test_an_empty_database_with_a_run_needs_nobody(status: Status, add_run: Callable[..., None]) -> None:
    add_run(ago=timedelta(minutes=1))
    told = status()

    assert told["concerns"] == []
    assert told["at"] == "2026-01-15T12:00:00+00:00"
    assert told["filing"] == {"due": 0, "due_since": None, "next_due_at": None}
    assert told["submitting"]["oldest_lease"] is None
    assert told["runs_last_day"] == {"runs": 1, **Summary().as_dict()}


def test_a_scheduler_that_was_never_started_is_seen(status: Status) -> None:
    assert names(status(exit_code=1)) == [("no_run", 1)]


def test_a_scheduler_that_has_stopped_is_seen(status: Status, add_run: Callable[..., None]) -> None:
    add_run(ago=timedelta(hours=2))
    add_run(ago=None)  # killed, or hanging

    assert names(status(exit_code=1)) == [("no_run", 1)]
    assert names(status("--run-within", "3h")) == []


@pytest.mark.parametrize("counts", [{"errors": 2}, {"differing": 2}, {"errors": 1, "differing": 1}])
def test_a_last_run_that_went_wrong_needs_a_person(
    status: Status, add_run: Callable[..., None], counts: dict[str, int]
) -> None:
    add_run(ago=timedelta(minutes=1), **counts)
    assert names(status(exit_code=1)) == [("run_went_wrong", 2)]
    add_run(ago=timedelta(seconds=1), filed=3)
    assert names(status()) == []


def test_what_is_due_and_what_comes_next_is_counted(
    status: Status, make: Factories, clock: FrozenClock, add_run: Callable[..., None]
) -> None:
    add_run(ago=timedelta(minutes=1))
    company = make.company()
    for days in (-2, 0, 3, 5):
        make.subscription(company, started_at=clock.now + timedelta(days=days))
    make.subscription(company, started_at=clock.now - timedelta(days=9), canceled_at=clock.now)
    for minutes in (-5, 0, 5):
        at = {"next_attempt_at": clock.now + timedelta(minutes=minutes)}
        make.invoice(company, funding_instrument_uri="/cards/ok", charge=at)
    told = status()

    assert told["filing"] == {
        "due": 2,
        "due_since": "2026-01-13T12:00:00+00:00",
        "next_due_at": "2026-01-18T12:00:00+00:00",
    }
    assert (told["submitting"]["due"], told["submitting"]["due_since"]) == (2, "2026-01-15T11:55:00+00:00")
    assert told["last_day"] == [{"transaction_type": "debit", "outcome": "staged", "count": 3, "amount": 3000}]


def test_what_waits_is_listed_with_its_last_failure(
    status: Status,
    api: Any,
    clock: FrozenClock,
    add_run: Callable[..., None],
    sessions: sessionmaker[Session],
    settings: Settings,
    submitter: Any,
) -> None:
    company = api.company()
    customer = company.post("/v1/customers").json["guid"]
    order = {"customer_guid": customer, "amount": 700, "funding_instrument_uri": "/cards/declined"}
    invoice = company.post("/v1/invoices", order).json["guid"]
    clock.move(hours=2)
    run(sessions, settings, submitter, clock.now)
    [transaction] = company.get(f"/v1/invoices/{invoice}/transactions").json["items"]
    told = status()

    [waiting] = told["retrying"]
    assert transaction["failure_count"] == 2
    assert waiting["company_guid"] == company.guid
    assert (waiting["transaction_guid"], waiting["amount"]) == (transaction["guid"], 700)
    last = transaction["failures"][-1]
    assert (waiting["code"], waiting["message"]) == (last["error_code"], last["error_message"])
    assert clock.now < datetime.fromisoformat(waiting["next_attempt_at"]) < clock.now + timedelta(hours=7)
    assert told["submitting"]["retrying"] == 1
    assert told["runs_last_day"]["declined"] == told["runs"][0]["counts"]["declined"] == 1


def test_what_failed_in_the_last_day_is_listed_with_its_reason_whenever_it_was_made(
    status: Status, api: Any, clock: FrozenClock
) -> None:
    company = api.company()
    customer = company.post("/v1/customers").json["guid"]
    order = {"customer_guid": customer, "funding_instrument_uri": "/cards/stolen"}
    for amount in (500, 600, 700):
        company.post("/v1/invoices", {**order, "amount": amount})
        clock.move(hours=20)
    told = status(exit_code=1)

    assert told["failed_last_day"] == 1
    [failed] = told["failed"]
    assert (failed["amount"], failed["failed_at"]) == (700, "2026-01-17T04:00:00+00:00")
    assert failed["code"] == "card-stolen"
    assert told["last_day"] == [{"transaction_type": "debit", "outcome": "failed", "count": 1, "amount": 700}]
    clock.move(hours=5)
    told = status(exit_code=1)
    assert (told["failed_last_day"], told["failed"], told["last_day"]) == (0, [], [])


def test_a_clock_that_steps_back_does_not_make_old_failures_new(status: Status, api: Any, clock: FrozenClock) -> None:
    company = api.company()
    customer = company.post("/v1/customers").json["guid"]
    clock.move(days=10)
    new_guid("TF", clock.now)
    clock.move(days=-10)
    # Its failure has a guid of later, since guids never step back.
    company.post("/v1/invoices", {"customer_guid": customer, "funding_instrument_uri": "/cards/stolen", "amount": 500})
    assert status(exit_code=1)["failed_last_day"] == 1
    clock.move(days=2)
    assert status(exit_code=1)["failed_last_day"] == 0


@pytest.fixture
def doubtful(make: Factories, clock: FrozenClock) -> Callable[..., str]:
    """Makes a charge that is in doubt; returns its guid."""

    def make_doubtful(session: Session, **values: Any) -> str:
        doubt = {"in_doubt": True, "attempt": 1, "submit_status": SubmitStatus.RETRYING}
        invoice = make.invoice(make.company(), funding_instrument_uri="/cards/ok", charge=doubt | values)
        with session.begin():
            found = session.scalars(select(Transaction.guid).where(Transaction.invoice_guid == invoice.guid)).one()
        return found

    return make_doubtful


def test_a_doubt_needs_a_person_when_it_lasts(
    status: Status,
    session: Session,
    doubtful: Callable[..., str],
    database_time: datetime,
    add_run: Callable[..., None],
) -> None:
    add_run(ago=timedelta(minutes=1))
    doubtful(session, last_send_at=database_time - timedelta(hours=23))
    told = status()
    assert (told["submitting"]["in_doubt"], told["doubts"]) == (1, [])

    guid = doubtful(session, last_send_at=database_time - timedelta(hours=25))
    told = status(exit_code=1)
    assert names(told) == [("doubt_lasts", 1)]
    assert [doubt["transaction_guid"] for doubt in told["doubts"]] == [guid]
    assert told["submitting"]["in_doubt"] == 2


def test_a_lease_that_nobody_took_up_needs_a_person(
    status: Status,
    session: Session,
    doubtful: Callable[..., str],
    database_time: datetime,
    add_run: Callable[..., None],
) -> None:
    add_run(ago=timedelta(minutes=1))
    sent = {"last_send_at": database_time}
    doubtful(session, **sent, leased_until=database_time + timedelta(minutes=2))
    told = status()
    assert (told["submitting"]["leased"], told["submitting"]["in_doubt"], told["submitting"]["due"]) == (1, 0, 0)

    doubtful(session, **sent, leased_until=database_time - timedelta(minutes=58))
    assert names(status()) == [], "the next run takes it up"
    oldest = doubtful(session, **sent, leased_until=database_time - timedelta(minutes=61))
    told = status(exit_code=1)
    assert names(told) == [("lease_expired", 1)]
    assert told["submitting"]["oldest_lease"]["transaction_guid"] == oldest
    assert (told["submitting"]["leased"], told["submitting"]["in_doubt"], told["submitting"]["due"]) == (1, 2, 2)


def test_a_parked_company_needs_a_person_and_what_is_its_is_not_due(
    status: Status, make: Factories, clock: FrozenClock, add_run: Callable[..., None]
) -> None:
    add_run(ago=timedelta(minutes=1))
    parked = make.company(name="Acme", parked_count=2, parked_until=clock.now + timedelta(minutes=5))
    free = make.company(parked_count=0, parked_until=clock.now - timedelta(minutes=5))
    for company in (parked, parked, free):
        make.invoice(company, funding_instrument_uri="/cards/ok")
    told = status(exit_code=1)

    assert names(told) == [("company_parked", 1)]
    assert told["parked"] == [
        {
            "company_guid": parked.guid,
            "name": "Acme",
            "parked_until": "2026-01-15T12:05:00+00:00",
            "refusals": 2,
        }
    ]
    assert (told["submitting"]["due"], told["submitting"]["parked"]) == (1, 2)


def test_lists_are_cut_and_totals_are_not(
    status: Status, make: Factories, clock: FrozenClock, add_run: Callable[..., None]
) -> None:
    add_run(ago=timedelta(minutes=1))
    company = make.company()
    waits = {"submit_status": SubmitStatus.RETRYING, "next_attempt_at": clock.now + timedelta(hours=1)}
    for _ in range(12):
        make.invoice(company, funding_instrument_uri="/cards/ok", charge=waits)
        make.company(parked_count=1, parked_until=clock.now + timedelta(minutes=5))
    told = status(exit_code=1)

    assert len(told["retrying"]) == len(told["parked"]) == 10
    assert told["submitting"]["retrying"] == 12
    assert names(told) == [("company_parked", 12)]


def test_the_help_names_the_fields_of_the_json(status: Status, add_run: Callable[..., None]) -> None:
    add_run(ago=timedelta(minutes=1))
    told = status()

    documented = re.findall(r"^ *(\w+)  +\S", (status_command.help or "").split("Its fields:")[1], re.MULTILINE)
    assert documented[: len(told)] == list(told)


def test_the_documentation_names_all_concerns() -> None:
    operations = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    table = operations.split("| concern |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Need)
    assert set(Need) <= set(re.findall(r"\w+", status_command.help or ""))


def test_people_see_tables_of_80_columns_in_which_guids_are_whole(
    billy: Billy,
    ini_file: Path,
    make: Factories,
    clock: FrozenClock,
    session: Session,
    doubtful: Callable[..., str],
    database_time: datetime,
    add_run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    bystander: Bystander,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    add_run(ago=timedelta(minutes=1), filed=1, errors=3)
    add_run(ago=None)
    parked = make.company(name="A name of some length, of Acme", parked_count=2, parked_until=clock.now + timedelta(1))
    make.subscription(make.company())
    waits = {"submit_status": SubmitStatus.RETRYING, "next_attempt_at": clock.now + timedelta(hours=1)}
    make.invoice(make.company(), amount=99_999_999_999, funding_instrument_uri="/cards/ok", charge=waits)
    guid = doubtful(session, last_send_at=database_time - timedelta(hours=25))
    result = billy("status", ini_file)

    assert result.exit_code == 1
    assert max(map(len, result.stdout.splitlines())) <= 80
    for told in (parked.guid, guid, "999,999,999.99", "3 errors", "doubt_lasts", "runs, or was killed"):
        assert told in result.stdout


def test_it_changes_nothing_and_runs_as_a_process(ini_file: Path, bystander: Bystander) -> None:
    command = [sys.executable, "-m", "billy.scripts", "status", str(ini_file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (1, "")
    assert names(json.loads(done.stdout)) == [("no_run", 1)]
