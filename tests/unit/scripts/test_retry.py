from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.models import AuditEntry, Company, SubmitStatus, Transaction, TransactionStatus
from billy.settings import Settings
from billy.statements import database_now
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

Charge = Callable[..., Transaction]


@pytest.fixture
def charge(make: Factories, session: Session, clock: FrozenClock) -> Charge:
    """Makes a charge that was declined once and is to be tried again tomorrow; its columns may be said otherwise."""

    def make_charge(company: Company | None = None, **values: Any) -> Transaction:
        waiting = {
            "submit_status": SubmitStatus.RETRYING,
            "attempt": 1,
            "refusal_count": 1,
            "next_attempt_at": clock.now + timedelta(days=1),
        }
        invoice = make.invoice(company or make.company(), funding_instrument_uri="/cards/ok", charge=waiting | values)
        with session.begin():
            return session.scalars(select(Transaction).where(Transaction.invoice_guid == invoice.guid)).one()

    return make_charge


def after(session: Session, transaction: Transaction) -> tuple[Transaction, list[AuditEntry]]:
    """The transaction now, and what was audited."""
    with session.begin():  # ended at once: SQLite has one writer
        session.expire_all()
        entries = session.scalars(select(AuditEntry).where(AuditEntry.subject_guid == transaction.guid)).all()
        return session.get_one(Transaction, (transaction.company_guid, transaction.guid)), list(entries)


def test_what_would_wait_is_submitted_by_the_next_run(
    billy: Billy,
    ini_file: Path,
    session: Session,
    charge: Charge,
    clock: FrozenClock,
    sessions: sessionmaker[Session],
    settings: Settings,
    submitter: Any,
    bystander: Bystander,
) -> None:
    waiting = charge()
    assert run(sessions, settings, submitter, clock.now).submitted == 0
    result = billy("retry", ini_file, waiting.guid)

    assert (result.exit_code, result.stdout) == (0, f"{waiting.guid}: due now; the next run submits it\n")
    transaction, [entry] = after(session, waiting)
    assert transaction.next_attempt_at == clock.now
    assert (transaction.submit_status, transaction.submission_key) == (SubmitStatus.RETRYING, waiting.submission_key)
    assert (entry.action, entry.detail) == ("retry", "due at once instead of at 2026-01-16T12:00:00+00:00")
    assert "@" in entry.actor
    assert run(sessions, settings, submitter, clock.now).succeeded == 1
    assert after(session, waiting)[0].status is TransactionStatus.SUCCEEDED


def test_what_is_due_already_stays_as_it_is(
    billy: Billy, ini_file: Path, session: Session, charge: Charge, clock: FrozenClock, bystander: Bystander
) -> None:
    due = charge(next_attempt_at=clock.now - timedelta(hours=1))
    result = billy("retry", ini_file, due.guid)

    assert (result.exit_code, result.stdout) == (0, f"{due.guid}: was due already; the next run submits it\n")
    transaction, entries = after(session, due)
    assert transaction.next_attempt_at == clock.now - timedelta(hours=1)
    assert entries == []


def test_one_in_doubt_is_looked_up_and_the_operator_is_told_so(
    billy: Billy,
    ini_file: Path,
    session: Session,
    charge: Charge,
    clock: FrozenClock,
    sessions: sessionmaker[Session],
    settings: Settings,
    submitter: Any,
    sandbox: Any,
) -> None:
    with sessions.begin() as other:
        sent_at = database_now(other)
    doubtful = charge(in_doubt=True, last_send_at=sent_at)
    result = billy("retry", ini_file, doubtful.guid)

    assert result.exit_code == 0
    assert "the next run looks it up at the processor" in result.stdout
    assert "billy resolve" in result.stdout
    assert after(session, doubtful)[0].in_doubt
    run(sessions, settings, submitter, clock.now)
    assert sandbox.sends() == []  # too early to be sure that nothing is on its way
    assert after(session, doubtful)[0].failure_count == 1  # but it was asked about


