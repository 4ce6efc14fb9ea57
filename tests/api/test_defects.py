"""What the Billy of 2014 got wrong: one test at least for each, named after it, told as its users saw it.

The numbers are those of the list of defects that this server was written against. All of them are mended
but D19, which clients rely on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError
from webtest import TestApp

from billy import billing_run, schema
from billy.app import make_app
from billy.db import open_transactions
from billy.errors import InvalidFundingInstrument, Refused
from billy.guid import ALPHABET
from billy.models import Base, Company, Frequency, Invoice, Subscription, lock_invoice
from billy.models.invoice import new_invoice as invoice_values
from billy.processors.base import Receipt, ReceiptStatus, SubmissionType
from billy.processors.sandbox import SandboxProcessor
from billy.scripts.reset_api_key import reset_api_key
from billy.settings import Settings
from billy.submission import Processors, Submitter
from tests.api.steps import (
    invoice_now,
    invoices_of,
    listed,
    new_customer,
    new_invoice,
    new_plan,
    subscribe,
    transactions_of,
)
from tests.support.client import Api

KEPT = {19}
MENDED = set(range(1, 51)) - KEPT

CHECKOUT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
NO_IDEMPOTENCY = pytest.mark.ini({"billy.sandbox.idempotent": "false"})


def test_every_defect_has_a_test():
    tested = {int(match[1]) for name in globals() if (match := re.match(r"test_d(\d\d)_", name))}
    assert tested == MENDED | KEPT


@pytest.fixture
def ini_file(ini, tmp_path):
    """The settings in a file, for the commands."""
    path = tmp_path / "billy.ini"
    options = [f"{name} = {value.replace('%', '%%')}" for name, value in ini.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:billy", *options]))
    return path


def subscribe_later(company, clock, **params):
    """A subscription whose first invoice is due in an hour."""
    return subscribe(company, started_at=(clock.now + timedelta(hours=1)).isoformat(), **params)


def while_sending(monkeypatch, act):
    """Do something once, while the processor has a submission and has not answered yet."""
    submit, waiting = SandboxProcessor.submit, [act]

    def submit_meanwhile(self, submission):
        if waiting:
            waiting.pop()()
        return submit(self, submission)

    monkeypatch.setattr(SandboxProcessor, "submit", submit_meanwhile)


def refunds(sandbox):
    return [record for record in sandbox.records() if record.type is SubmissionType.REFUND]


# -- money and state ---------------------------------------------------------------------------------


def test_d01_canceling_an_invoice_leaves_all_other_invoices_charges_alone(company):
    canceled, *others = (new_invoice(company, card="/cards/declined") for _ in range(3))
    company.post(f"/v1/invoices/{canceled['guid']}/cancel")
    assert [each["submit_status"] for each in transactions_of(company, canceled)] == ["canceled"]
    for other in others:  # and another company's: the bystander's open charge is looked at by its fixture
        assert [each["submit_status"] for each in transactions_of(company, other)] == ["retrying"]


def test_d02_a_new_instrument_while_the_old_charge_is_pending_is_409_and_works_once_that_failed(company, settle):
    invoice = new_invoice(company, card="/cards/pending")
    path = f"/v1/invoices/{invoice['guid']}"
    company.put(path, {"funding_instrument_uri": "/cards/ok"}, status=409)
    [pending] = transactions_of(company, invoice)
    settle(company, pending, "failed")
    assert company.put(path, {"funding_instrument_uri": "/cards/ok"}).json["status"] == "settled"


def test_d02_a_new_instrument_after_several_failed_charges_is_no_500(company):
    invoice = new_invoice(company, card="/cards/stolen")
    for card in ("/cards/fails", "/cards/declined", "/cards/unreachable", "/cards/ok"):
        answer = company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": card})
    assert answer.json["status"] == "settled"


def test_d03_an_invoice_whose_money_is_moving_cannot_be_canceled_and_then_turn_out_paid(company, settle):
    invoice = new_invoice(company, card="/cards/pending")
    company.post(f"/v1/invoices/{invoice['guid']}/cancel", status=409)
    [pending] = transactions_of(company, invoice)
    settle(company, pending, "succeeded")
    assert invoice_now(company, invoice)["status"] == "settled"


def test_d04_a_second_refund_leaves_the_first_ones_link_to_its_charge_alone(company, bill, clock, sandbox):
    invoice = new_invoice(company, card="/cards/refund-declined-twice")
    for amount in (300, 200):
        company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": amount})
    assert [each["submit_status"] for each in transactions_of(company, invoice)[1:]] == ["retrying"] * 2
    for _ in range(2):
        clock.move(days=1)
        bill()
    charge, *_ = sandbox.charges()
    assert {refund.amount: refund.charge_uri for refund in refunds(sandbox)} == {300: charge.uri, 200: charge.uri}
    assert [each["status"] for each in transactions_of(company, invoice)] == ["succeeded"] * 3


def test_d05_an_invoice_whose_first_charge_bounced_is_refunded_from_its_second(company, settle, sandbox):
    invoice = new_invoice(company, card="/cards/pending")
    [bounced] = transactions_of(company, invoice)
    settle(company, bounced, "failed")
    company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1000})
    _, paid, _ = transactions_of(company, invoice)
    assert [refund.charge_uri for refund in refunds(sandbox)] == [paid["processor_uri"]]


def test_d05_what_cannot_be_refunded_is_400(company):
    [pay_out] = invoices_of(company, subscribe(company, plan=new_plan(company, plan_type="credit"), card="/cards/ok"))
    for invoice in (pay_out, new_invoice(company, amount=0)):
        assert invoice["status"] == "settled"
        answer = company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1}, status=400).json
        assert answer["error_class"] == "InvalidOperationError"
    company.post(f"/v1/invoices/{pay_out['guid']}/refund", {"amount": 0}, status=400)


def test_d06_a_refund_that_failed_at_the_processor_can_be_given_again(company, settle, sandbox):
    invoice = new_invoice(company, card="/cards/refund-pending")
    path = f"/v1/invoices/{invoice['guid']}/refund"
    company.post(path, {"amount": 1000})
    _, first = transactions_of(company, invoice)
    company.post(path, {"amount": 1}, status=400)
    settle(company, first, "failed")
    company.post(path, {"amount": 1000})
    _, _, second = transactions_of(company, invoice)
    settle(company, second, "succeeded")
    company.post(path, {"amount": 1}, status=400)
    assert [refund.status for refund in refunds(sandbox)] == ["failed", "succeeded"]


def test_d07_a_negative_effective_amount_is_refused_and_never_sent(company, sandbox):
    customer = new_customer(company)["guid"]
    sent = {"customer_guid": customer, "amount": 1000, "funding_instrument_uri": "/cards/ok"}
    company.post("/v1/invoices", {**sent, "adjustment_amount1": -2000}, status=400)
    company.post("/v1/invoices", json={**sent, "adjustments": [{"amount": -1001}]}, status=400)
    assert sandbox.sends() == company.get("/v1/invoices").json["items"] == []


def test_d07_adjustments_decide_what_is_charged(company, sandbox):
    assert new_invoice(company, card="/cards/ok", amount=1000, adjustment_amount1=-1000)["status"] == "settled"
    assert sandbox.sends() == [], "a charge of nothing must not be sent"
    fee = new_invoice(company, card="/cards/ok", amount=0, adjustment_amount1=500)
    assert (fee["status"], fee["effective_amount"]) == ("settled", 500)
    assert [charge.amount for charge in sandbox.charges()] == [500]
    unpaid = new_invoice(company, amount=0, adjustment_amount1=500)
    assert unpaid["status"] == "staged", "a fee must not be settled without a charge"


def test_d08_a_refund_of_nothing_is_refused(company, sandbox):
    invoice = new_invoice(company, card="/cards/ok")
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 0}, status=400)
    assert refunds(sandbox) == []


def test_d09_a_new_instrument_is_checked_with_the_processor_before_it_replaces_the_old_one(company):
    invoice = new_invoice(company, card="/cards/declined")
    before = transactions_of(company, invoice)
    path = f"/v1/invoices/{invoice['guid']}"
    answer = company.put(path, {"funding_instrument_uri": "/cards/not-found"}, status=400).json
    assert answer["error_class"] == "InvalidFundingInstrument"
    assert (invoice_now(company, invoice), transactions_of(company, invoice)) == (invoice, before)


def test_d09_an_invoice_of_a_deleted_customer_takes_no_new_instrument(company, sandbox):
    customer = new_customer(company)
    invoice = new_invoice(company, customer=customer)
    company.delete(f"/v1/customers/{customer['guid']}")
    answer = company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"}, status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert sandbox.sends() == []


def test_d10_a_deleted_customer_is_invoiced_and_charged_no_more(company, bill, clock, sandbox):
    customer = new_customer(company)
    subscription = subscribe(company, customer=customer, card="/cards/declined")
    company.delete(f"/v1/customers/{customer['guid']}")
    sent = len(sandbox.sends())
    clock.move(months=3)
    assert bill().filed == 0
    assert len(sandbox.sends()) == sent
    after = company.get(f"/v1/subscriptions/{subscription['guid']}").json
    assert (after["canceled"], after["invoice_count"]) == (True, 1)
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["failed"]
    assert [each["submit_status"] for each in transactions_of(company, subscription)] == ["canceled"]


def test_d10_a_charge_in_doubt_of_a_deleted_customer_is_looked_up_and_not_sent_again(
    company, bill, end_leases, sandbox
):
    customer = new_customer(company)
    lost, charged = (
        new_invoice(company, customer=customer, card=f"/cards/lost-{when}-charge") for when in ("before", "after")
    )
    company.delete(f"/v1/customers/{customer['guid']}")
    assert [invoice_now(company, each)["status"] for each in (lost, charged)] == ["processing"] * 2
    end_leases()
    bill()
    assert len(sandbox.sends()) == 2
    assert [invoice_now(company, each)["status"] for each in (lost, charged)] == ["failed", "settled"]


def test_d10_a_deleted_plan_takes_nobody_new_and_goes_on_for_the_others(company, bill, clock):
    plan = new_plan(company)
    subscription = subscribe(company, plan=plan)
    company.delete(f"/v1/plans/{plan['guid']}")
    sent = {"customer_guid": subscription["customer_guid"], "plan_guid": plan["guid"]}
    company.post("/v1/subscriptions", sent, status=400)
    clock.move(months=1)
    assert (bill().filed, len(invoices_of(company, subscription))) == (1, 2)


def test_d11_canceling_a_subscription_stops_what_comes_and_leaves_what_is_owed(company, bill, clock):
    kept, canceled = (subscribe(company, card="/cards/declined") for _ in range(2))
    company.post(f"/v1/subscriptions/{kept['guid']}/cancel")
    company.post(f"/v1/subscriptions/{canceled['guid']}/cancel", {"open_invoices": "true"})
    assert [each["submit_status"] for each in transactions_of(company, kept)] == ["retrying"]
    assert [each["submit_status"] for each in transactions_of(company, canceled)] == ["canceled"]
    clock.move(months=1)
    summary = bill()
    assert (summary.filed, summary.declined) == (0, 1), "what was filed stays owed, and is tried again"
    assert [invoice["status"] for invoice in invoices_of(company, canceled)] == ["canceled"]


def test_d12_what_the_api_says_it_did_is_in_the_database(company, sessions):
    subscription = subscribe(company)
    invoice = new_invoice(company)
    company.post(f"/v1/subscriptions/{subscription['guid']}/cancel")
    company.post(f"/v1/invoices/{invoice['guid']}/cancel")
    with sessions() as session:
        assert session.get_one(Subscription, (company.guid, subscription["guid"])).canceled_at is not None
        assert session.get_one(Invoice, (company.guid, invoice["guid"])).status == "canceled"


class Crash(BaseException):
    """The process dies."""


@NO_IDEMPOTENCY
@pytest.mark.ini({"billy.run.batch_size": 1})
def test_d13_a_crash_on_the_third_of_three_charges_leaves_the_first_two_recorded(
    company, bill, clock, sessions, settings, submitter, sandbox, end_leases, monkeypatch
):
    for _ in range(3):
        subscribe_later(company, clock)
    clock.move(hours=1)
    perform, begun, two_recorded = submitter.perform, [], threading.Event()

    def perform_and_crash(claim):
        begun.append(claim)
        if len(begun) < 3:
            return perform(claim)
        assert two_recorded.wait(30)
        perform(claim)
        raise Crash

    def tell(summary):
        if summary.succeeded == 2:
            two_recorded.set()

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(submitter, "perform", perform_and_crash)
        billing_run.run(sessions, settings, submitter, clock.now, progress=tell)
    assert len(sandbox.sends()) == 3
    assert Counter(each["status"] for each in listed(company, "/v1/transactions")) == {"succeeded": 2, None: 1}

    end_leases()
    assert bill().succeeded == 1
    assert len(sandbox.sends()) == 3, "the third is found at the processor, not charged again"


@NO_IDEMPOTENCY
def test_d14_a_second_run_submits_nothing_of_what_the_first_is_submitting(company, bill, clock, sandbox, monkeypatch):
    for _ in range(6):
        subscribe_later(company, clock)
    clock.move(hours=1)
    second = []
    while_sending(monkeypatch, lambda: second.append(bill()))
    assert bill().succeeded == 6
    assert [summary.submitted for summary in second] == [0]
    assert len(sandbox.sends()) == 6


def test_d14_a_state_that_was_read_before_the_lock_is_read_again(company, sessions):
    guid = new_invoice(company, card="/cards/declined")["guid"]
    with sessions() as session:
        invoice = session.get_one(Invoice, (company.guid, guid))
        assert (invoice.status, invoice.transactions[0].submit_status) == ("processing", "retrying")
        session.commit()  # and the record is still in the session as it was
        company.post(f"/v1/invoices/{guid}/cancel")
        lock_invoice(session, invoice)
        assert (invoice.status, invoice.transactions[0].submit_status) == ("canceled", "canceled")


@pytest.mark.postgresql  # on SQLite the second run waits until the first has filed everything
def test_d15_a_second_run_files_nothing_of_what_the_first_is_filing(company, bill, clock, monkeypatch):
    subscriptions = [subscribe_later(company, clock) for _ in range(3)]
    clock.move(hours=1)
    insert_filed, second = billing_run.insert_filed, []

    def insert_meanwhile(*args):
        if not second:
            second.append(pool.submit(bill))
            wait(second, timeout=30)
        insert_filed(*args)

    monkeypatch.setattr(billing_run, "insert_filed", insert_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        assert bill().filed == 3
    assert second[0].result().filed == 0
    assert [len(invoices_of(company, subscription)) for subscription in subscriptions] == [1, 1, 1]


def test_d15_the_database_refuses_a_second_invoice_for_one_period(company, clock, session):
    subscription = subscribe(company)
    values = invoice_values(
        clock.now,
        company_guid=company.guid,
        customer_guid=subscription["customer_guid"],
        subscription_guid=subscription["guid"],
        plan_guid=subscription["plan_guid"],
        scheduled_at=clock.now,
        amount=1000,
    )
    session.add(Invoice(**values))
    with pytest.raises(IntegrityError):
        session.flush()


@NO_IDEMPOTENCY
@pytest.mark.parametrize("submit", [subscribe, new_invoice])
def test_d16_a_run_in_the_middle_of_a_request_does_not_submit_its_charge_too(
    company, bill, sandbox, monkeypatch, submit
):
    during = []
    while_sending(monkeypatch, lambda: during.append(bill()))
    submit(company, card="/cards/ok")
    assert [summary.submitted for summary in during] == [0]
    assert len(sandbox.sends()) == 1
    assert bill().submitted == 0


def test_d17_one_bad_row_does_not_keep_the_others_from_being_billed(api, company, bill, clock, make):
    bad = api.company()
    plan = make.plan(bad, frequency=Frequency.YEARLY, interval=1_000_000)  # its second date is beyond the calendar
    make.subscription(bad, plan=plan, customer=make.customer(bad))
    broken, sound = (subscribe_later(company, clock, card=card) for card in ("/cards/bug", "/cards/ok"))
    clock.move(hours=1)
    summary = bill()
    assert (summary.filed, summary.errors, summary.exit_code) == (2, 2, 1)
    assert [invoice["status"] for invoice in invoices_of(company, sound)] == ["settled"]
    assert [invoice["status"] for invoice in invoices_of(company, broken)] == ["processing"]


def test_d18_a_declined_card_is_not_tried_again_with_every_run(company, bill, clock, sandbox):
    subscription = subscribe(company, card="/cards/declined")
    for _ in range(10):
        clock.move(minutes=1)
        assert bill().submitted == 0
    [failure] = transactions_of(company, subscription)[0]["failures"]
    assert (failure["error_code"], failure["error_number"]) == ("insufficient-funds", 402)
    clock.move(hours=1)
    assert bill().declined == 1
    assert len(sandbox.sends()) == 2


def test_d18_a_stolen_card_is_not_tried_again_at_all(company, bill, clock, sandbox):
    invoice = new_invoice(company, card="/cards/stolen")
    assert invoice["status"] == "failed"
    clock.move(months=1)
    assert bill().submitted == 0
    assert len(sandbox.sends()) == 1


@pytest.mark.ini({"billy.transaction.maximum_retry": 2})
def test_d19_a_maximum_retry_of_two_still_means_three_attempts(company, bill, clock, sandbox):
    invoice = new_invoice(company, card="/cards/declined")
    seen = [invoice["status"]]
    for _ in range(3):
        clock.move(days=7)
        bill()
        seen.append(invoice_now(company, invoice)["status"])
    assert seen == ["processing", "processing", "failed", "failed"]
    assert len(sandbox.sends()) == transactions_of(company, invoice)[0]["failure_count"] == 3


def test_d20_a_late_event_of_a_superseded_charge_does_not_overwrite_the_invoice(company, settle):
    invoice = new_invoice(company, card="/cards/pending")
    [old] = transactions_of(company, invoice)
    settle(company, old, "failed")
    company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
    settle(company, old, "failed")
    now = invoice_now(company, invoice)
    assert (now["status"], now["overpaid"]) == ("settled", False)
    settle(company, old, "succeeded")
    now = invoice_now(company, invoice)
    assert (now["status"], now["overpaid"]) == ("settled", True), "a double payment must be seen"
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1000})
    assert not invoice_now(company, invoice)["overpaid"]


def test_d20_a_late_success_of_a_superseded_charge_settles_an_invoice_that_nothing_else_paid(company, settle):
    invoice = new_invoice(company, card="/cards/pending")
    [old] = transactions_of(company, invoice)
    settle(company, old, "failed")
    for card, now in {"/cards/stolen": "failed", "/cards/declined": "processing"}.items():
        assert company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": card}).json["status"] == now
    settle(company, old, "succeeded")
    now = invoice_now(company, invoice)
    assert (now["status"], now["overpaid"]) == ("settled", False)
    assert [each["submit_status"] for each in transactions_of(company, invoice)] == ["done", "failed", "canceled"]


def test_d21_an_event_that_overtakes_the_answer_is_not_undone_by_it(company, call_back, sandbox, monkeypatch):
    submit = SandboxProcessor.submit

    def submit_and_tell_first(self, submission):
        receipt = submit(self, submission)
        assert receipt.status == "pending"
        assert call_back(company, sandbox.settle(receipt.processor_uri, "succeeded")).json == {"code": "ok"}
        return receipt

    monkeypatch.setattr(SandboxProcessor, "submit", submit_and_tell_first)
    invoice = new_invoice(company, card="/cards/pending")
    assert invoice["status"] == "settled"
    assert [each["status"] for each in transactions_of(company, invoice)] == ["succeeded"]


def test_d21_two_events_of_the_same_instant_both_count(company, settle, clock):
    invoice = new_invoice(company, card="/cards/pending")
    [transaction] = transactions_of(company, invoice)
    for status, invoice_status in {"succeeded": "settled", "failed": "failed"}.items():
        assert settle(company, transaction, status) == {"code": "ok"}
        assert invoice_now(company, invoice)["status"] == invoice_status


def test_d22_only_a_taken_external_id_is_called_a_duplicate(company, monkeypatch):
    plan = new_plan(company)
    sent = {"plan_type": "debit", "frequency": "daily", "amount": 500, "external_id": "new"}
    with monkeypatch.context() as patch:
        patch.setattr("billy.api.request.new_guid", lambda prefix, now: plan["guid"])
        assert company.post("/v1/plans", sent, status=500).json["error_class"] == "InternalServerError"
    assert company.post("/v1/plans", sent).json["external_id"] == "new"


def test_d22_after_a_duplicate_nothing_is_left_half_done(company):
    customer = new_customer(company)
    new_invoice(company, customer=customer, external_id="1")
    sent = {"customer_guid": customer["guid"], "amount": 5, "external_id": "1", "item_name1": "x", "item_amount1": 5}
    company.post("/v1/invoices", sent, status=409)
    assert company.post("/v1/invoices", {**sent, "external_id": "2"}).json["items"]
    assert len(company.get("/v1/invoices").json["items"]) == 2


def test_d23_every_change_of_a_record_moves_its_updated_at(company, bill, clock, settle):
    plan, customer, other = new_plan(company), new_customer(company), new_customer(company)
    subscription = subscribe(company, plan=plan, customer=customer)
    charged, canceled, deleted = (
        new_invoice(company, customer=each, card="/cards/declined") for each in (customer, customer, other)
    )
    pending = new_invoice(company, customer=customer, card="/cards/pending")
    by_invoice = {
        invoice["guid"]: transactions_of(company, invoice)[0] for invoice in (charged, canceled, deleted, pending)
    }

    def path(noun, record):
        return f"/v1/{noun}/{record['guid']}"

    changes = [
        ("subscription PUT", lambda: company.put(path("subscriptions", subscription), {"amount": 900})),
        ("invoice PUT", lambda: company.put(path("invoices", charged), {"funding_instrument_uri": "/cards/ok"})),
        ("refund", lambda: company.post(f"{path('invoices', charged)}/refund", {"amount": 1})),
        ("invoice cancel", lambda: company.post(f"{path('invoices', canceled)}/cancel")),
        ("callback", lambda: settle(company, by_invoice[pending["guid"]], "succeeded")),
        ("run", lambda: (clock.move(months=1), bill())),
        ("subscription cancel", lambda: company.post(f"{path('subscriptions', subscription)}/cancel")),
        ("plan delete", lambda: company.delete(path("plans", plan))),
        ("customer delete", lambda: company.delete(path("customers", other))),
    ]
    moved = {}
    for name, change in changes:
        before = everything(company)
        clock.move(minutes=1)
        change()
        after = everything(company)
        differing = {guid for guid, record in after.items() if guid in before and record != before[guid]}
        moved[name] = sorted(guid[:2] for guid in differing)
        assert {after[guid]["updated_at"] for guid in differing} == {clock.now.isoformat()}, name
    assert moved == {
        "subscription PUT": ["SU"],
        "invoice PUT": ["IV", "TX"],
        "refund": ["IV"],
        "invoice cancel": ["IV", "TX"],
        "callback": ["IV", "TX"],
        "run": ["SU", "TX"],
        "subscription cancel": ["SU"],
        "plan delete": ["PL"],
        "customer delete": ["CU", "IV", "TX"],
    }


def everything(company):
    nouns = ("plans", "customers", "subscriptions", "invoices", "transactions")
    return {record["guid"]: record for noun in nouns for record in listed(company, f"/v1/{noun}")}


def test_d24_filing_for_one_subscription_files_for_no_other(company, bill, clock):
    due = [subscribe_later(company, clock) for _ in range(2)]
    clock.move(hours=1)
    subscribe_later(company, clock)
    subscribe(company)
    assert [invoices_of(company, subscription) for subscription in due] == [[], []]
    assert bill().filed == 2


def test_d25_after_an_outage_each_missed_period_is_filed_once_with_its_own_date(company, bill, clock):
    subscription = subscribe(company, plan=new_plan(company, frequency="daily"))
    clock.move(days=5)
    assert (bill().filed, bill().filed) == (5, 0)
    days = [invoice["scheduled_at"][:10] for invoice in invoices_of(company, subscription)]
    assert days == [f"2026-01-{day}" for day in range(15, 21)]
    assert company.get(f"/v1/subscriptions/{subscription['guid']}").json["invoice_count"] == 6


# -- lists and validation ----------------------------------------------------------------------------


def test_d26_a_customers_lists_hold_what_his_subscriptions_made(company):
    customer = new_customer(company)
    subscription = subscribe(company, customer=customer)
    invoice = new_invoice(company, customer=customer, card="/cards/ok")
    path = f"/v1/customers/{customer['guid']}"
    assert listed(company, f"{path}/invoices") == [*invoices_of(company, subscription), invoice]
    assert listed(company, f"{path}/transactions") == [
        *transactions_of(company, subscription),
        *transactions_of(company, invoice),
    ]
    assert listed(company, f"{path}/invoices", invoice_type="customer") == [invoice]


def test_d27_a_plans_customers_are_listed_once_each_and_in_full_pages(company):
    plan, first, second = new_plan(company), new_customer(company), new_customer(company)
    for customer in (first, second, first, first):
        subscribe(company, plan=plan, customer=customer)
    path = f"/v1/plans/{plan['guid']}/customers"
    pages = [company.get(path, {"offset": offset, "limit": 1}).json["items"] for offset in range(3)]
    assert pages == [[second], [first], []]
    assert company.get(path, {"limit": 3}).json["items"] == [second, first]


def test_d28_records_of_the_same_instant_are_paged_without_repeats_or_gaps(company):
    made = [new_plan(company)["guid"] for _ in range(7)]
    pages = [company.get("/v1/plans", {"offset": offset, "limit": 2}).json["items"] for offset in range(0, 8, 2)]
    assert [plan["guid"] for page in pages for plan in page] == made[::-1]


def test_d29_a_limit_or_offset_that_is_junk_is_400(company):
    for query in ("limit=abc", "limit=", "limit=-1", "limit=0", "offset=abc", "offset=", "offset=-1"):
        answer = company.get(f"/v1/customers?{query}", status=400).json
        assert list(answer["errors"]) == [query.partition("=")[0]]
    assert company.get("/v1/customers?limit=1000000").json["limit"] == 1000


def test_d30_a_filter_that_a_list_does_not_have_is_400_and_those_it_has_work(company):
    for noun in ("plans", "subscriptions", "invoices"):
        assert list(company.get(f"/v1/{noun}?processor_uri=x", status=400).json["errors"]) == ["processor_uri"]
    assert list(company.get("/v1/transactions?external_id=x", status=400).json["errors"]) == ["external_id"]
    invoice = new_invoice(company, external_id="x")
    path = f"/v1/customers/{invoice['customer_guid']}/invoices"
    assert company.get(path, {"external_id": "x"}).json["items"] == [invoice]


def test_d31_a_nested_list_answers_to_get_only(company):
    subscription = subscribe(company)
    [invoice] = invoices_of(company, subscription)
    customer = f"customers/{subscription['customer_guid']}"
    lists = [
        *(f"{customer}/{noun}" for noun in ("subscriptions", "invoices", "transactions")),
        *(f"plans/{subscription['plan_guid']}/{noun}" for noun in ("customers", "invoices", "transactions")),
        *(f"subscriptions/{subscription['guid']}/{noun}" for noun in ("invoices", "transactions")),
        f"invoices/{invoice['guid']}/transactions",
    ]
    for path in lists:
        for method in ("POST", "PUT", "DELETE"):
            assert company.request(method, f"/v1/{path}", status=405).headers["Allow"] == "GET, HEAD"


def test_d32_items_and_adjustments_are_checked(company):
    good = {"customer_guid": new_customer(company)["guid"], "amount": 1000}
    bad = [
        {"item_name1": "x"},
        {"item_amount1": 1},
        {"item_name1": "x", "item_amount1": "abc"},
        {"item_name1": "", "item_amount1": 1},
        {"item_name1": "n" * 129, "item_amount1": 1},
        {"adjustment_amount1": "abc"},
        {"adjustment_reason1": "x"},
        {"adjustment_amount1": 1, "adjustment_reason1": "r" * 129},
    ]
    for lines in bad:
        assert company.post("/v1/invoices", {**good, **lines}, status=400).json["errors"]
    assert company.get("/v1/invoices").json["items"] == []


def test_d33_the_documented_spellings_are_read(company, sandbox):
    lines = {
        "adjustments_amount1": -100,
        "adjustments_reason1": "Coupon",
        "items_name1": "Hosting",
        "items_amount1": 1000,
        "items_quanity1": 2,
    }
    invoice = new_invoice(company, card="/cards/ok", **lines)
    assert invoice["adjustments"] == [{"amount": -100, "reason": "Coupon"}]
    assert (invoice["items"][0]["name"], invoice["items"][0]["quantity"]) == ("Hosting", 2)
    assert [charge.amount for charge in sandbox.charges()] == [900], "a discount that is dropped overcharges"


def test_d34_what_is_too_long_or_too_large_is_400_and_no_500(api, company, bystander):
    customer, plan = new_customer(company)["guid"], new_plan(company)["guid"]
    long, large = "/" + "x" * 128, 10**15
    both = {"customer_guid": customer, "plan_guid": plan}
    api.anonymous.post("/v1/companies", {"processor_key": "k" * 256}, status=400)
    company.post("/v1/customers", {"processor_uri": long}, status=400)
    company.post("/v1/subscriptions", {**both, "funding_instrument_uri": long}, status=400)
    company.post("/v1/subscriptions", {**both, "amount": large}, status=400)
    company.post("/v1/invoices", {**both, "amount": 5, "funding_instrument_uri": long}, status=400)
    company.post("/v1/invoices", {**both, "amount": 5, "external_id": long}, status=400)
    company.post("/v1/invoices", {**both, "amount": large}, status=400)
    company.post("/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": large}, status=400)


def test_d34_what_a_32_bit_integer_could_not_hold_is_billed(company, sandbox):
    assert new_invoice(company, amount=2**31, card="/cards/ok")["amount"] == 2**31
    assert [charge.amount for charge in sandbox.charges()] == [2**31]


def test_d35_a_newline_at_the_end_of_a_statement_is_refused(company):
    customer, plan = new_customer(company)["guid"], new_plan(company)["guid"]
    sent = {"customer_guid": customer, "plan_guid": plan, "amount": 500, "appears_on_statement_as": "abc\n"}
    for noun in ("subscriptions", "invoices"):
        assert list(company.post(f"/v1/{noun}", sent, status=400).json["errors"]) == ["appears_on_statement_as"]


def test_d36_strange_dates_and_intervals_are_400_and_a_date_alone_is_midnight(company):
    sent = {"customer_guid": new_customer(company)["guid"], "plan_guid": new_plan(company)["guid"]}
    strange = [
        "tomorrow",
        "1893456000",
        "2030",
        "2030-001",
        "2030-W01-1",
        "2030-02-30",
        "0000-01-01",
        "20300101T000000Z",
        "2030-13-01T00:00:00",
        "2030-01-01T25:00:00",
        "2030-01-01T00:00:00+99:00",
        "2030-01-01T00:00:00Zjunk",
        "9999-12-31T23:59:59-01:00",
    ]
    for started_at in strange:
        answer = company.post("/v1/subscriptions", {**sent, "started_at": started_at}, status=400).json
        assert list(answer["errors"]) == ["started_at"]
    midnight = company.post("/v1/subscriptions", {**sent, "started_at": "2030-01-01"}).json["started_at"]
    assert midnight == "2030-01-01T00:00:00+00:00"
    plan = {"plan_type": "debit", "frequency": "yearly", "amount": 500, "interval": 10_000}
    assert list(company.post("/v1/plans", plan, status=400).json["errors"]) == ["interval"]


def test_d36_a_start_that_passes_while_the_request_is_under_way_is_no_500(company, clock, monkeypatch):
    monkeypatch.setattr(
        SandboxProcessor, "validate_funding_instrument", lambda self, uri, purpose, customer_uri: clock.move(seconds=2)
    )
    subscription = subscribe(company, started_at=(clock.now + timedelta(seconds=1)).isoformat())
    assert subscription["invoice_count"] == 1


def test_d36_the_longest_intervals_are_billed_without_leaving_the_calendar(company):
    for frequency, interval in {"daily": 36_525, "weekly": 5_217, "monthly": 1_200, "yearly": 100}.items():
        plan = new_plan(company, frequency=frequency, interval=interval)
        assert subscribe(company, plan=plan)["next_invoice_at"].startswith(("2125-12", "2126-01"))


def test_d37_a_wrong_choice_or_number_is_called_that_and_not_missing(company):
    sent = {"plan_type": "charge", "frequency": "hourly", "amount": "5.00"}
    assert company.post("/v1/plans", sent, status=400).json["errors"] == {
        "plan_type": ["Not a valid choice, must be one of debit, credit"],
        "frequency": ["Not a valid choice, must be one of daily, weekly, monthly, yearly"],
        "amount": ["Not a valid integer value"],
    }


def test_d38_errors_are_json_and_tell_a_missing_key_from_a_missing_record_and_a_wrong_method(api, company):
    guid = new_customer(company)["guid"]
    stranger = api.company()
    browser = {"Accept": "text/html,*/*"}
    answers = [
        api.anonymous.get(f"/v1/customers/{guid}", headers=browser, status=401),
        api.anonymous.get("/v1/customers/CU" + "1" * 22, headers=browser, status=401),
        stranger.get(f"/v1/customers/{guid}", headers=browser, status=404),
        company.request("PATCH", f"/v1/customers/{guid}", headers=browser, status=405),
        company.post("/v1/plans", {"amount": "x"}, headers=browser, status=400),
    ]
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert {"error_class", "error_message"} <= answer.json.keys()
    assert answers[0].json["error_message"] == answers[1].json["error_message"]
    assert "WWW-Authenticate" in answers[0].headers


def test_d39_a_list_of_twenty_costs_as_few_queries_as_a_list_of_one(company, statements):
    plan, customer = new_plan(company), new_customer(company)
    counts = []
    for more in (1, 19):
        for number in range(more):
            subscribe(company, plan=plan, customer=customer, card="/cards/declined")
            new_invoice(company, customer=customer, adjustment_amount1=number)
        with statements() as seen:
            sizes = [
                len(company.get(f"/v1/{noun}", {"limit": 20}).json["items"])
                for noun in ("subscriptions", "invoices", "transactions")
            ]
        counts.append(len(seen))
    assert sizes == [20, 20, 20]
    assert counts[0] == counts[1] <= 3 * 3


# -- security and operation --------------------------------------------------------------------------


@pytest.mark.ini({"api.allowed_origins": "\nhttp://localhost"})
def test_d40_an_origin_must_be_allowed_to_the_letter(api, company):
    headers = {"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}
    assert api.anonymous.request("OPTIONS", "/v1/plans", headers=headers, status=204).headers["Vary"] == "Origin"
    for origin in ("http://localhost.evil.example", "http://localhost:80", "https://evil.example"):
        answer = company.get("/v1/plans", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(1, marks=pytest.mark.ini({"api.json.pretty_print": "false"})),
        pytest.param(6, marks=pytest.mark.ini({"api.json.pretty_print": "true"})),
    ],
)
def test_d41_false_is_false(company, lines):
    assert len(company.get("/v1/plans").text.strip().splitlines()) == lines


def test_d42_what_changes_something_takes_its_parameters_from_the_body(company):
    query = "plan_type=debit&frequency=daily&amount=500"
    company.post(f"/v1/plans?{query}", status=400)
    body = {"plan_type": "credit", "frequency": "weekly", "amount": 600}
    for send in ({"params": body}, {"json": body}):
        plan = company.request("POST", f"/v1/plans?{query}", **send).json
        assert {name: plan[name] for name in body} == body


def test_d43_the_database_holds_no_key_in_clear(company, callback_path, engine):
    secrets = [company.api_key, "a-processor-key", callback_path(company).rstrip("/").rpartition("/")[2]]
    with engine.connect() as connection:
        stored = [
            str(row)
            for table in Base.metadata.sorted_tables
            for row in connection.execute(table.select()).mappings()
            if company.guid in str(row)
        ]
    assert len(stored) == 2, "the company and its key"
    assert [secret for secret in secrets for row in stored if secret in row] == []


def test_d43_a_guid_tells_the_time_but_no_mac_address(company):
    for record in (company.record, new_plan(company), new_customer(company)):
        number = 0
        for digit in record["guid"][2:]:
            number = number * 58 + ALPHABET.index(digit)
        assert uuid.UUID(int=number).version == 7


def test_d43_a_lost_api_key_is_replaced_on_the_command_line(api, company, ini_file):
    result = CliRunner().invoke(reset_api_key, [str(ini_file), company.guid], catch_exceptions=False)
    [key] = re.findall(r"^api_key: (\w+)$", result.output, re.MULTILINE)
    company.get("/v1/plans", status=401)
    assert api.client(key).get(f"/v1/companies/{company.guid}").json["api_key"] == key


def test_d44_a_callback_that_is_broken_is_400_and_one_that_is_repeated_is_200(company, call_back, sandbox):
    [transaction] = transactions_of(company, new_invoice(company, card="/cards/pending"))
    for body in (b"not json", b"{}", b"[]", b'{"id": "EVforged"}'):
        assert call_back(company, body, status=400).json["error_class"] == "InvalidCallbackPayload"
    body = sandbox.settle(transaction["processor_uri"], "succeeded")
    assert [call_back(company, body).json["code"] for _ in range(3)] == ["ok", "ignore", "ignore"]


@contextmanager
def serving(settings, processor_factory):
    """The API with a processor of the test's own."""
    wsgi = make_app(settings, processor_factory=processor_factory)
    try:
        yield Api(TestApp(wsgi))
    finally:
        wsgi.registry["billy.engine"].dispose()


