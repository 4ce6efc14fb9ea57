from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.chronicle import KINDS, SEALED, What
from billy.guid import new_guid
from billy.models import Dispute, DisputeState, Transaction, TransactionEvent, TransactionStatus
from billy.models.run import Summary
from billy.scripts.show import show as show_command
from billy.secrets import Vault
from billy.settings import Settings
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

Show = Callable[..., dict[str, Any]]


@pytest.fixture
def show(billy: Billy, ini_file: Path) -> Show:
    """What ``billy show --json`` says."""

    def ask(guid: str, *options: str) -> dict[str, Any]:
        result = billy("show", ini_file, guid, "--json", *options)
        assert (result.exit_code, result.stderr) == (0, "")
        told: dict[str, Any] = json.loads(result.stdout)
        return told

    return ask


@pytest.fixture
def bill(sessions: sessionmaker[Session], settings: Settings, submitter: Any, clock: FrozenClock) -> Any:
    """One run at the clock's time."""

    def bill() -> Summary:
        return run(sessions, settings, submitter, clock.now)

    return bill


def order(company: Any, card: str, **values: Any) -> tuple[str, str]:
    """The guids of an invoice and of its first transaction."""
    customer = company.post("/v1/customers").json["guid"]
    values = {"customer_guid": customer, "amount": 700, "funding_instrument_uri": card, **values}
    invoice = company.post("/v1/invoices", values).json["guid"]
    [transaction] = company.get(f"/v1/invoices/{invoice}/transactions").json["items"]
    return invoice, transaction["guid"]


def told_of(told: dict[str, Any]) -> list[str]:
    return [entry["what"] for entry in told["story"]]


def test_a_transaction_tells_each_attempt_with_its_answer_and_what_is_next(
    show: Show, api: Any, clock: FrozenClock, bill: Any, bystander: Bystander
) -> None:
    company = api.company()
    invoice, guid = order(company, "/cards/declined-twice")
    began = clock.now
    told = show(guid)
    assert told_of(told) == ["created", "attempt_failed", "next_attempt"]
    assert told["story"][2]["detail"] == {"attempt": 2}

    clock.move(hours=2)
    bill()
    clock.move(hours=8)
    bill()
    told = show(guid)
    assert (told["kind"], told["guid"], told["company_guid"]) == ("transaction", guid, company.guid)
    assert told_of(told) == ["created", "attempt_failed", "attempt_failed", "answered"]
    assert [entry["at"] for entry in told["story"]] == [
        (began + timedelta(hours=hours)).isoformat() for hours in (0, 0, 2, 10)
    ]
    created, failed, _, answered = told["story"]
    assert created["detail"] == {
        "type": "debit",
        "amount": 700,
        "invoice": invoice,
        "instrument": "/cards/declined-twice",
    }
    assert failed["detail"]["code"] == "insufficient-funds"
    assert answered["detail"]["status"] == "succeeded"
    assert (answered["detail"]["attempts"], told["facts"]["attempt"]) == (3, 3)
    assert answered["detail"]["processor_uri"] == told["facts"]["processor_uri"]


def test_silences_in_a_row_are_one_entry_with_their_number(show: Show, api: Any, clock: FrozenClock, bill: Any) -> None:
    _, guid = order(api.company(), "/cards/unreachable")
    for _ in range(3):
        clock.move(hours=1)
        bill()
    told = show(guid)

    assert told_of(told) == ["created", "attempt_failed", "next_attempt"]
    assert told["story"][1]["detail"]["times"] == 4
    assert told["story"][1]["detail"]["until"] == clock.now.isoformat()
    assert told["story"][1]["detail"]["code"] == "unavailable"


