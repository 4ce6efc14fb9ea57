"""/v1/plans"""

from __future__ import annotations

import pytest

from tests.api.shapes import PLAN, mistakes
from tests.api.steps import MISSING, listed, new_customer, new_invoice, new_plan, refusals, subscribe, transactions_of

GOOD = {"plan_type": "debit", "frequency": "monthly", "amount": 500}
JSON_AND_FORM = [
    ("plan_type", MISSING, "This field is required."),
    ("plan_type", "", "This field is required."),
    ("plan_type", "charge", "Not a valid choice, must be one of debit, credit"),
    ("plan_type", "refund", "Not a valid choice, must be one of debit, credit"),
    ("frequency", MISSING, "This field is required."),
    ("frequency", "hourly", "Not a valid choice, must be one of daily, weekly, monthly, yearly"),
    ("amount", MISSING, "This field is required."),
    ("amount", "", "This field is required."),
    ("amount", 49, "Number must be at least 50."),
    ("amount", -500, "Number must be at least 50."),
    ("amount", 100_000_000_000, "Number must be at most 99999999999."),
    ("amount", 10**30, "Number must be at most 99999999999."),
    ("interval", 0, "Number must be at least 1."),
    ("interval", -1, "Number must be at least 1."),
    ("interval", 1201, "Number must be at most 1200."),
    ("interval", 10**9, "Number must be at most 36525."),
    ("name", "n" * 129, "Field cannot be longer than 128 characters."),
    ("description", "d" * 10_001, "Field cannot be longer than 10000 characters."),
    ("description", "a\0", "Field holds a character that cannot be stored"),
    ("external_id", "x" * 129, "Field cannot be longer than 128 characters."),
]


def test_a_plan_answers_every_documented_field(company):
    plan = company.post("/v1/plans", GOOD).json
    assert mistakes(PLAN, plan) == {}
    assert plan["company_guid"] == company.guid
    assert {name: plan[name] for name in GOOD} == GOOD
    assert plan["interval"] == 1
    assert not plan["deleted"]
    assert (plan["name"], plan["description"], plan["external_id"]) == (None, None, None)
    assert company.get(f"/v1/plans/{plan['guid']}").json == plan


@pytest.mark.parametrize("send", ["params", "json"])
def test_a_plan_keeps_everything_that_was_said_of_it(company, send):
    sent = {
        "plan_type": "credit",
        "frequency": "weekly",
        "interval": 2,
        "amount": 99_999_999_999,
        "name": "Größe M",
        "description": "line one\nline two",
        "external_id": "plan/1",
    }
    plan = company.request("POST", "/v1/plans", **{send: sent}).json
    assert {name: plan[name] for name in sent} == sent


def test_wrong_parameters_of_a_plan_are_named(company):
    wrong = [
        *JSON_AND_FORM,
        *(("amount", junk, "Not a valid integer value") for junk in ("abc", "12.5", "1e3", "5_000", "٥٠٠", "1 0", "+")),
        ("interval", "one", "Not a valid integer value"),
    ]
    assert refusals(company, "POST", "/v1/plans", GOOD, wrong) == wrong
    assert company.get("/v1/plans").json["items"] == []


def test_json_is_read_strictly(company):
    wrong = [
        *JSON_AND_FORM,
        *(("amount", junk, "Not a valid integer value") for junk in ("500", True, 500.0, 500.5, [500], {})),
        ("amount", None, "This field is required."),
        ("plan_type", None, "This field is required."),
        ("plan_type", 1, "Not a valid choice, must be one of debit, credit"),
        ("frequency", ["daily"], "Not a valid choice, must be one of daily, weekly, monthly, yearly"),
        ("name", 1, "Not a valid string value"),
        ("external_id", "\udfff", "Field holds a character that cannot be stored"),
    ]
    assert refusals(company, "POST", "/v1/plans", GOOD, wrong, as_json=True) == wrong
    assert company.get("/v1/plans").json["items"] == []


def test_all_wrong_parameters_are_reported_at_once(company):
    answer = company.post("/v1/plans", {"plan_type": "x", "amount": "1", "name": "n" * 200}, status=400).json
    assert set(answer["errors"]) == {"plan_type", "frequency", "amount", "name"}
    told, _, names = answer["error_message"].partition(": ")
    assert told == "There are errors in following parameters"
    assert set(names.split(", ")) == set(answer["errors"])


def test_numbers_and_choices_of_a_form_are_read_as_in_2014(company):
    plan = company.post(
        "/v1/plans", {"plan_type": "DEBIT", "frequency": "Monthly", "amount": " 55 ", "interval": "+60"}
    ).json
    assert (plan["plan_type"], plan["frequency"], plan["amount"], plan["interval"]) == ("debit", "monthly", 55, 60)


def test_the_least_and_the_longest_are_taken(company):
    for frequency, interval in {"daily": 36_525, "weekly": 5_217, "monthly": 1_200, "yearly": 100}.items():
        plan = new_plan(company, amount=50, frequency=frequency, interval=interval)
        assert (plan["amount"], plan["interval"]) == (50, interval)
        company.post("/v1/plans", {**GOOD, "frequency": frequency, "interval": interval + 1}, status=400)


def test_unknown_parameters_are_ignored(company):
    plan = new_plan(company, color="red", guid="PLmine", deleted="true", company_guid="CPother")
    assert not plan["deleted"]
    assert plan["company_guid"] == company.guid


def test_an_external_id_names_one_plan_of_a_company(company, bystander):
    new_plan(company, external_id="gold")
    answer = company.post("/v1/plans", {**GOOD, "external_id": "gold"}, status=409).json
    assert answer["error_class"] == "DuplicateExternalIDError"
    assert answer["error_message"] == f"Plan {company.guid} with external_id gold already exists"
    assert len(company.get("/v1/plans").json["items"]) == 1
    new_plan(company, external_id=bystander.plan.external_id)


def test_a_deleted_plan_stays_to_be_seen(company, clock):
    plan = new_plan(company)
    clock.move(minutes=1)
    deleted = company.delete(f"/v1/plans/{plan['guid']}").json
    assert deleted == {**plan, "deleted": True, "updated_at": clock.now.isoformat()}
    assert company.get(f"/v1/plans/{plan['guid']}").json == deleted
    assert company.get("/v1/plans").json["items"] == [deleted]


def test_a_plan_is_deleted_once(company):
    plan = new_plan(company)
    deleted = company.delete(f"/v1/plans/{plan['guid']}").json
    answer = company.delete(f"/v1/plans/{plan['guid']}", status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert answer["error_message"] == f"Plan {plan['guid']} was already deleted"
    assert company.get(f"/v1/plans/{plan['guid']}").json == deleted


def test_the_lists_of_a_plan_hold_what_is_its_own_and_nothing_else(company):
    plan, other = new_plan(company), new_plan(company)
    customer = new_customer(company)
    subscription = subscribe(company, plan=plan, customer=customer)
    subscribe(company, plan=other)
    new_invoice(company, customer=customer, card="/cards/ok")
    path = f"/v1/plans/{plan['guid']}"
    assert listed(company, f"{path}/customers") == [customer]
    assert listed(company, f"{path}/subscriptions") == [subscription]
    assert listed(company, f"{path}/invoices") == listed(company, f"/v1/subscriptions/{subscription['guid']}/invoices")
    assert listed(company, f"{path}/transactions") == transactions_of(company, subscription)
    assert [len(listed(company, f"{path}/{noun}")) for noun in ("invoices", "transactions")] == [1, 1]