class Watching:
    """A processor factory that notes how many database transactions are open at each call."""

    def __init__(self, factory, before=lambda name: None):
        self.name = factory.name
        self._factory = factory
        self._before = before
        self.open = {}

    def __call__(self, processor_key):
        adapter = self._factory(processor_key)
        watching = self

        class Adapter:
            def __getattr__(self, name):
                def call(*args, **options):
                    watching._before(name)
                    watching.open.setdefault(name, set()).add(open_transactions())
                    return getattr(adapter, name)(*args, **options)

                return call

        return Adapter()


def test_d45_no_database_transaction_is_open_while_the_processor_is_asked(
    settings, sandbox, vault, sessions, clock, bystander, end_leases
):
    watching = Watching(sandbox)
    submitter = Submitter(settings, Processors(watching, vault))
    with serving(settings, watching) as api:
        company = api.company()
        [url] = sandbox.callbacks("a-processor-key")
        customer = new_customer(company, processor_uri="/customers/CU1")
        new_customer(company)
        invoice = new_invoice(company, customer=customer, card="/cards/pending")
        [transaction] = transactions_of(company, invoice)
        body = sandbox.settle(transaction["processor_uri"], "succeeded")
        api.anonymous.post(url[url.index("/v1") :], body=body, headers=JSON)
        company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 5})
        unpaid = new_invoice(company, customer=customer, card="/cards/lost-after-charge")
        subscription = subscribe(company, customer=customer)
        company.put(f"/v1/subscriptions/{subscription['guid']}", {"funding_instrument_uri": "/cards/new"})
        new_invoice(company, customer=customer, card="/bank_accounts/pending")
        end_leases()
        clock.move(months=1)
        assert billing_run.run(sessions, settings, submitter, clock.now).succeeded == 2
        assert invoice_now(company, unpaid)["status"] == "settled"
    assert watching.open == {
        name: {0}
        for name in (
            "create_customer",
            "validate_customer",
            "validate_funding_instrument",
            "submit",
            "look_up",
            "find_records",
            "register_callback",
            "read_callback",
        )
    }


