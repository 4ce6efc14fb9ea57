"""The examples of the document are what was really sent and answered: this run, but for ids and versions.

After a change of the API, ``BILLY_RECORD_EXAMPLES=1`` writes them anew: read what changed before it is committed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from billy.api import openapi
from billy.guid import PATTERN
from tests.support.client import Api, Client
from tests.support.conformance import Conformance

Recorded = dict[str, dict[str, Any]]

PROCESSOR_KEY = "sk_test_4eC39HqLyjWD"

_GUID = re.compile(rf"\b{PATTERN}\b")
_OF_THE_PROCESSOR = re.compile(r'"processor_uri": "(/\w+/)[^"]+"')
_OF_THE_DAY = {"api_key", "version", "revision", "current", "head"}


class Recorder:
    """Sends requests as JSON, and keeps the first of each operation."""

    def __init__(self, conformance: Conformance) -> None:
        self.recorded: Recorded = {}
        self._conformance = conformance

    def __call__(self, client: Client, method: str, path: str, sent: Any = None) -> dict[str, Any]:
        documented = self._conformance.path_of(path.partition("?")[0])
        operation = self._conformance.document["paths"][documented][method.lower()]
        answer: dict[str, Any] = client.request(method, path, json=sent).json
        example = {"response": answer} if sent is None else {"request": sent, "response": answer}
        self.recorded.setdefault(operation["operationId"], example)
        return answer


@pytest.fixture
def recorded(api: Api, conformance: Conformance, call_back: Any, sandbox: Any, clock: Any) -> Recorded:
    """Every operation once."""
    record = Recorder(conformance)
    record(api.anonymous, "GET", "/health")
    record(api.anonymous, "GET", "/health/ready")
    registered = record(api.anonymous, "POST", "/v1/companies", {"processor_key": PROCESSOR_KEY, "name": "Hats & Co."})
    company = Client(api.app, registered["api_key"], registered)
    record(company, "GET", f"/v1/companies/{company.guid}")

    customer = record(company, "POST", "/v1/customers", {"external_id": "customer-42"})
    plan = record(
        company,
        "POST",
        "/v1/plans",
        {"plan_type": "debit", "frequency": "monthly", "amount": 1900, "name": "A hat a month"},
    )
    subscription = record(
        company,
        "POST",
        "/v1/subscriptions",
        {
            "customer_guid": customer["guid"],
            "plan_guid": plan["guid"],
            "funding_instrument_uri": "/cards/declined",
            "appears_on_statement_as": "HATS & CO",
        },
    )
    clock.move(minutes=1)
    record(company, "PUT", f"/v1/subscriptions/{subscription['guid']}", {"funding_instrument_uri": "/cards/ok"})
    invoice = record(
        company,
        "POST",
        "/v1/invoices",
        {
            "customer_guid": customer["guid"],
            "amount": 4500,
            "title": "Order 1001",
            "external_id": "1001",
            "items": [{"name": "Panama hat", "amount": 4500, "quantity": 1}],
            "adjustments": [{"amount": -500, "reason": "Welcome"}],
        },
    )
    clock.move(minutes=1)
    record(company, "PUT", f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
    record(company, "POST", f"/v1/invoices/{invoice['guid']}/refund", {"amount": 1000})

    parents = {"customers": customer, "plans": plan, "subscriptions": subscription, "invoices": invoice}
    lists = [path for path in conformance.document["paths"] if path.startswith("/v1/") and is_list(conformance, path)]
    for path in lists:
        parent = parents.get(path.split("/")[2], {})
        record(company, "GET", path.format(**parent) + "?limit=1")
    for noun in ("customers", "plans", "subscriptions", "invoices", "transactions"):
        [newest] = company.get(f"/v1/{noun}", {"limit": 1}).json["items"]
        record(company, "GET", f"/v1/{noun}/{newest['guid']}")

    unpaid = company.post("/v1/invoices", {"customer_guid": customer["guid"], "amount": 100}).json
    record(company, "POST", f"/v1/invoices/{unpaid['guid']}/cancel")
    record(company, "POST", f"/v1/subscriptions/{subscription['guid']}/cancel", {"open_invoices": False})
    record(company, "DELETE", f"/v1/plans/{plan['guid']}")
    record(company, "DELETE", f"/v1/customers/{customer['guid']}")
    record(company, "GET", "/")
    event = call_back(company, sandbox.announce(PROCESSOR_KEY), processor_key=PROCESSOR_KEY)
    record.recorded["receive_callback"] = {"response": event.json}
    return record.recorded


def is_list(conformance: Conformance, path: str) -> bool:
    return conformance.document["paths"][path].get("get", {}).get("operationId", "").startswith("list_")


def comparable(examples: Recorded) -> Any:
    """Without what is another each time: the n-th guid of a kind is the same as the n-th."""
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        guid = match[0]
        return f"{guid[:2]} number {numbers.setdefault(guid, len(numbers))}"

    def of_no_day(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: None if name in _OF_THE_DAY else value for name, value in pairs}

    timeless = json.loads(json.dumps(examples), object_pairs_hook=of_no_day)
    text = _OF_THE_PROCESSOR.sub(r'"processor_uri": "\1"', json.dumps(timeless, sort_keys=True))
    return json.loads(_GUID.sub(numbered, text))


def test_the_examples_are_this_run(recorded: Recorded) -> None:
    path = Path(openapi.__file__).with_name("examples.json")
    if os.environ.get("BILLY_RECORD_EXAMPLES"):
        path.write_text(json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert comparable(json.loads(path.read_text())) == comparable(recorded)


def test_every_operation_that_answers_json_has_an_example(conformance: Conformance) -> None:
    without = [
        operation["operationId"]
        for path in conformance.document["paths"].values()
        for operation in path.values()
        if "schema" in operation["responses"]["200"]["content"].get("application/json", {})
        and "example" not in operation["responses"]["200"]["content"]["application/json"]
    ]
    assert without == []


def test_every_body_has_an_example(conformance: Conformance) -> None:
    without = [
        operation["operationId"]
        for path in conformance.document["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
        and operation["operationId"] != "receive_callback"  # whose body is the processor's
        and "example" not in operation["requestBody"]["content"]["application/json"]
    ]
    assert without == []
