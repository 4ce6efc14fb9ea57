"""The API reference of 2014: every request that it shows, and every list that it names, answers as it says.

The requests are the reference's own, sent as its curl lines send them (forms, basic authentication, no
``Accept``); only its guids are replaced by ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from string import Template
from typing import Any

import pytest

from billy.scripts import reference
from billy.scripts.reference import Fields, mistakes, page_of
from tests.support.client import Api, Client

CARD = "/v1/marketplaces/TEST-MP6lD3dBpta7OAXJsN766qA/cards/CCBXYdbpYDwX68hv69UH1eS"

INVOICE_PARAMETERS = {
    "customer_guid": "$customer",
    "amount": "1000",
    "appears_on_statement_as": "FooBar Hosting",
    "item_name1": "Hosting Service A",
    "item_amount1": "1000",
    "adjustments_amount1": "-100",
    "adjustments_reason1": "Coupon discount",
}


@dataclass(frozen=True)
class Example:
    """One request of the reference, and what it shows of the answer; ``$plan`` stands for a guid of ours."""

    method: str
    path: str
    fields: Fields
    parameters: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


EXAMPLES = (
    Example("GET", "/v1/companies/$company", reference.COMPANY),
    Example(
        "POST",
        "/v1/plans",
        reference.PLAN,
        {"plan_type": "debit", "amount": "500", "frequency": "monthly"},
        {"amount": 500, "deleted": False, "frequency": "monthly", "interval": 1, "plan_type": "debit"},
    ),
    Example("GET", "/v1/plans/$plan", reference.PLAN, shown={"amount": 500, "deleted": False}),
    Example("DELETE", "/v1/plans/$plan", reference.PLAN, shown={"amount": 500, "deleted": True}),
    Example("GET", "/v1/plans", page_of(reference.PLAN), shown={"limit": 20, "offset": 0}),
    Example("POST", "/v1/customers", reference.CUSTOMER, shown={"deleted": False}),
    Example("GET", "/v1/customers/$customer", reference.CUSTOMER, shown={"deleted": False}),
    Example("DELETE", "/v1/customers/$customer", reference.CUSTOMER, shown={"deleted": True}),
    Example("GET", "/v1/customers", page_of(reference.CUSTOMER), shown={"limit": 20, "offset": 0}),
    Example(
        "POST",
        "/v1/subscriptions",
        reference.SUBSCRIPTION,
        {"customer_guid": "$customer", "plan_guid": "$plan", "funding_instrument_uri": CARD},
        {
            "amount": None,
            "appears_on_statement_as": None,
            "canceled": False,
            "canceled_at": None,
            "effective_amount": 500,
            "funding_instrument_uri": CARD,
            "invoice_count": 1,
        },
    ),
    Example("GET", "/v1/subscriptions/$subscription", reference.SUBSCRIPTION, shown={"effective_amount": 500}),
    Example("POST", "/v1/subscriptions/$subscription/cancel", reference.SUBSCRIPTION, shown={"canceled": True}),
    Example("GET", "/v1/subscriptions", page_of(reference.SUBSCRIPTION), shown={"limit": 20, "offset": 0}),
    Example(
        "POST",
        "/v1/invoices",
        reference.CUSTOMER_INVOICE,
        INVOICE_PARAMETERS,
        {
            "adjustments": [{"amount": -100, "reason": "Coupon discount"}],
            "amount": 1000,
            "appears_on_statement_as": "FooBar Hosting",
            "effective_amount": 900,
            "external_id": None,
            "funding_instrument_uri": None,
            "invoice_type": "customer",
            "items": [
                {
                    "amount": 1000,
                    "name": "Hosting Service A",
                    "quantity": None,
                    "type": None,
                    "unit": None,
                    "volume": None,
                }
            ],
            "status": "staged",
            "title": None,
            "total_adjustment_amount": -100,
            "transaction_type": "debit",
        },
    ),
    Example("GET", "/v1/invoices/$invoice", reference.CUSTOMER_INVOICE, shown={"effective_amount": 900}),
    # The reference shows the last two for an invoice that it did not make, and refunds all of its 1000 cents.
    Example(
        "PUT",
        "/v1/invoices/$other_invoice",
        reference.CUSTOMER_INVOICE,
        {"funding_instrument_uri": CARD},
        {"funding_instrument_uri": CARD, "amount": 1000},
    ),
    Example(
        "POST", "/v1/invoices/$paid_invoice/refund", reference.CUSTOMER_INVOICE, {"amount": "1000"}, {"amount": 1000}
    ),
    Example("GET", "/v1/invoices", page_of(reference.INVOICE), shown={"limit": 20, "offset": 0}),
    Example(
        "GET",
        "/v1/transactions/$transaction",
        reference.TRANSACTION,
        shown={
            "amount": 500,
            "appears_on_statement_as": None,
            "failure_count": 0,
            "failures": [],
            "funding_instrument_uri": CARD,
            "status": "succeeded",
            "submit_status": "done",
            "transaction_type": "debit",
        },
    ),
    Example("GET", "/v1/transactions", page_of(reference.TRANSACTION), shown={"limit": 20, "offset": 0}),
)

LISTS = (
    ("/v1/plans/$plan/customers", reference.CUSTOMER, 1),
    ("/v1/plans/$plan/subscriptions", reference.SUBSCRIPTION, 1),
    ("/v1/plans/$plan/invoices", reference.SUBSCRIPTION_INVOICE, 1),
    ("/v1/plans/$plan/transactions", reference.TRANSACTION, 1),
    ("/v1/customers/$customer/subscriptions", reference.SUBSCRIPTION, 1),
    ("/v1/customers/$customer/invoices", reference.INVOICE, 4),
    ("/v1/customers/$customer/transactions", reference.TRANSACTION, 2),
    ("/v1/subscriptions/$subscription/invoices", reference.SUBSCRIPTION_INVOICE, 1),
    ("/v1/subscriptions/$subscription/transactions", reference.TRANSACTION, 1),
    ("/v1/invoices/$paid_invoice/transactions", reference.TRANSACTION, 1),
)


@pytest.fixture
def guids(company: Client) -> dict[str, str]:
    """The company's records, made as the reference makes them."""

    def make(path: str, parameters: dict[str, str]) -> str:
        guid: str = company.post(path, parameters).json["guid"]
        return guid

    plan = make("/v1/plans", {"plan_type": "debit", "amount": "500", "frequency": "monthly"})
    customer = make("/v1/customers", {})
    subscription = make(
        "/v1/subscriptions", {"customer_guid": customer, "plan_guid": plan, "funding_instrument_uri": CARD}
    )
    transaction = company.get(f"/v1/subscriptions/{subscription}/transactions").json["items"][0]["guid"]
    plain = {"customer_guid": customer, "amount": "1000"}
    return {
        "company": company.guid,
        "plan": plan,
        "customer": customer,
        "subscription": subscription,
        "transaction": transaction,
        "invoice": make("/v1/invoices", {**INVOICE_PARAMETERS, "customer_guid": customer}),
        "other_invoice": make("/v1/invoices", plain),
        "paid_invoice": make("/v1/invoices", {**plain, "funding_instrument_uri": CARD}),
    }


