"""/v1/subscriptions"""

from __future__ import annotations

import string
from datetime import timedelta

import pytest

from billy.errors import Unavailable
from tests.api.shapes import SUBSCRIPTION, SUBSCRIPTION_INVOICE, TRANSACTION, mistakes
from tests.api.steps import (
    MISSING,
    invoice_now,
    invoices_of,
    new_customer,
    new_plan,
    refusals,
    subscribe,
    transactions_of,
)

STATEMENT_ERROR = "Field can only hold printable ASCII characters, but no asterisk, comma or slash"


@pytest.fixture
def good(company):
    """The required parameters."""
    return {"customer_guid": new_customer(company)["guid"], "plan_guid": new_plan(company)["guid"]}


# -- create ------------------------------------------------------------------------------------------


def test_a_subscription_answers_every_documented_field(company, good, clock):
    subscription = company.post("/v1/subscriptions", good).json
    assert mistakes(SUBSCRIPTION, subscription) == {}
    assert {name: subscription[name] for name in good} == good
    assert (subscription["amount"], subscription["effective_amount"]) == (None, 1000)
    assert (subscription["canceled"], subscription["canceled_at"]) == (False, None)
    assert subscription["started_at"] == subscription["created_at"] == clock.now.isoformat()
    assert subscription["next_invoice_at"] == "2026-02-15T12:00:00+00:00"
    assert subscription["invoice_count"] == 1
    assert company.get(f"/v1/subscriptions/{subscription['guid']}").json == subscription


@pytest.mark.parametrize("send", ["params", "json"])
def test_a_subscription_keeps_everything_that_was_said_of_it(company, good, send):
    sent = {
        **good,
        "funding_instrument_uri": "/cards/ok",
        "amount": 50,
        "appears_on_statement_as": "Billy's (test)",
        "external_id": "order 1",
    }
    subscription = company.request("POST", "/v1/subscriptions", **{send: sent}).json
    assert {name: subscription[name] for name in sent} == sent
    assert subscription["effective_amount"] == 50


def test_the_first_invoice_is_filed_and_charged_in_the_request(company, clock, sandbox):
    subscription = subscribe(company, appears_on_statement_as="Hosting", amount=700)
    [invoice] = invoices_of(company, subscription)
    [transaction] = transactions_of(company, subscription)
    assert mistakes(SUBSCRIPTION_INVOICE, invoice) == {}
    assert mistakes(TRANSACTION, transaction) == {}
    assert invoice["status"] == "settled"
    assert invoice["scheduled_at"] == subscription["started_at"]
    assert (invoice["subscription_guid"], invoice["customer_guid"]) == (
        subscription["guid"],
        subscription["customer_guid"],
    )
    assert (invoice["amount"], invoice["appears_on_statement_as"]) == (700, "Hosting")
    assert (invoice["items"], invoice["adjustments"], invoice["title"]) == ([], [], None)
    assert (transaction["transaction_type"], transaction["submit_status"], transaction["status"]) == (
        "debit",
        "done",
        "succeeded",
    )
    [charge] = sandbox.charges()
    assert (charge.amount, charge.instrument, charge.appears_on_statement_as) == (700, "/cards/ok", "Hosting")
    assert charge.uri == transaction["processor_uri"]


def test_a_subscription_to_a_credit_plan_pays_out(company, sandbox):
    subscription = subscribe(company, plan=new_plan(company, plan_type="credit"), card="/bank_accounts/ok")
    [invoice] = invoices_of(company, subscription)
    assert (invoice["transaction_type"], invoice["status"]) == ("credit", "settled")
    [transaction] = transactions_of(company, subscription)
    assert transaction["transaction_type"] == "credit"
    assert [charge.type for charge in sandbox.charges()] == ["credit"]