def test_events_disputes_and_what_was_done_by_hand_are_part_of_the_story(
    show: Show, billy: Billy, ini_file: Path, api: Any, clock: FrozenClock, session: Session
) -> None:
    company = api.company()
    invoice, guid = order(company, "/cards/declined")
    clock.move(minutes=1)
    assert billy("retry", ini_file, guid).exit_code == 0
    with session.begin():
        transaction = session.get_one(Transaction, (company.guid, guid))
        happened = {"transaction_guid": guid, "processor_id": "EV1", "status": TransactionStatus.FAILED}
        ids = {"company_guid": company.guid, "guid": new_guid("TE", clock.now)}
        occurred_at = clock.now
        at = {"occurred_at": occurred_at, "created_at": clock.move(minutes=1)}
        session.add(TransactionEvent(**ids, **happened, **at))
        Dispute.record(session, transaction, DisputeState.OPEN, clock.move(minutes=1))
        session.flush()
        Dispute.record(session, transaction, DisputeState.WON, clock.move(minutes=1))
    told = show(guid)

    assert told_of(told) == [
        "created",
        "attempt_failed",
        "done_by_hand",
        "next_attempt",
        "event",
        "disputed",
        "disputed",
    ]
    by_hand, _, event, _, disputed = told["story"][2:]
    assert by_hand["detail"]["command"] == "retry" and "@" in by_hand["detail"]["actor"]
    assert event["detail"] == {"status": "failed", "id": "EV1", "occurred_at": occurred_at.isoformat()}
    assert disputed["detail"] == {"state": "won"}
    of_invoice = show(invoice)
    assert Counter(told_of(of_invoice)) == Counter([*told_of(told), "filed", "changed"])
    assert {entry["guid"] for entry in of_invoice["story"]} == {invoice, guid}


def test_an_invoice_tells_of_all_its_transactions(show: Show, api: Any, clock: FrozenClock) -> None:
    company = api.company()
    invoice, first = order(company, "/cards/stolen")
    clock.move(hours=1)
    company.put(f"/v1/invoices/{invoice}", {"funding_instrument_uri": "/cards/ok"})
    clock.move(hours=1)
    company.post(f"/v1/invoices/{invoice}/refund", {"amount": 300})
    refund, second, _ = (each["guid"] for each in company.get(f"/v1/invoices/{invoice}/transactions").json["items"])
    told = show(invoice)

    assert [(entry["what"], entry["guid"]) for entry in told["story"]] == [
        ("filed", invoice),
        ("created", first),
        ("attempt_failed", first),
        ("ended", first),
        ("created", second),
        ("answered", second),
        ("created", refund),
        ("answered", refund),
        ("changed", invoice),
    ]
    assert told["story"][-1]["detail"] == {"status": "settled"}
    assert told["story"][6]["detail"]["refund_of"] == second


def test_a_subscription_and_its_customer_plan_and_company_tell_theirs(
    show: Show, make: Factories, clock: FrozenClock, bystander: Bystander
) -> None:
    company = make.company(name="Acme", parked_count=1, parked_until=clock.now + timedelta(days=100))
    plan, customer = make.plan(company), make.customer(company, external_id="joe")
    subscription = make.subscription(company, customer=customer, plan=plan)
    invoices = []
    for _ in range(3):
        clock.move(months=1)
        invoices += [invoice.guid for invoice in make.filed(subscription)]
    assert len(invoices) == 4
    told = show(subscription.guid)

    assert told_of(told) == ["created", "started", *["filed"] * 4, "next_invoice"]
    assert [entry["guid"] for entry in told["story"]][2:6] == invoices
    assert told["story"][2]["detail"]["period"] == "2026-01-15T12:00:00+00:00"
    assert told["story"][-1]["at"] == "2026-05-15T12:00:00+00:00"
    assert not told["is_cut"]

    cut = show(subscription.guid, "--last", "2")
    assert [entry["guid"] for entry in cut["story"] if entry["what"] == "filed"] == invoices[2:]
    assert cut["is_cut"]
    assert [entry["guid"] for entry in show(customer.guid)["story"] if entry["what"] == "filed"] == invoices
    assert told_of(show(plan.guid)) == ["created", "created", "started", "next_invoice"]
    assert told_of(show(company.guid)) == ["created", "key_added", "parked_until"]


