"""The document of the API, and the page that shows it."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from openapi_spec_validator import validate

from billy.api import components, openapi
from billy.api.operations import operations
from billy.api.views.docs import FILES
from billy.models import Plan
from billy.scripts import reference
from tests.api.steps import new_plan

LIMITS = {
    ("PlanCreate", "amount"): {"minimum": 50, "maximum": 99_999_999_999},
    ("PlanCreate", "interval"): {"minimum": 1, "maximum": 36_525},
    ("PlanCreate", "name"): {"maxLength": 128},
    ("SubscriptionCreate", "appears_on_statement_as"): {"maxLength": 18, "pattern": "^[ -)+.0-~-]*$"},
    ("InvoiceCreate", "amount"): {"minimum": 0, "maximum": 99_999_999_999},
    ("InvoiceCreate", "items"): {"maxItems": 1000},
    ("CompanyCreate", "processor_key"): {"maxLength": 255, "pattern": r"\S"},
    ("Refund", "amount"): {"minimum": 1, "maximum": 99_999_999_999},
}


@pytest.fixture(scope="session")
def document(conformance):
    return conformance.document


def described(document):
    """Every operation, by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_is_valid_openapi(document):
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_every_route_and_method_is_in_it(app, document):
    introspector = app.app.registry.introspector
    routes, views = (
        [item["introspectable"] for item in introspector.get_category(kind)] for kind in ("routes", "views")
    )
    routes = {route["name"]: route["pattern"] for route in routes}
    served = {(view["request_methods"], routes[view["route_name"]]) for view in views if not view["exception_only"]}
    assert served == set(described(document))
    assert set(routes.values()) == set(document["paths"])


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document):
    found = described(document).values()
    assert len({operation["operationId"] for operation in found}) == len(found)
    assert all(operation["summary"].endswith(".") for operation in found)


def test_every_parameter_and_limit_is_in_it(app, document):
    schemas = document["components"]["schemas"]
    for operation in operations(app.app.registry):
        said = document["paths"][operation.path][operation.method.lower()]
        if operation.body is not None:
            names = {field.alias or name for name, field in operation.body.model_fields.items()}
            assert set(schemas[operation.body.__name__]["properties"]) == names
        if operation.query is not None:
            names = {field.alias or name for name, field in operation.query.model_fields.items()}
            assert {parameter["name"] for parameter in said["parameters"] if parameter.get("in") == "query"} == names
    for (schema, name), limits in LIMITS.items():
        assert limits.items() <= components.without_null(schemas[schema]["properties"][name]).items()


def test_a_form_spells_lists_with_numbers(document):
    form = document["components"]["schemas"]["InvoiceCreateForm"]
    assert "items" not in form["properties"]
    assert form["properties"]["item_name1"]["maxLength"] == 128
    [amount] = [value for pattern, value in form["patternProperties"].items() if re.search(pattern, "items_amount17")]
    assert amount["minimum"] == -99_999_999_999


def test_every_error_that_a_route_can_give_is_in_it(document):
    for (method, path), operation in described(document).items():
        statuses = set(operation["responses"])
        has_key = operation["security"] == [{"api_key": []}]
        registers = {"registration_token": []} in operation["security"]
        is_metrics = path == "/metrics"  # where they are off there is nothing at this address
        assert ("401" in statuses) == (has_key or registers or is_metrics)
        assert ("403" in statuses) == registers
        assert ("429" in statuses) == (has_key or registers or path.endswith("{callback_key}"))
        assert ("404" in statuses) == ("{" in path or is_metrics)
        assert ("413" in statuses) == (method != "GET")
        assert ("415" in statuses) == ("application/x-www-form-urlencoded" in str(operation.get("requestBody")))
        takes_key = method != "GET" and "/callbacks/" not in path
        assert ("409" in statuses) == (method != "GET")
        assert ("422" in statuses) == (takes_key and has_key)
        assert "500" in statuses
    of_the_view = re.compile("DuplicateExternalIDError|MoneyMoving|InvalidOperationError")
    conflicts = {
        path: operation["responses"]["409"]["description"]
        for (_, path), operation in described(document).items()
        if "409" in operation["responses"]
    }
    assert {path for path, description in conflicts.items() if of_the_view.search(description)} == {
        "/v1/companies/{guid}/callbacks/{callback_key}",
        "/v1/customers",
        "/v1/plans",
        "/v1/subscriptions",
        "/v1/subscriptions/{guid}",
        "/v1/subscriptions/{guid}/cancel",
        "/v1/invoices",
        "/v1/invoices/{guid}",
        "/v1/invoices/{guid}/cancel",
    }