def test_a_subscription_without_an_instrument_files_an_invoice_that_waits_for_one(company, sandbox):
    subscription = subscribe(company, card=None)
    [invoice] = invoices_of(company, subscription)
    assert (invoice["status"], invoice["funding_instrument_uri"]) == ("staged", None)
    assert transactions_of(company, subscription) == []
    assert sandbox.sends() == []


@pytest.mark.parametrize(
    ("card", "submit_status", "status", "invoice_status"),
    [
        ("/cards/pending", "done", "pending", "processing"),
        ("/cards/fails", "done", "failed", "failed"),
        ("/cards/declined", "retrying", None, "processing"),
        ("/cards/stolen", "failed", None, "failed"),
        ("/cards/unreachable", "retrying", None, "processing"),
        ("/cards/slow-down", "retrying", None, "processing"),
        ("/cards/revoked-key", "retrying", None, "processing"),
        ("/cards/lost-after-charge", "retrying", None, "processing"),
        ("/cards/bug", "retrying", None, "processing"),
    ],
)
def test_whatever_the_processor_does_the_subscription_is_made(company, card, submit_status, status, invoice_status):
    subscription = subscribe(company, card=card)
    [invoice] = invoices_of(company, subscription)
    [transaction] = transactions_of(company, subscription)
    assert mistakes(TRANSACTION, transaction) == {}
    assert (transaction["submit_status"], transaction["status"]) == (submit_status, status)
    assert invoice["status"] == invoice_status
    assert transaction["failure_count"] == len(transaction["failures"]) == (0 if status == "pending" else 1)


def test_a_later_start_files_nothing_yet(company, clock, sandbox):
    started_at = clock.now + timedelta(days=3)
    subscription = subscribe(company, started_at=started_at.isoformat())
    assert subscription["invoice_count"] == 0
    assert subscription["started_at"] == subscription["next_invoice_at"] == started_at.isoformat()
    assert invoices_of(company, subscription) == []
    assert sandbox.sends() == []


def test_a_start_that_is_named_and_is_now_is_filed_and_left_to_the_scheduler(company, bill, clock, sandbox):
    subscription = subscribe(company, started_at=clock.now.isoformat())
    assert subscription["invoice_count"] == 1
    [transaction] = transactions_of(company, subscription)
    assert (transaction["submit_status"], sandbox.sends()) == ("staged", [])
    assert bill().succeeded == 1


def test_instants_are_read_as_iso_8601_and_written_in_utc(company, good):
    meanings = {
        "2030-01-02T03:04:05": "2030-01-02T03:04:05+00:00",
        "2030-01-02 03:04:05": "2030-01-02T03:04:05+00:00",
        "2030-01-02T03:04": "2030-01-02T03:04:00+00:00",
        "2030-01-02T03:04:05Z": "2030-01-02T03:04:05+00:00",
        "2030-01-02T03:04:05.6": "2030-01-02T03:04:05.600000+00:00",
        "2030-01-02T03:04:05.000001+00:00": "2030-01-02T03:04:05.000001+00:00",
        "2030-01-02T03:04:05+08:00": "2030-01-01T19:04:05+00:00",
        "2030-01-02T03:04:05+0800": "2030-01-01T19:04:05+00:00",
        "2030-01-02T03:04:05-08": "2030-01-02T11:04:05+00:00",
        "2030-01-02": "2030-01-02T00:00:00+00:00",
        " 2030-01-02 ": "2030-01-02T00:00:00+00:00",
    }
    for written, meant in meanings.items():
        subscription = company.post("/v1/subscriptions", {**good, "started_at": written}).json
        assert subscription["started_at"] == meant
        assert company.get(f"/v1/subscriptions/{subscription['guid']}").json["started_at"] == meant


