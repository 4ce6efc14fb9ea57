"""/v1/customers"""

from __future__ import annotations

import pytest

from billy.errors import Misconfigured, OutcomeUnknown, Refused, Unavailable
from tests.api.shapes import CUSTOMER, mistakes
from tests.api.steps import (
    invoice_now,
    invoices_of,
    listed,
    new_customer,
    new_invoice,
    new_plan,
    refusals,
    subscribe,
    transactions_of,
)


def test_a_customer_is_made_without_parameters_and_answers_every_documented_field(company):
    record = company.post("/v1/customers").json
    assert mistakes(CUSTOMER, record) == {}
    assert record["company_guid"] == company.guid
    assert record["processor_uri"].startswith("/customers/")
    assert (record["external_id"], record["deleted"]) == (None, False)
    assert company.get(f"/v1/customers/{record['guid']}").json == record


@pytest.mark.parametrize("send", ["params", "json"])
def test_a_customer_that_the_processor_knows_is_taken_over(company, send):
    sent = {"processor_uri": "/customers/CUknown", "external_id": "ä 1"}
    record = company.request("POST", "/v1/customers", **{send: sent}).json
    assert {name: record[name] for name in sent} == sent


def test_empty_parameters_count_as_absent(company):
    record = company.post("/v1/customers", {"processor_uri": "", "external_id": ""}).json
    assert record["processor_uri"].startswith("/customers/CU")
    assert record["external_id"] is None
    company.post("/v1/customers", {"external_id": ""})  # and two absent ones are no duplicates


def test_a_customer_that_the_processor_does_not_know_is_refused_and_not_saved(company):
    for uri, error_class in {"/customers/not-found": "InvalidCustomer", "CUbare": "InvalidURIFormat"}.items():
        answer = company.post("/v1/customers", {"processor_uri": uri}, status=400).json
        assert answer["error_class"] == error_class
        assert uri in answer["error_message"]
    assert company.get("/v1/customers").json["items"] == []


def test_wrong_parameters_of_a_customer_are_named(company):
    wrong = [
        ("processor_uri", "/" * 129, "Field cannot be longer than 128 characters."),
        ("processor_uri", "/a\0", "Field holds a character that cannot be stored"),
        ("processor_uri", " ", "This field is required."),
        ("external_id", "x" * 129, "Field cannot be longer than 128 characters."),
        ("external_id", "\0", "Field holds a character that cannot be stored"),
    ]
    assert refusals(company, "POST", "/v1/customers", {}, wrong) == wrong
    wrong_json = [*wrong, ("external_id", 7, "Not a valid string value")]
    assert refusals(company, "POST", "/v1/customers", {}, wrong_json, as_json=True) == wrong_json
    assert company.get("/v1/customers").json["items"] == []


def test_an_external_id_names_one_customer_of_a_company(api, company, bystander):
    new_customer(company, external_id="shop-1")
    answer = company.post("/v1/customers", {"external_id": "shop-1"}, status=409).json
    assert answer["error_class"] == "DuplicateExternalIDError"
    assert answer["error_message"] == f"Customer {company.guid} with external_id shop-1 already exists"
    assert len(company.get("/v1/customers").json["items"]) == 1
    new_customer(company, external_id=bystander.customer.external_id)  # another company's is its own affair


def test_a_taken_external_id_costs_the_processor_no_customer(company, sandbox, monkeypatch):
    new_customer(company, external_id="shop-1")
    sandbox.fault = AssertionError("the processor was asked")
    company.post("/v1/customers", {"external_id": "shop-1"}, status=409)


@pytest.mark.parametrize("fault", [Unavailable("away"), OutcomeUnknown("silence")])
def test_a_customer_is_made_while_the_processor_is_away_and_gets_its_record_with_the_first_charge(
    company, sandbox, fault
):
    sandbox.fault = fault
    customer = new_customer(company)
    assert customer["processor_uri"] is None
    sandbox.fault = None
    assert new_invoice(company, customer=customer, card="/cards/ok")["status"] == "settled"
    known = company.get(f"/v1/customers/{customer['guid']}").json["processor_uri"]
    assert [charge.customer_uri for charge in sandbox.charges()] == [known]


