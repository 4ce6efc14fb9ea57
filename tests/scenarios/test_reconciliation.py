"""Callbacks that never came: the processor is asked, and the books say what it says."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event, text

from billy.billing_run import reconcile_now
from billy.errors import Misconfigured, OutcomeUnknown, Unavailable
from billy.models import Company
from billy.processors.base import ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import SandboxProcessor
from billy.statements import claim_pending

BANK = "/bank_accounts/pending"

SUCCEEDED, FAILED = ReceiptStatus.SUCCEEDED, ReceiptStatus.FAILED


@pytest.fixture
def invoice(company):
    """An invoice whose charge is pending at the bank."""
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": BANK}
    return company.post("/v1/invoices", order).json


@pytest.fixture
def charge(company, invoice):
    """That charge."""
    return charge_of(company, invoice)


def charge_of(company, invoice):
    [charge] = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    return charge


def status_of(company, invoice):
    return company.get(f"/v1/invoices/{invoice['guid']}").json["status"]


def deliver(company, sandbox, body):
    [url] = [url for url in sandbox.callbacks("a-processor-key") if company.guid in url]
    return company.app.post(urlsplit(url).path, body, headers={"Content-Type": "application/json"}).json


@pytest.mark.parametrize(("ended", "status"), [(SUCCEEDED, "settled"), (FAILED, "failed")])
def test_a_lost_callback_costs_a_delay_and_nothing_else(company, invoice, charge, sandbox, bill, clock, ended, status):
    sandbox.settle(charge["processor_uri"], ended)  # nobody delivers it
    clock.move(hours=5)
    assert bill().asked == 0
    assert status_of(company, invoice) == "processing"
    clock.move(hours=2)
    summary = bill()
    assert (summary.asked, summary.repaired, summary.differing, summary.exit_code) == (1, 1, 0, 0)
    assert status_of(company, invoice) == status
    after = charge_of(company, invoice)
    assert (after["submit_status"], after["status"]) == ("done", ended)
    assert [failure["error_code"] for failure in after["failures"]] == (["returned"] if ended is FAILED else [])
    assert len(sandbox.sends()) == 1


def test_a_callback_that_comes_after_all_changes_nothing_more(company, invoice, charge, sandbox, bill, clock):
    body = sandbox.settle(charge["processor_uri"], FAILED)
    clock.move(hours=7)
    assert bill().repaired == 1
    before = charge_of(company, invoice)
    deliver(company, sandbox, body)
    after = charge_of(company, invoice)
    assert {**after, "updated_at": None} == {**before, "updated_at": None}
    assert status_of(company, invoice) == "failed"


def test_a_refund_that_ended_in_silence_is_found_too(company, sandbox, bill, clock):
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": "/cards/refund-pending"}
    invoice = company.post("/v1/invoices", order).json
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1000})
    [refund] = [each for each in sandbox.records() if each.type is SubmissionType.REFUND]
    sandbox.settle(refund.uri, FAILED)
    clock.move(hours=7)
    assert bill().repaired == 1
    # It gave nothing back, so all of it can be refunded again.
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1000})


def test_what_stays_pending_is_asked_about_less_and_less_often_but_never_forgotten(company, charge, bill, clock):
    asked_at = []
    for hour in range(1, 11 * 24):
        clock.move(hours=1)
        if bill().asked:
            asked_at.append(hour)
    pauses = [later - earlier for earlier, later in zip([0, *asked_at], asked_at, strict=False)]
    assert pauses[0] == 6
    assert pauses == sorted(pauses)
    assert 24 < pauses[-1] <= 30
    assert charge["status"] == "pending"


def test_asking_does_not_count_as_a_change(company, invoice, charge, bill, clock):
    clock.move(hours=7)
    assert bill().asked == 1
    assert charge_of(company, invoice) == charge


def test_many_are_asked_about_in_batches(company, sandbox, bill, clock):
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": BANK}
    invoices = [company.post("/v1/invoices", order).json for _ in range(20)]
    for record in sandbox.records():
        sandbox.settle(record.uri, SUCCEEDED)
    clock.move(hours=7)
    summary = bill()
    assert (summary.asked, summary.repaired) == (20, 20)
    assert {status_of(company, invoice) for invoice in invoices} == {"settled"}


def test_news_that_came_while_the_processor_was_asked_is_not_undone(
    company, invoice, charge, sandbox, bill, clock, monkeypatch
):
    """The answer was true when it was given; what a callback said meanwhile is newer."""
    sandbox.settle(charge["processor_uri"], SUCCEEDED)
    ask = SandboxProcessor.find_records

    def ask_slowly(self, submission, processor_uri):
        told = ask(self, submission, processor_uri)
        deliver(company, sandbox, sandbox.settle(processor_uri, FAILED))
        return told

    monkeypatch.setattr(SandboxProcessor, "find_records", ask_slowly)
    clock.move(hours=7)
    summary = bill()
    assert (summary.asked, summary.repaired) == (1, 0)
    assert status_of(company, invoice) == "failed"


def test_a_record_of_another_amount_is_reported_and_not_booked(company, invoice, charge, sandbox, bill, clock):
    sandbox.settle(charge["processor_uri"], SUCCEEDED)
    with sandbox._ledger.writing() as db:
        db.execute("UPDATE records SET amount = 999")
    clock.move(hours=7)
    summary = bill()
    assert (summary.repaired, summary.differing, summary.exit_code) == (0, 1, 1)
    assert status_of(company, invoice) == "processing"


def test_a_record_that_the_processor_lost_is_reported(company, invoice, charge, sandbox, bill, clock):
    with sandbox._ledger.writing() as db:
        db.execute("DELETE FROM records")
    clock.move(hours=7)
    summary = bill()
    assert (summary.differing, summary.exit_code) == (1, 1)
    assert charge_of(company, invoice) == charge


@pytest.mark.ini({"billy.sandbox.idempotent": "false"})
def test_a_second_charge_that_nobody_told_of_is_booked_and_reported_once(
    company, invoice, charge, sandbox, bill, clock
):
    key = sandbox.sends()[0].submission_key
    again = Submission(
        SubmissionType.DEBIT, key, charge["guid"], invoice["guid"], "/customers/1", 1000, BANK, None, None
    )
    second = sandbox("a-processor-key").submit(again)
    clock.move(hours=7)
    summary = bill()
    assert (summary.repaired, summary.differing, summary.exit_code) == (1, 1, 1)
    charges = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    assert {each["processor_uri"] for each in charges} == {charge["processor_uri"], second.processor_uri}
    clock.move(days=2)
    assert bill().differing == 0


@pytest.mark.parametrize("fault", [Unavailable("away"), OutcomeUnknown("silence")])
def test_while_the_processor_is_away_nothing_is_concluded(company, invoice, charge, sandbox, bill, clock, fault):
    sandbox.settle(charge["processor_uri"], SUCCEEDED)
    clock.move(hours=7)
    sandbox.fault = fault
    summary = bill()
    assert (summary.asked, summary.repaired, summary.exit_code) == (1, 0, 0)
    assert charge_of(company, invoice) == charge
    sandbox.fault = None
    clock.move(minutes=20)
    assert bill().repaired == 1


def test_a_processor_that_is_away_does_not_hold_a_run_up(company, sandbox, bill, clock):
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": BANK}
    for _ in range(20):
        company.post("/v1/invoices", order)
    clock.move(hours=7)
    sandbox.fault = Unavailable("away")
    assert bill().asked == 8, "one question for each thread, and then no more"
    sandbox.fault = None
    assert bill().asked == 12


def test_a_company_whose_key_is_refused_is_parked(company, charge, sandbox, bill, clock, session):
    clock.move(hours=7)
    sandbox.fault = Misconfigured("revoked")
    assert bill().parked == 1
    assert session.get_one(Company, company.guid).parked_until > clock.now


def test_an_adapter_that_crashes_is_an_error_of_the_run_and_not_its_end(company, charge, bill, clock, monkeypatch):
    def crash(self, submission, processor_uri):
        raise TypeError("a bug")

    monkeypatch.setattr(SandboxProcessor, "find_records", crash)
    clock.move(hours=7)
    summary = bill()
    assert (summary.asked, summary.errors, summary.exit_code) == (1, 1, 1)


def test_reconciling_looks_doubts_up_and_sends_nothing(company, sandbox, sessions, settings, submitter, clock):
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000}
    lost = company.post("/v1/invoices", {**order, "funding_instrument_uri": "/cards/lost-after-charge"}).json
    declined = company.post("/v1/invoices", {**order, "funding_instrument_uri": "/cards/declined-twice"}).json
    clock.move(hours=7)
    summary, differences = reconcile_now(sessions, settings, submitter, clock.now)
    assert (summary.succeeded, summary.submitted, differences) == (1, 1, [])
    assert (status_of(company, lost), status_of(company, declined)) == ("settled", "processing")
    assert len(sandbox.sends()) == 2


@pytest.mark.postgresql
def test_two_runs_at_once_do_not_ask_twice(company, charge, sessions, clock):
    clock.move(hours=7)
    ask = {"limit": 10, "pending_after": timedelta(hours=6)}
    with sessions() as first, sessions() as second:
        assert [row.guid for row in claim_pending(first, clock.now, **ask)] == [charge["guid"]]
        assert claim_pending(second, clock.now, **ask) == []
        first.commit()
        assert claim_pending(second, clock.now, **ask) == []


@pytest.mark.postgresql
def test_an_idle_run_reads_an_index_and_no_table_for_what_is_pending(sessions, clock):
    with sessions() as session:
        # The table is too small for it to matter: what has to be sorted was not read from the index.
        session.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"))
        asked = []

        def note(connection, cursor, statement, parameters, *rest):
            asked.append(cursor.mogrify(statement, parameters).decode())

        event.listen(session.get_bind(), "before_cursor_execute", note)
        claim_pending(session, clock.now, limit=100, pending_after=timedelta(hours=6))
        event.remove(session.get_bind(), "before_cursor_execute", note)
        [statement] = asked
        plan = "\n".join(session.connection().exec_driver_sql(f"EXPLAIN {statement}").scalars())
    assert "ix_transaction_pending" in plan
    assert "Seq Scan on transaction" not in plan


def test_the_longest_silent_come_first(company, charge, sessions, clock):
    customer = company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": BANK}
    clock.move(hours=1)
    company.post("/v1/invoices", order)
    clock.move(hours=7)
    with sessions() as session:
        [row] = claim_pending(session, clock.now, limit=1, pending_after=timedelta(hours=6))
    assert row.guid == charge["guid"]


def test_a_submission_is_asked_about_as_it_was_sent(company, charge, sandbox, bill, clock, monkeypatch):
    asked = []

    def note(self, submission, processor_uri):
        asked.append((submission, processor_uri))
        return []

    monkeypatch.setattr(SandboxProcessor, "find_records", note)
    clock.move(hours=7)
    bill()
    [(submission, processor_uri)] = asked
    assert processor_uri == charge["processor_uri"]
    [send] = sandbox.sends()
    assert (submission.key, submission.transaction_guid, submission.amount, submission.funding_instrument_uri) == (
        send.submission_key,
        send.transaction_guid,
        send.amount,
        send.instrument,
    )