def test_d45_a_company_is_saved_before_its_callback_is_registered(settings, sandbox, sessions, clock, bystander):
    saved = []

    def count_companies(name):
        with sessions() as session:
            saved.append((name, len(session.scalars(select(Company)).all())))

    with serving(settings, Watching(sandbox, before=count_companies)) as api:
        api.company()
    assert saved == [("register_callback", 2)], "a callback without its company would call back for nobody"


class CashOptions(BaseModel, extra="forbid"):
    till: str = "none"


class Cash:
    """A processor that owes nothing to those that Billy brings along."""

    name = "cash"
    options = CashOptions

    def __init__(self, options, *, call_deadline):
        self.till = options.till

    def __call__(self, processor_key):
        return self

    def create_customer(self, customer_guid, *, is_first_try=False):
        return f"cash:{customer_guid}"

    def validate_customer(self, uri):
        pass

    def validate_funding_instrument(self, uri, purpose, customer_uri):
        if uri != "coins":
            raise InvalidFundingInstrument("We take coins only")

    def submit(self, submission):
        if submission.amount > 100:
            raise Refused("No change for that", code="no-change", hard=True)
        return Receipt(f"{self.till}:{submission.transaction_guid}", ReceiptStatus.SUCCEEDED)

    def look_up(self, submission):
        return None

    def register_callback(self, url):
        pass

    def read_callback(self, body, headers):
        return None


