"""Lists: newest first, paged by what the server echoes, filtered exactly, and one company's only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert

from billy.guid import new_guid
from billy.models import Plan
from tests.api.shapes import (
    CUSTOMER,
    INVOICE,
    PLAN,
    SUBSCRIPTION,
    SUBSCRIPTION_INVOICE,
    TRANSACTION,
    mistakes,
    page_mistakes,
)
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe

FIELDS = {"customers": CUSTOMER, "plans": PLAN, "subscriptions": SUBSCRIPTION, "transactions": TRANSACTION}

# Which filters each list has; any other one is refused.
FILTERS = {
    "customers": {"external_id", "processor_uri", "deleted"},
    "plans": {"external_id", "plan_type", "frequency", "deleted"},
    "subscriptions": {"external_id", "customer_guid", "plan_guid", "canceled"},
    "invoices": {
        "external_id",
        "invoice_type",
        "transaction_type",
        "status",
        "overpaid",
        "customer_guid",
        "subscription_guid",
        "plan_guid",
    },
    "transactions": {
        "transaction_type",
        "submit_status",
        "status",
        "processor_uri",
        "invoice_guid",
        "customer_guid",
        "subscription_guid",
        "plan_guid",
    },
}

# … and which instants it may be cut at.
RANGED = {
    "customers": {"created_at"},
    "plans": {"created_at"},
    "subscriptions": {"created_at", "next_invoice_at"},
    "invoices": {"created_at", "scheduled_at"},
    "transactions": {"created_at"},
}


@pytest.fixture
def populated(api, company):
    """The company has lists with something in them, and another company has as much."""
    populate(api.company())
    return populate(company)


def populate(company):
    """Five of everything, all made at the same instant; returns every list's path with what belongs into it."""
    plan, customer = new_plan(company), new_customer(company)
    records = {"plans": [plan], "customers": [customer], "subscriptions": [], "invoices": [], "transactions": []}
    own = {path: [] for path in ("customers", "subscriptions", "invoices", "transactions")}
    for number in range(4):
        records["plans"].append(new_plan(company, external_id=f"p{number}"))
        records["customers"].append(new_customer(company, external_id=f"c{number}"))
        new_invoice(company, customer=records["customers"][-1], card="/cards/ok")
    for number in range(5):
        subscription = subscribe(company, plan=plan, customer=customer, card="/cards/declined")
        own["subscriptions"].append(subscription)
        subscribe(company, plan=records["plans"][1], customer=records["customers"][1])
        invoice = new_invoice(company, customer=customer, card="/cards/ok", external_id=f"i{number}")
    for _ in range(3):
        company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1})
    return {
        "plan": plan,
        "customer": customer,
        "subscription": subscription,
        "invoice": invoice,
        "paths": [
            *(f"/v1/{noun}" for noun in records),
            *(f"/v1/customers/{customer['guid']}/{noun}" for noun in ("subscriptions", "invoices", "transactions")),
            *(f"/v1/plans/{plan['guid']}/{noun}" for noun in own),
            *(f"/v1/subscriptions/{subscription['guid']}/{noun}" for noun in ("invoices", "transactions")),
            f"/v1/invoices/{invoice['guid']}/transactions",
        ],
        "counts": [5, 5, 10, 19, 22, 5, 10, 13, 1, 5, 5, 5, 1, 1, 4],
    }


def noun_of(path):
    return path.rpartition("/")[2]


def paged(company, path, limit):
    """Every guid, in the way of the Python client of 2014: until an empty page, by what the server echoes."""
    guids, offset = [], 0
    while True:
        page = company.get(path, {"offset": offset, "limit": limit}).json
        if not page["items"]:
            return guids
        assert len(page["items"]) <= page["limit"]
        guids += [item["guid"] for item in page["items"]]
        offset = page["offset"] + page["limit"]


def test_this_file_knows_every_list_there_is(app, populated):
    introspector = app.app.registry.introspector
    lists = {
        view["introspectable"]["route_name"]
        for view in introspector.get_category("views")
        if view["introspectable"].get("query") is not None
    }
    assert len(lists) == len(populated["paths"]) == 15


def test_every_list_has_the_envelope_and_the_documented_fields(company, populated):
    for path in populated["paths"]:
        page = company.get(path).json
        assert (page["offset"], page["limit"]) == (0, 20)
        if noun_of(path) == "invoices":
            for item in page["items"]:
                fields = INVOICE if item["invoice_type"] == "customer" else SUBSCRIPTION_INVOICE
                assert mistakes(fields, item) == {}
        else:
            assert page_mistakes(FIELDS[noun_of(path)], page) == {}