def test_wrong_parameters_of_a_subscription_are_named(company, good, bystander, clock, sandbox):
    unknown = {"CU": "CU" + "1" * 22, "PL": "PL" + "1" * 22}
    past = clock.now - timedelta(microseconds=1)
    wrong = [
        ("customer_guid", MISSING, "This field is required."),
        ("customer_guid", unknown["CU"], f"No such Customer record {unknown['CU']}"),
        ("customer_guid", bystander.customer.guid, f"No such Customer record {bystander.customer.guid}"),
        ("customer_guid", "x", "No such Customer record x"),
        ("customer_guid", "CU\0", "Field holds a character that cannot be stored"),
        ("plan_guid", MISSING, "This field is required."),
        ("plan_guid", unknown["PL"], f"No such Plan record {unknown['PL']}"),
        ("plan_guid", bystander.plan.guid, f"No such Plan record {bystander.plan.guid}"),
        ("amount", 49, "Number must be at least 50."),
        ("amount", 10**11, "Number must be at most 99999999999."),
        ("funding_instrument_uri", "/" * 129, "Field cannot be longer than 128 characters."),
        ("appears_on_statement_as", "a" * 19, "Field cannot be longer than 18 characters."),
        ("appears_on_statement_as", "a*b", STATEMENT_ERROR),
        ("external_id", "x" * 129, "Field cannot be longer than 128 characters."),
        ("started_at", past.isoformat(), f"Datetime {past.isoformat()} in the past is not allowed"),
        ("started_at", "soon", "Invalid ISO8601 datetime soon"),
        ("started_at", "2126-01-16", "Datetime 2126-01-16T00:00:00+00:00 is more than 100 years ahead"),
    ]
    assert refusals(company, "POST", "/v1/subscriptions", good, wrong) == wrong
    wrong_json = [
        *wrong,
        ("started_at", 1893456000, "Not a valid string value"),
        ("amount", "500", "Not a valid integer value"),
        ("customer_guid", None, "This field is required."),
        ("plan_guid", 5, "Not a valid string value"),
        ("appears_on_statement_as", 5, "Not a valid string value"),
    ]
    assert refusals(company, "POST", "/v1/subscriptions", good, wrong_json, as_json=True) == wrong_json
    assert company.get("/v1/subscriptions").json["items"] == company.get("/v1/invoices").json["items"] == []
    assert sandbox.sends() == []


def test_a_statement_may_hold_printable_ascii_but_for_the_asterisk_the_comma_and_the_slash(company, good):
    path = f"/v1/subscriptions/{company.post('/v1/subscriptions', good).json['guid']}"
    allowed = "".join(sorted(set(string.printable[:95]) - set("*,/")))
    for start in range(0, len(allowed), 18):
        some = allowed[start : start + 18]
        assert company.put(path, json={"appears_on_statement_as": some}).json["appears_on_statement_as"] == some
    wrong = [("appears_on_statement_as", f"a{each}b", STATEMENT_ERROR) for each in "*,/ä\n\r\t\x7f\0\u2028"]
    assert refusals(company, "PUT", path, {}, wrong, as_json=True) == wrong


@pytest.mark.parametrize(
    ("card", "error_class"),
    [
        ("/cards/not-found", "InvalidFundingInstrument"),
        ("/cards/debit-only", "InvalidFundingInstrument"),
        ("CCbare", "InvalidURIFormat"),
    ],
)
def test_an_instrument_that_the_processor_does_not_take_is_refused_and_nothing_saved(company, card, error_class):
    sent = {"customer_guid": new_customer(company)["guid"], "plan_guid": new_plan(company, plan_type="credit")["guid"]}
    answer = company.post("/v1/subscriptions", {**sent, "funding_instrument_uri": card}, status=400).json
    assert answer["error_class"] == error_class
    assert company.get("/v1/subscriptions").json["items"] == []


def test_an_instrument_that_cannot_be_checked_now_is_503_and_nothing_saved(company, good, sandbox):
    sandbox.fault = Unavailable("away", retry_after=30)
    answer = company.post("/v1/subscriptions", {**good, "funding_instrument_uri": "/cards/ok"}, status=503)
    assert answer.headers["Retry-After"] == "30"
    assert company.get("/v1/subscriptions").json["items"] == []


