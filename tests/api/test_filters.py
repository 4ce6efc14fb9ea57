"""Filters: each lets in exactly what fits, of one company, and an index serves it."""

from __future__ import annotations

import operator
from datetime import datetime

import pytest
from sqlalchemy import UniqueConstraint, inspect

from billy.api.operations import operations
from billy.models import Customer, Invoice, Plan, Subscription, Transaction
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe, transactions_of
from tests.api.test_lists import FILTERS, RANGED

COMPARISONS = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}
SHOWN_BY_PARENT = {"customer_guid": "customers", "plan_guid": "plans", "subscription_guid": "subscriptions"}
MODELS = {
    "customers": Customer,
    "plans": Plan,
    "subscriptions": Subscription,
    "invoices": Invoice,
    "transactions": Transaction,
}


@pytest.fixture
def populated(api, company, clock, bill):
    """Records of every kind and in every state, made on several days; another company has some too."""
    for each in (api.company(), company):
        populate(each, clock)
        bill()
    return company


def populate(company, clock):
    customers = [new_customer(company, external_id=f"c{number}") for number in range(3)]
    plans = [
        new_plan(company, plan_type=kind, frequency=frequency)
        for kind, frequency in (("debit", "daily"), ("credit", "monthly"), ("debit", "yearly"))
    ]
    for number, (plan, customer) in enumerate(zip(plans, customers, strict=True)):
        clock.move(hours=7)
        subscription = subscribe(company, plan=plan, customer=customer, external_id=f"s{number}")
        subscribe(company, plan=plan, customer=customer, card=None)
    company.post(f"/v1/subscriptions/{subscription['guid']}/cancel")
    for card in ("/cards/ok", "/cards/declined", "/cards/stolen", "/cards/pending", None):
        clock.move(hours=7)
        invoice = new_invoice(company, customer=customers[0], card=card)
    company.post(f"/v1/invoices/{invoice['guid']}/cancel")
    paid = new_invoice(company, customer=customers[1], card="/cards/ok", external_id="i1")
    company.post(f"/v1/invoices/{paid['guid']}/refund", {"amount": 1})
    company.delete(f"/v1/plans/{new_plan(company)['guid']}")
    company.delete(f"/v1/customers/{new_customer(company)['guid']}")


def everything(company, noun):
    return company.get(f"/v1/{noun}", {"limit": 1000}).json["items"]


def guids(company, noun, **query):
    return sorted(item["guid"] for item in company.get(f"/v1/{noun}", {"limit": 1000, **query}).json["items"])


def test_each_filter_lets_in_exactly_what_fits(populated):
    tried = 0
    for noun, names in FILTERS.items():
        items = everything(populated, noun)
        for name in names & items[0].keys():
            for value in {item.get(name) for item in items} - {None}:
                fitting = sorted(item["guid"] for item in items if item.get(name) == value)
                assert guids(populated, noun, **{name: str(value)}) == fitting, f"{noun} by {name}={value}"
                tried += 1
    assert tried > 60


def test_a_filter_by_an_owner_is_the_list_below_it(populated):
    for noun in ("subscriptions", "invoices", "transactions"):
        for name in FILTERS[noun] & SHOWN_BY_PARENT.keys():
            for parent in everything(populated, SHOWN_BY_PARENT[name]):
                below = [
                    item["guid"]
                    for item in populated.get(
                        f"/v1/{SHOWN_BY_PARENT[name]}/{parent['guid']}/{noun}", {"limit": 1000}
                    ).json["items"]
                ]
                found = populated.get(f"/v1/{noun}", {name: parent["guid"], "limit": 1000}).json["items"]
                assert [item["guid"] for item in found] == below


def test_a_range_lets_in_exactly_what_is_in_it_the_latest_first(populated):
    for noun, columns in RANGED.items():
        items = everything(populated, noun)
        for column in columns:
            instants = {item[column] for item in items if item.get(column)}
            assert len(instants) > 1
            for instant in sorted(instants)[:6]:
                for name, compare in COMPARISONS.items():
                    fitting = [item for item in items if item.get(column) and compare(item[column], instant)]
                    fitting.sort(key=lambda item: (item[column], item["guid"]), reverse=True)
                    found = populated.get(f"/v1/{noun}", {f"{column}[{name}]": instant, "limit": 1000}).json["items"]
                    assert found == fitting, f"{noun} by {column}[{name}]={instant}"