def test_what_changes_something_takes_a_key_and_says_when_its_answer_is_an_old_one(document):
    taking = set()
    for (method, path), operation in described(document).items():
        parameters = [parameter.get("$ref") for parameter in operation.get("parameters", ())]
        takes_key = "#/components/parameters/idempotency_key" in parameters
        assert ("Idempotent-Replayed" in operation["responses"]["200"]["headers"]) == takes_key
        if takes_key:
            taking.add((method, path))
            assert "IdempotencyKeyInUse" in operation["responses"]["409"]["description"]
            assert "Retry-After" in operation["responses"]["409"]["headers"]
    changing = {(method, path) for method, path in described(document) if method != "GET"}
    assert changing - taking == {("POST", "/v1/companies/{guid}/callbacks/{callback_key}")}
    parameter = document["components"]["parameters"]["idempotency_key"]
    assert (parameter["name"], parameter["in"], parameter.get("required", False)) == (
        "Idempotency-Key",
        "header",
        False,
    )
    assert re.search(parameter["schema"]["pattern"], "8e03978e-40d5-43dd-bc93-6894a57f9324")


def test_it_keeps_every_promise_of_2014(document):
    schemas = document["components"]["schemas"]
    promised = {
        "Company": reference.COMPANY,
        "Customer": reference.CUSTOMER,
        "Plan": reference.PLAN,
        "Subscription": reference.SUBSCRIPTION,
        "CustomerInvoice": reference.CUSTOMER_INVOICE,
        "SubscriptionInvoice": reference.SUBSCRIPTION_INVOICE,
        "InvoiceItem": reference.ITEM,
        "InvoiceAdjustment": reference.ADJUSTMENT,
        "Transaction": reference.TRANSACTION,
        "TransactionFailure": reference.FAILURE,
        "PlanPage": reference.page_of(reference.PLAN),
        "Error": reference.ERROR,
        "Callback": reference.CALLBACK,
    }
    for name, fields in promised.items():
        assert fields.keys() <= set(schemas[name]["required"])


def test_it_is_found_without_a_key_and_again_without_its_bytes(api):
    answer = api.anonymous.get("/v1/openapi.json")
    assert answer.content_type == "application/json"
    again = api.anonymous.get("/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}, status=304)
    assert again.body == b""
    api.anonymous.get("/v1/openapi.json", headers={"If-None-Match": '"another"'})


def test_it_is_made_once_and_needs_no_database(api, statements, monkeypatch):
    monkeypatch.setattr(openapi, "document", None)
    with statements() as seen:
        assert api.anonymous.get("/v1/openapi.json").body == api.anonymous.get("/v1/openapi.json").body
        api.anonymous.get("/docs")
    assert seen == []


def test_an_answer_that_the_document_does_not_allow_is_seen(company, monkeypatch):
    from billy.api import serializers

    plan = new_plan(company)
    for change in ({"color": "red"}, {"amount": "500"}, {"interval": None}, {"created_at": "2026-01-15 12:00"}):
        told = {**plan, **change}
        with monkeypatch.context() as patch:
            patch.setitem(serializers.SERIALIZERS, Plan, lambda record, request, told=told: told)
            with pytest.raises(AssertionError, match=next(iter(change))):
                company.get(f"/v1/plans/{plan['guid']}")


# -- the page ----------------------------------------------------------------------------------------


def test_the_page_runs_only_what_this_server_sends(api):
    page = api.anonymous.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script(?! src=)|<style|style=|\son\w+=|https?://", page.text)


def test_the_page_is_complete(api):
    wanted = re.findall(r'(?:src|href)="(/docs/[^"]+)"', api.anonymous.get("/docs").text)
    assert sorted(wanted) == sorted(f"/docs/{name}" for name in FILES if name != "index.html")
    for path in wanted:
        answer = api.anonymous.get(path)
        assert answer.content_type in ("text/javascript", "text/css")
        assert answer.headers["Content-Security-Policy"]
        api.anonymous.get(path, headers={"If-None-Match": answer.headers["ETag"]}, status=304)


def test_nothing_else_of_the_package_is_served(api):
    for name in ("README.md", "LICENSE", "..", "%2e%2e%2fopenapi.py", "examples.json"):
        api.anonymous.get(f"/docs/{name}", status=404)


def test_the_explorers_licence_is_beside_it():
    beside = {path.name for path in resources.files("billy.api").joinpath("explorer").iterdir()}
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} <= beside