def test_nobody_subscribes_to_a_deleted_plan_or_as_a_deleted_customer(company, good):
    company.delete(f"/v1/plans/{good['plan_guid']}")
    answer = company.post("/v1/subscriptions", good, status=400).json
    assert answer["errors"] == {"plan_guid": ["Cannot subscribe to a deleted plan"]}
    company.delete(f"/v1/customers/{good['customer_guid']}")
    answer = company.post("/v1/subscriptions", good, status=400).json
    assert answer["errors"] == {
        "customer_guid": ["Cannot subscribe a deleted customer"],
        "plan_guid": ["Cannot subscribe to a deleted plan"],
    }
    assert company.get("/v1/subscriptions").json["items"] == []


@pytest.mark.parametrize("noun", ["plan", "customer"])
def test_what_is_deleted_while_the_processor_is_asked_is_not_subscribed_to(company, good, monkeypatch, noun):
    from billy.processors.sandbox import SandboxProcessor

    def delete_meanwhile(self, uri, purpose, customer_uri):
        company.delete(f"/v1/{noun}s/{good[f'{noun}_guid']}")

    monkeypatch.setattr(SandboxProcessor, "validate_funding_instrument", delete_meanwhile)
    answer = company.post("/v1/subscriptions", {**good, "funding_instrument_uri": "/cards/ok"}, status=400).json
    assert list(answer["errors"]) == [f"{noun}_guid"]
    assert company.get("/v1/subscriptions").json["items"] == []


def test_an_external_id_names_one_subscription_of_a_company(company, good, sandbox):
    subscribe(company, external_id="s1")
    sent = {**good, "external_id": "s1", "funding_instrument_uri": "/cards/ok"}
    answer = company.post("/v1/subscriptions", sent, status=409).json
    assert answer["error_class"] == "DuplicateExternalIDError"
    assert answer["error_message"] == f"Subscription {company.guid} with external_id s1 already exists"
    assert len(company.get("/v1/subscriptions").json["items"]) == len(sandbox.charges()) == 1


# -- change ------------------------------------------------------------------------------------------


def test_what_is_changed_is_what_comes_next(company, bill, clock):
    subscription = subscribe(company)
    clock.move(days=1)
    change = {"funding_instrument_uri": "/cards/new", "amount": 2000, "appears_on_statement_as": "New name"}
    changed = company.put(f"/v1/subscriptions/{subscription['guid']}", change).json
    assert mistakes(SUBSCRIPTION, changed) == {}
    assert changed == {**subscription, **change, "effective_amount": 2000, "updated_at": clock.now.isoformat()}
    clock.move(months=1)
    assert bill().succeeded == 1
    first, second = invoices_of(company, subscription)
    assert (first["amount"], first["funding_instrument_uri"], first["appears_on_statement_as"]) == (
        1000,
        "/cards/ok",
        None,
    )
    assert {name: second[name] for name in change} == change


def test_what_is_not_named_stays_as_it_is(company):
    subscription = subscribe(company, amount=700, appears_on_statement_as="Name")
    path = f"/v1/subscriptions/{subscription['guid']}"
    for change in ({"amount": "800"}, {"appears_on_statement_as": "Other"}, {"funding_instrument_uri": "/cards/new"}):
        before = company.get(path).json
        after = company.put(path, change).json
        differing = {name for name in before if before[name] != after[name]} - {"updated_at", "effective_amount"}
        assert differing == set(change)


def test_a_null_of_json_takes_the_own_amount_and_statement_away(company):
    subscription = subscribe(company, amount=700, appears_on_statement_as="Name")
    nulls = {"amount": None, "appears_on_statement_as": None, "funding_instrument_uri": None}
    changed = company.put(f"/v1/subscriptions/{subscription['guid']}", json=nulls).json
    assert (changed["amount"], changed["effective_amount"], changed["appears_on_statement_as"]) == (None, 1000, None)
    assert changed["funding_instrument_uri"] == "/cards/ok"


