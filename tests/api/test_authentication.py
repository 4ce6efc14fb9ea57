"""Who calls: HTTP basic authentication with an API key as the user name."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from billy.models import Company
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe, transactions_of
from tests.support.client import basic

# Every path that asks for a key, with a method that it answers.
PROTECTED = [
    ("GET", "/v1/companies/{company}"),
    ("GET", "/v1/customers"),
    ("POST", "/v1/customers"),
    ("GET", "/v1/customers/{customer}"),
    ("DELETE", "/v1/customers/{customer}"),
    ("GET", "/v1/customers/{customer}/subscriptions"),
    ("GET", "/v1/customers/{customer}/invoices"),
    ("GET", "/v1/customers/{customer}/transactions"),
    ("GET", "/v1/plans"),
    ("POST", "/v1/plans"),
    ("GET", "/v1/plans/{plan}"),
    ("DELETE", "/v1/plans/{plan}"),
    ("GET", "/v1/plans/{plan}/customers"),
    ("GET", "/v1/plans/{plan}/subscriptions"),
    ("GET", "/v1/plans/{plan}/invoices"),
    ("GET", "/v1/plans/{plan}/transactions"),
    ("GET", "/v1/subscriptions"),
    ("POST", "/v1/subscriptions"),
    ("GET", "/v1/subscriptions/{subscription}"),
    ("PUT", "/v1/subscriptions/{subscription}"),
    ("POST", "/v1/subscriptions/{subscription}/cancel"),
    ("GET", "/v1/subscriptions/{subscription}/invoices"),
    ("GET", "/v1/subscriptions/{subscription}/transactions"),
    ("GET", "/v1/invoices"),
    ("POST", "/v1/invoices"),
    ("GET", "/v1/invoices/{invoice}"),
    ("PUT", "/v1/invoices/{invoice}"),
    ("POST", "/v1/invoices/{invoice}/refund"),
    ("POST", "/v1/invoices/{invoice}/cancel"),
    ("GET", "/v1/invoices/{invoice}/transactions"),
    ("GET", "/v1/transactions"),
    ("GET", "/v1/transactions/{transaction}"),
]
WITH_GUID = [(method, path) for method, path in PROTECTED if "{" in path]

PUBLIC = {
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/{}"),
    ("POST", "/v1/companies"),
    ("POST", "/v1/companies/{}/callbacks/{}"),
}


@pytest.fixture
def guids(company):
    """One record of each kind."""
    plan, customer = new_plan(company), new_customer(company)
    subscription = subscribe(company, plan=plan, customer=customer)
    invoice = new_invoice(company, customer=customer, card="/cards/declined")
    [transaction] = transactions_of(company, invoice)
    records = {"plan": plan, "customer": customer, "subscription": subscription, "invoice": invoice}
    records |= {"transaction": transaction, "company": company.record}
    return {name: record["guid"] for name, record in records.items()}


def blanked(path):
    """A path without the names of its variables."""
    return "/".join("{}" if "{" in part else part for part in path.split("/"))


def everything_of(company):
    nouns = ("customers", "plans", "subscriptions", "invoices", "transactions")
    return [company.get(f"/v1/{noun}", {"limit": 1000}).json["items"] for noun in nouns]


def test_the_table_of_protected_paths_is_complete(app):
    views = app.app.registry.introspector.get_category("views")
    routes = {
        route["introspectable"]["name"]: route["introspectable"]["pattern"]
        for route in app.app.registry.introspector.get_category("routes")
    }
    served = {
        (view["introspectable"]["request_methods"], routes[view["introspectable"]["route_name"]])
        for view in views
        if view["introspectable"]["route_name"]
    }
    named = {(method, blanked(path)) for method, path in PROTECTED}
    assert sorted((method, blanked(path)) for method, path in served) == sorted(named | PUBLIC)


def test_nobody_gets_in_without_a_valid_key(api, company, guids):
    before = everything_of(company)
    for client in (api.anonymous, api.client("wrong")):
        for method, path in PROTECTED:
            answer = client.request(method, path.format(**guids), status=401)
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="Billy"'
            assert answer.json["error_class"] == "AuthenticationRequired"
    assert everything_of(company) == before


def test_another_companys_records_are_not_found_like_those_that_do_not_exist(api, company, guids):
    stranger = api.company()
    before = everything_of(company)
    nobodys = {name: guid[:2] + "1" * 22 for name, guid in guids.items()}
    for method, path in WITH_GUID:
        theirs = stranger.request(method, path.format(**guids), status=404).json
        missing = stranger.request(method, path.format(**nobodys), status=404).json
        assert theirs["error_class"] == missing["error_class"] == "NotFound"
        [name] = [name for name in guids if "{" + name + "}" in path]
        assert theirs["error_message"] == f"No such {name} {guids[name]}"
        assert missing["error_message"] == f"No such {name} {nobodys[name]}"
    assert everything_of(company) == before


def test_a_guid_of_another_kind_is_not_found(company, guids):
    for guid in (guids["plan"], guids["company"], guids["invoice"].lower(), guids["customer"] + "x"):
        company.get(f"/v1/customers/{guid}", status=404)


def test_an_anonymous_caller_does_not_learn_what_exists(api, guids):
    real = api.anonymous.get(f"/v1/customers/{guids['customer']}", status=401)
    made_up = api.anonymous.get("/v1/customers/CU" + "1" * 22, status=401)
    assert {**real.json, "request_id": ""} == {**made_up.json, "request_id": ""}


def encoded(text: bytes | str) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_a_header_that_names_no_key_is_nobodys(company):
    headers = [
        "",
        "Basic",
        "Basic ",
        "Basic ####",
        "Basic " + encoded("no colon"),
        "Basic " + encoded(":"),
        "Basic " + encoded(":password"),
        "Basic " + encoded("wrong:"),
        "Basic " + encoded(b"\xff\xfe:"),
        "Basic " + encoded("ключ:"),
        "Basic " + encoded("a\0b:"),
        "Basic " + encoded("x" * 10_000 + ":"),
        "Bearer x",
        "Digest username=x",
    ]
    for header in headers:
        answer = company.get("/v1/plans", headers={"Authorization": header}, status=401)
        assert answer.json["error_class"] == "AuthenticationRequired"


def test_the_key_must_be_there_to_the_letter(company):
    key = company.api_key
    for wrong in (key[:-1], key + "1", key.swapcase(), " " + key, key + " "):
        company.get("/v1/plans", headers={"Authorization": basic(wrong)}, status=401)
    with_scheme_only = encoded(f"{key}:")
    company.get("/v1/plans", headers={"Authorization": f"Bearer {with_scheme_only}"}, status=401)


def test_the_scheme_in_any_case_and_any_password_will_do(company):
    for scheme in ("Basic", "basic", "BASIC"):
        for password in ("", "x", "with:colons", "ü"):
            header = basic(company.api_key, password).replace("Basic", scheme)
            company.get("/v1/plans", headers={"Authorization": header})


def test_a_processor_key_or_callback_key_is_no_api_key(api, company, callback_path):
    callback_key = callback_path(company).rstrip("/").rpartition("/")[2]
    for key in ("a-processor-key", callback_key, company.guid):
        api.client(key).get("/v1/plans", status=401)


def test_a_replaced_key_works_until_its_grace_is_over(api, company, sessions, clock):
    with sessions.begin() as session:
        record = session.get_one(Company, company.guid)
        new_key = record.reset_api_key(session, clock.now, grace=timedelta(hours=24))
    successor = api.client(new_key)
    clock.move(hours=23, minutes=59)
    company.get("/v1/plans")
    assert successor.get(f"/v1/companies/{company.guid}").json["api_key"] == new_key
    clock.move(minutes=1)
    company.get("/v1/plans", status=401)
    successor.get("/v1/plans")


def test_a_key_that_is_replaced_without_grace_stops_at_once(api, company, sessions, clock):
    with sessions.begin() as session:
        new_key = session.get_one(Company, company.guid).reset_api_key(session, clock.now)
    company.get("/v1/plans", status=401)
    api.client(new_key).get("/v1/plans")


def test_the_key_in_a_query_string_or_body_opens_nothing(api, company):
    api.anonymous.get("/v1/plans", {"api_key": company.api_key}, status=401)
    api.anonymous.post("/v1/customers", {"api_key": company.api_key}, status=401)