def test_a_run_tells_what_it_did(
    show: Show, billy: Billy, ini_file: Path, bill: Any, make: Factories, clock: FrozenClock
) -> None:
    make.subscription(make.company())
    bill()
    [newest] = json.loads(billy("status", ini_file, "--json").stdout)["runs"]
    told = show(newest["guid"])

    assert (told["kind"], told["company_guid"]) == ("run", None)
    assert sorted(told_of(told)) == ["ended", "started"]
    [ended] = (entry for entry in told["story"] if entry["what"] == "ended")
    assert ended["detail"] == {"filed": 1, "submitted": 1, "succeeded": 1}


def test_no_secret_is_shown(show: Show, make: Factories, vault: Vault) -> None:
    company = make.company(processor_key="sk_sesame", sealed_callback_secret=vault.seal("whsec_sesame"))
    told = show(company.guid)

    text = json.dumps(told)
    assert make.keys[company.guid] not in text and "sesame" not in text
    assert not any(sealed in text for sealed in company.sealed_secrets)
    assert set(told["facts"]) == {
        "guid",
        "name",
        "processor",
        "callback_base_url",
        "callback_registered_at",
        "parked_until",
        "parked_count",
        "created_at",
        "updated_at",
    }


def test_only_a_company_has_columns_whose_names_tell_of_secrets() -> None:
    named = re.compile("secret|key|token|password|hash")
    columns = {
        column.key for _, model in KINDS.values() for column in inspect(model).column_attrs if named.search(column.key)
    }
    # What names a submission at the processor is no secret: it stands in the processor's own records.
    assert {name for name in columns if not name.startswith(SEALED)} == {"submission_key"}


@pytest.mark.parametrize("prefix", KINDS)
def test_an_unknown_record_is_told(billy: Billy, ini_file: Path, prefix: str, bystander: Bystander) -> None:
    guid = f"{prefix}1111111111111111111111"
    result = billy("show", ini_file, guid)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: No such {KINDS[prefix][0]} {guid}\n"


@pytest.mark.parametrize("guid", ["XX1111111111111111111111", "nonsense", "TX", "", "tx1111111111111111111111"])
def test_what_is_no_guid_is_wrong_usage_and_the_kinds_are_named(billy: Billy, ini_file: Path, guid: str) -> None:
    result = billy("show", ini_file, guid)

    assert result.exit_code == 2
    assert "transaction (TX…)" in " ".join(result.stderr.split())


def test_a_guid_that_is_missing_is_told_so(billy: Billy, ini_file: Path) -> None:
    result = billy("show", ini_file)

    assert result.exit_code == 2
    assert f"a guid is missing after {ini_file}" in result.stderr


def test_the_help_names_all_that_may_happen() -> None:
    assert set(re.findall(r"\w+", (show_command.help or "").split("What may be:")[1])) == set(What)


def test_people_see_80_columns_without_what_a_terminal_would_obey(
    billy: Billy, ini_file: Path, api: Any, clock: FrozenClock, make: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice, transaction = order(api.company(), "/cards/declined", title="[/bold]\x1b[2J:smile: of\nJoe" * 3)
    result = billy("show", ini_file, invoice)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    for told in ("[/bold]�[2J:smile: of Joe", transaction, "amount 7.00", "(to come)", "attempt failed"):
        assert told in result.stdout
    monkeypatch.setenv("COLUMNS", "80")
    narrow = billy("show", ini_file, invoice).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    assert transaction in narrow


def test_it_changes_nothing_and_runs_as_a_process(ini_file: Path, bystander: Bystander) -> None:
    command = [sys.executable, "-m", "billy.scripts", "show", str(ini_file), bystander.invoice.guid, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["guid"] == bystander.invoice.guid