def test_an_empty_parameter_of_a_form_changes_nothing(company):
    subscription = subscribe(company, amount=700, appears_on_statement_as="Name")
    sent = {"amount": "", "appears_on_statement_as": "Other", "funding_instrument_uri": ""}
    changed = company.put(f"/v1/subscriptions/{subscription['guid']}", sent).json
    assert changed == {**subscription, "appears_on_statement_as": "Other"}


def test_a_change_of_nothing_is_refused(company):
    subscription = subscribe(company)
    path = f"/v1/subscriptions/{subscription['guid']}"
    for nothing in ({}, {"amount": ""}, {"open_invoices": "false"}, {"plan_guid": "PL1"}):
        assert company.put(path, nothing, status=400).json["error_class"] == "ValidationError"
    assert company.get(path).json == subscription


def test_wrong_parameters_of_a_change_are_named(company):
    subscription = subscribe(company)
    wrong = [
        ("amount", 49, "Number must be at least 50."),
        ("funding_instrument_uri", "/" * 129, "Field cannot be longer than 128 characters."),
        ("appears_on_statement_as", "a/b", STATEMENT_ERROR),
        ("open_invoices", "ja", "Not a valid choice, must be one of true, false"),
    ]
    path = f"/v1/subscriptions/{subscription['guid']}"
    assert refusals(company, "PUT", path, {}, wrong) == wrong
    wrong_json = [*wrong, ("open_invoices", 1, "Not a valid choice, must be one of true, false")]
    assert refusals(company, "PUT", path, {}, wrong_json, as_json=True) == wrong_json
    assert company.get(path).json == subscription


def test_a_new_instrument_is_checked_with_the_processor(company):
    subscription = subscribe(company)
    path = f"/v1/subscriptions/{subscription['guid']}"
    answer = company.put(path, {"funding_instrument_uri": "/cards/not-found"}, status=400).json
    assert answer["error_class"] == "InvalidFundingInstrument"
    assert company.get(path).json == subscription


@pytest.mark.parametrize("send", [{"params": {"open_invoices": "YES"}}, {"json": {"open_invoices": True}}])
def test_unpaid_invoices_move_to_the_new_instrument_on_demand(company, bill, send):
    subscription = subscribe(company, card="/cards/declined")
    path = f"/v1/subscriptions/{subscription['guid']}"
    company.put(path, {"funding_instrument_uri": "/cards/ok"})
    company.request("PUT", path, **send)
    assert bill().succeeded == 1
    [invoice] = invoices_of(company, subscription)
    assert (invoice["status"], invoice["funding_instrument_uri"]) == ("settled", "/cards/ok")
    old, new = transactions_of(company, subscription)
    assert (old["submit_status"], new["status"]) == ("canceled", "succeeded")


def test_unpaid_invoices_stay_with_the_old_instrument_otherwise(company):
    subscription = subscribe(company, card="/cards/declined")
    before = transactions_of(company, subscription)
    for no in ({}, {"open_invoices": "false"}, {"open_invoices": "0"}):
        company.put(f"/v1/subscriptions/{subscription['guid']}", {"funding_instrument_uri": "/cards/ok", **no})
        assert transactions_of(company, subscription) == before


def test_without_any_instrument_there_is_nothing_to_move_unpaid_invoices_to(company):
    subscription = subscribe(company, card=None)
    path = f"/v1/subscriptions/{subscription['guid']}"
    answer = company.put(path, {"amount": 900, "open_invoices": "true"}, status=400).json
    assert list(answer["errors"]) == ["open_invoices"]
    assert company.get(path).json == subscription, "nothing of a refused change may stay"