def test_what_a_run_has_is_left_to_it(
    billy: Billy, ini_file: Path, session: Session, charge: Charge, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as other:
        leased_until = database_now(other) + timedelta(minutes=2)
    leased = charge(in_doubt=True, leased_until=leased_until)
    result = billy("retry", ini_file, leased.guid)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: Transaction {leased.guid} is being processed right now, try again later\n"
    assert after(session, leased)[0].next_attempt_at == leased.next_attempt_at


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"submit_status": SubmitStatus.FAILED}, "has failed for good and stays so; what is still owed is charged"),
        ({"submit_status": SubmitStatus.CANCELED}, "was canceled and stays so; what is still owed is charged"),
        (
            {"submit_status": SubmitStatus.DONE, "status": TransactionStatus.FAILED, "processor_uri": "/debits/2"},
            "has failed for good and stays so; what is still owed is charged",
        ),
        (
            {"submit_status": SubmitStatus.DONE, "status": TransactionStatus.PENDING, "processor_uri": "/debits/2"},
            "is pending at the processor; billy reconcile asks",
        ),
        (
            {"submit_status": SubmitStatus.DONE, "status": TransactionStatus.SUCCEEDED, "processor_uri": "/debits/2"},
            "has succeeded; there is nothing to retry",
        ),
    ],
)
def test_a_closed_transaction_is_never_opened_again(
    billy: Billy, ini_file: Path, session: Session, charge: Charge, values: dict[str, Any], told: str
) -> None:
    closed = charge(**values)
    result = billy("retry", ini_file, closed.guid)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: Transaction {closed.guid} {told}")
    transaction, entries = after(session, closed)
    assert (transaction.submit_status, transaction.status) == (closed.submit_status, closed.status)
    assert transaction.next_attempt_at == closed.next_attempt_at
    assert entries == []


def test_a_failed_charge_is_charged_by_a_new_one_as_the_message_says(
    billy: Billy, ini_file: Path, api: Any, session: Session, bystander: Bystander
) -> None:
    company = api.company()
    customer = company.post("/v1/customers").json["guid"]
    order = {"customer_guid": customer, "amount": 700, "funding_instrument_uri": "/cards/stolen"}
    invoice = company.post("/v1/invoices", order).json["guid"]
    [failed] = company.get(f"/v1/invoices/{invoice}/transactions").json["items"]
    told = billy("retry", ini_file, failed["guid"]).stderr
    assert f"PUT /v1/invoices/{invoice} with a funding_instrument_uri" in told

    company.put(f"/v1/invoices/{invoice}", {"funding_instrument_uri": "/cards/ok"})
    assert company.get(f"/v1/invoices/{invoice}").json["status"] == "settled"


def test_a_parked_company_is_told_of(
    billy: Billy, ini_file: Path, charge: Charge, make: Factories, clock: FrozenClock
) -> None:
    parked = make.company(parked_count=1, parked_until=clock.now + timedelta(minutes=5))
    result = billy("retry", ini_file, charge(parked).guid)

    assert result.exit_code == 0
    assert "parked until 2026-01-15 12:05 UTC" in result.stdout


def test_json_is_one_line_with_utc_instants(
    billy: Billy, ini_file: Path, charge: Charge, make: Factories, clock: FrozenClock
) -> None:
    parked = make.company(parked_count=1, parked_until=clock.now + timedelta(minutes=5))
    waiting = charge(parked)
    told = {
        "transaction": waiting.guid,
        "company": parked.guid,
        "changed": True,
        "submit_status": "retrying",
        "in_doubt": False,
        "next_attempt_at": "2026-01-15T12:00:00+00:00",
        "parked_until": "2026-01-15T12:05:00+00:00",
    }
    assert billy("retry", ini_file, waiting.guid, "--json").stdout == json.dumps(told) + "\n"
    again = json.loads(billy("retry", "-c", ini_file, waiting.guid, "--json").stdout)
    assert again == {**told, "changed": False}


def test_an_unknown_transaction_is_told(billy: Billy, ini_file: Path, bystander: Bystander) -> None:
    result = billy("retry", ini_file, "TX1111111111111111111111")

    assert (result.exit_code, result.stderr) == (1, "Error: No such transaction TX1111111111111111111111\n")


def test_the_guid_of_something_else_is_wrong_usage(billy: Billy, ini_file: Path) -> None:
    result = billy("retry", ini_file, "IV1111111111111111111111")

    assert result.exit_code == 2
    assert "is not the guid of a transaction (TX…)" in result.stderr