def test_paging_by_the_echo_sees_every_record_exactly_once_and_no_other_companys(company, populated):
    for path, count in zip(populated["paths"], populated["counts"], strict=True):
        for limit in (1, 3, 20):
            guids = paged(company, path, limit)
            assert len(guids) == len(set(guids)) == count, f"{path} by {limit}"
            assert guids == sorted(guids, reverse=True), f"{path} is not newest first"


def test_each_list_shows_records_as_they_show_themselves(company, populated):
    for path in populated["paths"]:
        [item, *_] = company.get(path, {"limit": 1}).json["items"]
        assert company.get(f"/v1/{noun_of(path)}/{item['guid']}").json == item


def test_a_company_without_records_has_empty_lists(api):
    newcomer = api.company()
    for noun in FILTERS:
        assert newcomer.get(f"/v1/{noun}").json == {"items": [], "offset": 0, "limit": 20, "next": None}


def test_offset_and_limit_cut_out_a_part(company, populated):
    guids = [item["guid"] for item in company.get("/v1/invoices").json["items"]]
    page = company.get("/v1/invoices", {"offset": 4, "limit": 3}).json
    assert (page["offset"], page["limit"]) == (4, 3)
    assert [item["guid"] for item in page["items"]] == guids[4:7]
    assert company.get("/v1/invoices", {"offset": 19}).json["items"] == []
    assert company.get("/v1/invoices", {"offset": 2**31 - 1}).json["items"] == []


def test_junk_is_400_and_named(company):
    junk = [
        *(("limit", junk, "Not a valid integer value") for junk in ("abc", "", "1.5", "1e3", "1_0", "٣", "0x10")),
        *(("offset", junk, "Not a valid integer value") for junk in ("abc", "", "1.5", "--1")),
        ("limit", "0", "Number must be at least 1."),
        ("limit", "-1", "Number must be at least 1."),
        ("offset", "-1", "Number must be at least 0."),
        ("offset", str(2**31), "Number must be at most 2147483647."),
        ("offset", str(10**30), "Number must be at most 2147483647."),
    ]
    for name, value, text in junk:
        for noun in FILTERS:
            answer = company.get(f"/v1/{noun}", {name: value}, status=400).json
            assert answer["error_class"] == "ValidationError"
            assert answer["errors"] == {name: [text]}


def test_two_different_limits_are_400_and_unknown_parameters_ignored(company):
    assert list(company.get("/v1/plans?limit=1&limit=2", status=400).json["errors"]) == ["limit"]
    assert company.get("/v1/plans?limit=+5+&color=red&_=1").json["limit"] == 5
    assert list(company.get("/v1/plans?external_id=%ff", status=400).json["errors"]) == ["external_id"]


def test_a_limit_above_a_thousand_is_lowered_and_the_answer_says_so(company):
    for limit in ("1001", "5000", str(10**30)):
        assert company.get("/v1/plans", {"limit": limit}).json["limit"] == 1000


def test_a_client_that_asks_for_more_than_it_gets_still_sees_everything(company, sessions, clock):
    ordinary = {"plan_type": "debit", "frequency": "daily", "interval": 1, "amount": 50, "deleted": False}
    rows = [
        {
            "company_guid": company.guid,
            "guid": new_guid("PL", clock.now),
            "created_at": clock.now,
            "updated_at": clock.now,
            **ordinary,
        }
        for _ in range(1003)
    ]
    with sessions.begin() as session:
        session.execute(insert(Plan), rows)
    assert paged(company, "/v1/plans", 5000) == [row["guid"] for row in reversed(rows)]


def test_company_wide_lists_are_newest_first(company, clock):
    makers = {"plans": new_plan, "customers": new_customer, "invoices": new_invoice, "subscriptions": subscribe}
    for noun, make in makers.items():
        made = []
        for _ in range(3):
            made.append(make(company)["guid"])
            clock.move(seconds=1)
        items = company.get(f"/v1/{noun}", {"limit": 3}).json["items"]
        assert [item["guid"] for item in items] == made[::-1]
        instants = [item["created_at"] for item in items]
        assert instants == sorted(instants, reverse=True)


def test_the_invoices_of_a_subscription_and_a_plan_are_in_the_order_of_their_periods(company, bill, clock):
    plan = new_plan(company, frequency="daily")
    late = subscribe(company, plan=plan, started_at=(clock.now + timedelta(days=2)).isoformat())
    early = subscribe(company, plan=plan)
    clock.move(days=4)
    bill()  # files the missed days of both at once
    for path, count in {f"plans/{plan['guid']}": 8, f"subscriptions/{early['guid']}": 5}.items():
        items = company.get(f"/v1/{path}/invoices").json["items"]
        periods = [item["scheduled_at"] for item in items]
        assert len(items) == count
        assert periods == sorted(periods, reverse=True)
    assert len(company.get(f"/v1/subscriptions/{late['guid']}/invoices").json["items"]) == 3