def test_unpaid_invoices_do_not_move_while_one_is_pending_at_the_processor(company):
    subscription = subscribe(company, card="/cards/pending")
    path = f"/v1/subscriptions/{subscription['guid']}"
    change = {"funding_instrument_uri": "/cards/ok", "open_invoices": "true"}
    answer = company.put(path, change, status=409).json
    assert answer["error_class"] == "InvalidOperationError"
    assert company.get(path).json == subscription
    assert [each["status"] for each in transactions_of(company, subscription)] == ["pending"]


def test_a_canceled_subscription_cannot_be_changed(company):
    subscription = subscribe(company)
    path = f"/v1/subscriptions/{subscription['guid']}"
    canceled = company.post(f"{path}/cancel").json
    answer = company.put(path, {"amount": 900}, status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert company.get(path).json == canceled


# -- cancel ------------------------------------------------------------------------------------------


def test_a_canceled_subscription_says_when_and_keeps_its_dates(company, clock):
    subscription = subscribe(company)
    clock.move(days=1)
    canceled = company.post(f"/v1/subscriptions/{subscription['guid']}/cancel").json
    now = clock.now.isoformat()
    assert canceled == {**subscription, "canceled": True, "canceled_at": now, "updated_at": now}
    assert company.get(f"/v1/subscriptions/{subscription['guid']}").json == canceled


def test_a_subscription_is_canceled_once(company, clock):
    subscription = subscribe(company)
    path = f"/v1/subscriptions/{subscription['guid']}"
    canceled = company.post(f"{path}/cancel").json
    clock.move(days=1)
    answer = company.post(f"{path}/cancel", status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert answer["error_message"] == "Cannot cancel a canceled subscription"
    assert company.get(path).json == canceled


@pytest.mark.parametrize("send", [{"params": {"open_invoices": "true"}}, {"json": {"open_invoices": True}}])
def test_unpaid_invoices_are_canceled_too_on_demand(company, send):
    other = subscribe(company, card="/cards/declined")
    subscription = subscribe(company, card="/cards/declined")
    company.request("POST", f"/v1/subscriptions/{subscription['guid']}/cancel", **send)
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["canceled"]
    assert [each["submit_status"] for each in transactions_of(company, subscription)] == ["canceled"]
    assert [invoice["status"] for invoice in invoices_of(company, other)] == ["processing"]


def test_paid_invoices_are_not_canceled_with_their_subscription(company):
    subscription = subscribe(company)
    company.post(f"/v1/subscriptions/{subscription['guid']}/cancel", {"open_invoices": "true"})
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]


def test_a_cancel_with_open_invoices_is_refused_whole_while_money_is_moving(company):
    subscription = subscribe(company, card="/cards/pending")
    path = f"/v1/subscriptions/{subscription['guid']}"
    answer = company.post(f"{path}/cancel", {"open_invoices": "true"}, status=409).json
    assert answer["error_class"] == "InvalidOperationError"
    assert company.get(path).json == subscription
    company.post(f"{path}/cancel")


def test_the_parameters_of_2014_are_ignored_by_a_cancel(company):
    subscription = subscribe(company)
    old = {"prorated_refund": "true", "refund_amount": "500"}
    assert company.post(f"/v1/subscriptions/{subscription['guid']}/cancel", old).json["canceled"]
    [invoice] = invoices_of(company, subscription)
    assert [each["transaction_type"] for each in transactions_of(company, invoice)] == ["debit"]


def test_another_subscriptions_lists_are_its_own(company):
    plan, customer = new_plan(company), new_customer(company)
    first, second = (subscribe(company, plan=plan, customer=customer) for _ in range(2))
    [invoice] = invoices_of(company, first)
    assert invoice["subscription_guid"] == first["guid"]
    assert invoice_now(company, invoice) == invoice
    assert transactions_of(company, first) == transactions_of(company, invoice)
    assert invoices_of(company, second) != [invoice]