def test_a_given_customer_that_cannot_be_checked_now_is_503_and_not_saved(company, sandbox):
    sandbox.fault = Unavailable("away", retry_after=7.2)
    answer = company.post("/v1/customers", {"processor_uri": "/customers/CU1"}, status=503)
    assert answer.headers["Retry-After"] == "8"
    assert answer.json["error_class"] == "Unavailable"
    sandbox.fault = OutcomeUnknown("silence")
    assert company.post("/v1/customers", {"processor_uri": "/customers/CU1"}, status=503).headers["Retry-After"]
    assert company.get("/v1/customers").json["items"] == []


@pytest.mark.parametrize("fault", [Misconfigured("no such key"), Refused("closed shop")])
def test_what_the_processor_refuses_is_told_and_not_saved(company, sandbox, fault):
    sandbox.fault = fault
    answer = company.post("/v1/customers", status=400).json
    assert answer["error_class"] == type(fault).__name__
    assert str(fault) in answer["error_message"]
    sandbox.fault = None
    assert company.get("/v1/customers").json["items"] == []


def test_a_deleted_customer_stays_to_be_seen(company, clock):
    customer = new_customer(company)
    clock.move(minutes=1)
    deleted = company.delete(f"/v1/customers/{customer['guid']}").json
    assert mistakes(CUSTOMER, deleted) == {}
    assert deleted == {**customer, "deleted": True, "updated_at": clock.now.isoformat()}
    assert company.get(f"/v1/customers/{customer['guid']}").json == deleted
    assert company.get("/v1/customers").json["items"] == [deleted]


def test_a_customer_is_deleted_once(company, clock):
    customer = new_customer(company)
    deleted = company.delete(f"/v1/customers/{customer['guid']}").json
    clock.move(minutes=1)
    answer = company.delete(f"/v1/customers/{customer['guid']}", status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert answer["error_message"] == f"Customer {customer['guid']} was already deleted"
    assert company.get(f"/v1/customers/{customer['guid']}").json == deleted


def test_deleting_a_customer_leaves_the_companys_other_customers_alone(company, sandbox):
    plan = new_plan(company)
    gone, staying = new_customer(company), new_customer(company)
    subscription = subscribe(company, plan=plan, customer=staying, card="/cards/declined")
    subscribe(company, plan=plan, customer=gone, card="/cards/declined")
    before = invoices_of(company, subscription), transactions_of(company, subscription)
    company.delete(f"/v1/customers/{gone['guid']}")
    assert company.get(f"/v1/subscriptions/{subscription['guid']}").json == subscription
    assert (invoices_of(company, subscription), transactions_of(company, subscription)) == before
    assert not company.get(f"/v1/customers/{staying['guid']}").json["deleted"]


def test_deleting_a_customer_keeps_what_was_paid_and_what_waits_for_an_instrument(company):
    customer = new_customer(company)
    paid = new_invoice(company, customer=customer, card="/cards/ok")
    staged = new_invoice(company, customer=customer)
    company.delete(f"/v1/customers/{customer['guid']}")
    assert invoice_now(company, paid)["status"] == "settled"
    assert invoice_now(company, staged)["status"] == "staged"


def test_the_lists_of_a_customer_hold_what_is_his_and_nothing_else(company):
    plan = new_plan(company)
    customer, other = new_customer(company), new_customer(company)
    mine, others = (subscribe(company, plan=plan, customer=each) for each in (customer, other))
    invoice = new_invoice(company, customer=customer, card="/cards/ok")
    new_invoice(company, customer=other, card="/cards/ok")
    path = f"/v1/customers/{customer['guid']}"
    assert listed(company, f"{path}/subscriptions") == [mine]
    assert listed(company, f"{path}/invoices") == [*invoices_of(company, mine), invoice]
    assert listed(company, f"{path}/transactions") == transactions_of(company, mine) + transactions_of(company, invoice)
    assert listed(company, f"/v1/customers/{other['guid']}/subscriptions") == [others]