def test_the_company_is_registered_as_the_reference_shows(api: Api) -> None:
    answer = api.anonymous.post("/v1/companies", {"processor_key": "ef13dce2093b11e388de026ba7d31e6f"}).json

    assert mistakes(answer, reference.COMPANY) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_each_request_answers_as_the_reference_shows(company: Client, guids: dict[str, str], example: Example) -> None:
    path = Template(example.path).substitute(guids)
    parameters = {name: Template(value).substitute(guids) for name, value in example.parameters.items()}
    body = parameters if example.method in ("POST", "PUT") else None
    answer = company.request(example.method, path, body).json

    assert mistakes(answer, example.fields) == []
    assert {name: answer[name] for name in example.shown} == example.shown


@pytest.mark.parametrize("path, fields, count", LISTS, ids=[path for path, *_ in LISTS])
def test_each_list_has_what_the_reference_says(
    company: Client, guids: dict[str, str], path: str, fields: Fields, count: int
) -> None:
    path = Template(path).substitute(guids)
    page = company.get(path).json

    assert mistakes(page, page_of(fields)) == []
    assert (len(page["items"]), page["offset"], page["limit"]) == (count, 0, 20)
    second = company.get(path, {"offset": 1, "limit": 1}).json
    assert (second["items"], second["offset"], second["limit"]) == (page["items"][1:2], 1, 1)


def test_the_documented_spelling_of_adjustments_changes_what_is_charged(company: Client, guids: dict[str, str]) -> None:
    # The 2014 Billy ignored it and charged the whole amount (D33).
    parameters = {**INVOICE_PARAMETERS, "customer_guid": guids["customer"], "funding_instrument_uri": CARD}
    invoice = company.post("/v1/invoices", parameters).json
    [transaction] = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]

    assert (invoice["status"], transaction["amount"]) == ("settled", 900)


def test_a_plan_of_two_weeks_is_made_as_the_reference_says(company: Client) -> None:
    plan = company.post(
        "/v1/plans", {"plan_type": "credit", "amount": "500", "frequency": "weekly", "interval": "2"}
    ).json

    assert (plan["interval"], plan["plan_type"]) == (2, "credit")