def test_d46_a_processor_of_ones_own_needs_nothing_of_billys(ini, clock, bystander):
    settings = Settings.load({**ini, "billy.processor_factory": Cash, "billy.cash.till": "till-7"})
    with serving(settings, settings.make_processor_factory()) as api:
        company = api.company(processor_key="any")
        assert new_customer(company)["processor_uri"].startswith("cash:CU")
        paid = new_invoice(company, amount=100, card="coins")
        assert transactions_of(company, paid)[0]["processor_uri"].startswith("till-7:TX")
        refused = new_invoice(company, amount=101, card="coins")
        assert (paid["status"], refused["status"]) == ("settled", "failed")
        assert transactions_of(company, refused)[0]["failures"][0]["error_code"] == "no-change"
        answer = company.post(
            "/v1/invoices",
            {"customer_guid": paid["customer_guid"], "amount": 5, "funding_instrument_uri": "notes"},
            status=400,
        ).json
        assert answer["error_message"] == "We take coins only"


def test_d47_an_expired_card_is_replaced_without_a_new_subscription(company, bill, clock):
    subscription = subscribe(company, card="/cards/declined")
    path = f"/v1/subscriptions/{subscription['guid']}"
    company.put(path, {"funding_instrument_uri": "/cards/new", "open_invoices": "true"})
    bill()
    clock.move(months=1)
    bill()
    paid = [(each["status"], each["funding_instrument_uri"]) for each in invoices_of(company, subscription)]
    assert paid == [("settled", "/cards/new")] * 2