def test_both_ends_of_a_range_and_another_filter_have_to_fit_all_at_once(populated):
    items = everything(populated, "invoices")
    instants = sorted({item["created_at"] for item in items})
    first, last = instants[1], instants[-2]
    fitting = [i["guid"] for i in items if first <= i["created_at"] < last and i["status"] == "settled"]
    query = {"created_at[gte]": first, "created_at[lt]": last, "status": "settled"}
    assert fitting
    assert guids(populated, "invoices", **query) == sorted(fitting)


def test_an_instant_may_be_written_in_every_way_and_copied_from_an_answer(populated):
    plan = everything(populated, "plans")[0]
    instant = datetime.fromisoformat(plan["created_at"])
    written = [plan["created_at"], instant.strftime("%Y-%m-%dT%H:%M:%SZ"), instant.strftime("%Y-%m-%d %H:%M:%S")]
    expected = guids(populated, "plans", **{"created_at[gte]": plan["created_at"]})
    assert plan["guid"] in expected
    for text in written:
        assert guids(populated, "plans", **{"created_at[gte]": text}) == expected
    unescaped = populated.get(f"/v1/plans?limit=1000&created_at[gte]={plan['created_at']}").json["items"]
    assert sorted(item["guid"] for item in unescaped) == expected


def test_what_is_no_value_of_a_filter_is_400_and_named(company):
    wrong = [
        ("plans", "plan_type", "refund", "Not a valid choice, must be one of debit, credit"),
        ("plans", "frequency", "", "Not a valid choice, must be one of daily, weekly, monthly, yearly"),
        ("plans", "deleted", "maybe", "Not a valid choice, must be one of true, false"),
        ("plans", "created_at[gte]", "yesterday", "Invalid ISO8601 datetime yesterday"),
        ("plans", "created_at[eq]", "2026-01-01", "This list cannot be filtered by it"),
        ("plans", "created_at[", "2026-01-01", "This list cannot be filtered by it"),
        ("plans", "updated_at[gte]", "2026-01-01", "This list cannot be filtered by it"),
        ("plans", "count", "maybe", "Not a valid choice, must be one of true, false"),
        ("invoices", "invoice_type", "paid", "Not a valid choice, must be one of subscription, customer"),
        ("transactions", "status", "settled", "Not a valid choice, must be one of pending, succeeded, failed"),
        ("invoices", "customer_guid", "C" * 65, "Field cannot be longer than 64 characters."),
        ("subscriptions", "next_invoice_at[lt]", "2026-13-01", "Invalid ISO8601 datetime 2026-13-01"),
    ]
    for noun, name, value, text in wrong:
        assert company.get(f"/v1/{noun}", {name: value}, status=400).json["errors"] == {name: [text]}


def test_a_filter_by_another_companys_record_finds_nothing(company, bystander):
    for noun, name, guid in (
        ("subscriptions", "customer_guid", bystander.customer.guid),
        ("subscriptions", "plan_guid", bystander.plan.guid),
        ("invoices", "customer_guid", bystander.customer.guid),
        ("transactions", "invoice_guid", bystander.settled.guid),
        ("transactions", "processor_uri", "/debits/the-bystander's"),
    ):
        assert company.get(f"/v1/{noun}", {name: guid}).json["items"] == []


def test_transactions_are_found_by_their_record_at_the_processor(company):
    wanted, other = new_invoice(company, card="/cards/ok"), new_invoice(company, card="/cards/ok")
    [charge], [_] = transactions_of(company, wanted), transactions_of(company, other)
    assert company.get("/v1/transactions", {"processor_uri": charge["processor_uri"]}).json["items"] == [charge]


def keys_of(model):
    """The columns of each index and unique key of a table, and what a partial index is of."""
    table = inspect(model).local_table
    for index in table.indexes:
        yield [column.name for column in index.columns], str(index.dialect_options["postgresql"]["where"])
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield [column.name for column in constraint.columns], "None"


def test_every_filter_has_an_index_that_begins_with_it(app):
    partial = {"canceled": ["canceled_at IS NULL", "canceled_at IS NOT NULL"], "overpaid": ["overpaid"]}
    lists = {operation.item: operation.query for operation in operations(app.app.registry) if operation.query}
    assert set(lists) == set(MODELS.values())
    for model, query in lists.items():
        keys = list(keys_of(model))
        for name, field in query.model_fields.items():
            column = (field.alias or name).partition("[")[0]
            if column in ("offset", "limit", "after", "count"):
                continue
            if column in partial:
                assert set(partial[column]) <= {where for columns, where in keys if columns == ["company_guid", "guid"]}
                continue
            begins = [columns for columns, _ in keys if columns[:2] == ["company_guid", column]]
            assert begins, f"{model.__name__} has no index for {column}"