# -- filters -----------------------------------------------------------------------------------------


def test_external_ids_are_matched_to_the_letter(company):
    makers = {"plans": new_plan, "customers": new_customer, "invoices": new_invoice, "subscriptions": subscribe}
    for noun, make in makers.items():
        wanted = make(company, external_id="A 1%_ü")
        for other in ("a 1%_ü", "A 1%_ü ", "A 1xxü", "A"):
            make(company, external_id=other)
        make(company)
        assert company.get(f"/v1/{noun}", {"external_id": "A 1%_ü"}).json["items"] == [wanted]
        assert company.get(f"/v1/{noun}", {"external_id": "nobody"}).json["items"] == []
        assert company.get(f"/v1/{noun}", {"external_id": ""}).json["items"] == [], "an empty filter lets nothing in"


def test_a_filter_finds_no_other_companys_record(company, bystander):
    filters = {"plans": bystander.plan, "customers": bystander.customer, "invoices": bystander.staged}
    for noun, record in filters.items():
        assert company.get(f"/v1/{noun}", {"external_id": record.external_id}).json["items"] == []


def test_customers_are_found_by_their_record_at_the_processor(company):
    wanted = new_customer(company, processor_uri="/customers/CU1")
    new_customer(company, processor_uri="/customers/CU12")
    new_customer(company)
    assert company.get("/v1/customers", {"processor_uri": "/customers/CU1"}).json["items"] == [wanted]


def test_invoices_are_found_by_what_they_are_for(company):
    customer = new_customer(company)
    subscribe(company, customer=customer)
    new_invoice(company, customer=customer)
    for path in ("/v1/invoices", f"/v1/customers/{customer['guid']}/invoices"):
        for invoice_type in ("subscription", "customer"):
            for written in (invoice_type, invoice_type.upper()):
                items = company.get(path, {"invoice_type": written}).json["items"]
                assert [item["invoice_type"] for item in items] == [invoice_type]
        answer = company.get(path, {"invoice_type": "other"}, status=400).json
        assert list(answer["errors"]) == ["invoice_type"]


def test_filters_work_on_nested_lists_and_with_paging(company):
    customer = new_customer(company)
    wanted = new_invoice(company, customer=customer, external_id="x")
    new_invoice(company, external_id="x")
    new_invoice(company, customer=customer)
    path = f"/v1/customers/{customer['guid']}/invoices"
    assert company.get(path, {"external_id": "x"}).json["items"] == [wanted]
    assert paged(company, f"{path}?external_id=x", 1) == [wanted["guid"]]
    assert len(paged(company, f"{path}?invoice_type=customer", 1)) == 2


def test_a_filter_that_a_list_does_not_have_is_refused_rather_than_ignored(company, populated):
    all_of_them = set().union(*FILTERS.values())
    ranges = {f"{column}[gte]" for columns in RANGED.values() for column in columns}
    for path in populated["paths"]:
        noun = noun_of(path)
        own = FILTERS[noun] | {f"{column}[gte]" for column in RANGED[noun]}
        refused = dict.fromkeys((all_of_them | ranges) - own, "x")
        answer = company.get(path, refused, status=400).json
        assert answer["errors"] == {name: ["This list cannot be filtered by it"] for name in refused}


def test_a_filter_that_is_too_long_is_400(company):
    for name in ("external_id", "processor_uri"):
        answer = company.get("/v1/customers", {name: "x" * 129}, status=400).json
        assert answer["errors"] == {name: ["Field cannot be longer than 128 characters."]}


def test_deleted_and_canceled_records_stay_in_their_lists(company):
    plan, customer = new_plan(company), new_customer(company)
    subscription = subscribe(company, plan=plan, customer=customer)
    invoice = new_invoice(company, customer=customer)
    company.post(f"/v1/invoices/{invoice['guid']}/cancel")
    company.post(f"/v1/subscriptions/{subscription['guid']}/cancel")
    company.delete(f"/v1/plans/{plan['guid']}")
    company.delete(f"/v1/customers/{customer['guid']}")
    for noun, record in {"plans": plan, "customers": customer, "subscriptions": subscription}.items():
        assert record["guid"] in [item["guid"] for item in company.get(f"/v1/{noun}").json["items"]]
    assert invoice["guid"] in [item["guid"] for item in company.get("/v1/invoices").json["items"]]
    assert [each["guid"] for each in company.get(f"/v1/plans/{plan['guid']}/customers").json["items"]] == [
        customer["guid"]
    ]