def test_d48_the_migrations_alone_make_every_table(engine):
    # The test's database was made by them; a test in tests/migrations compares it with the models to the letter.
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    with engine.connect() as connection:
        assert schema.current_revision(connection) == schema.head_revision()
    sources = [*(CHECKOUT / "billy").rglob("*.py"), *(CHECKOUT / "alembic").rglob("*.py")]
    assert [path.name for path in sources if "create_all(" in path.read_text()] == []


def test_d49_the_index_costs_a_stranger_no_query_and_tells_him_nothing(api, company, statements):
    new_invoice(company, card="/cards/ok")
    with statements() as seen:
        assert api.anonymous.get("/").json["last_transaction_created_at"] is None
    assert seen == []
    with statements() as seen:
        assert company.get("/").json["last_transaction_created_at"]
    assert len(seen) == 2
    assert "ORDER BY transaction.created_at" not in " ".join(seen).replace('"', "")


@pytest.mark.parametrize(
    ("cards", "exit_code", "counts"),
    [
        (["ok", "declined"], 0, {"filed": 2, "succeeded": 1, "declined": 1, "retrying": 1, "errors": 0}),
        (["ok", "bug"], 1, {"filed": 2, "succeeded": 1, "declined": 0, "retrying": 1, "errors": 1}),
    ],
)
def test_d50_a_run_tells_what_it_did_and_whether_it_needs_a_person(ini_file, make, cards, exit_code, counts):
    company = make.company()
    started_at = datetime.now(UTC) - timedelta(minutes=1)  # the process reads the real clock
    for card in cards:
        make.subscription(company, started_at=started_at, funding_instrument_uri=f"/cards/{card}")
    command = [sys.executable, "-m", "billy.scripts", "process-transactions", str(ini_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=CHECKOUT)
    assert done.returncode == exit_code, done.stderr
    [line] = done.stdout.splitlines()
    assert {name: json.loads(line)[name] for name in counts} == counts
