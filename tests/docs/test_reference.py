"""The pages of the reference: they have all of the API, and their command lines say what was recorded."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import pytest
from jinja2 import Environment

from billy.api import openapi
from billy.api.errors import STATUS
from billy.api.operations import operations
from billy.api.parameters import body_parameters
from billy.api.request import Request
from billy.app import make_app
from billy.secrets import new_secret_key
from billy.settings import Settings
from printed import Printed, curl
from tests.docs.pages import DOCS, rows

RECORDED = {name: example for name, example in openapi.examples().items() if "request" in example}


@pytest.fixture(scope="module")
def printed() -> Printed:
    return Printed.of_this_server()


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """What each operation takes."""
    settings = {
        "sqlalchemy.url": "sqlite://",
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
    }
    registry = make_app(Settings.load(settings)).registry
    return {operation.id: operation.body for operation in operations(registry)}


@pytest.fixture(scope="module")
def pages(printed: Printed) -> dict[str, str]:
    """As they are printed."""
    return {
        path.stem: Environment().from_string(path.read_text()).render(printed=printed)
        for path in (DOCS / "reference").glob("*.md")
    }


def test_every_operation_is_told_once(pages: dict[str, str], schemas: dict[str, Any]) -> None:
    labels = Counter(label for page in pages.values() for label in re.findall(r"^\((\w+)\)=\n### ", page, re.MULTILINE))
    assert labels == dict.fromkeys(schemas, 1)


def test_every_answer_that_was_recorded_is_shown(pages: dict[str, str]) -> None:
    blocks = [block for page in pages.values() for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    shown = [json.loads(block) for block in blocks]
    assert [name for name, example in openapi.examples().items() if example["response"] not in shown] == []


def test_every_resource_has_its_fields(pages: dict[str, str]) -> None:
    for page, field in {
        "companies": "api_key",
        "plans": "interval",
        "customers": "processor_uri",
        "subscriptions": "next_invoice_at",
        "invoices": "scheduled_at",
        "transactions": "submit_status",
        "errors": "request_id",
    }.items():
        assert re.search(rf"^\| `{field}` \| [^|]+ \| [^|]+ \|$", pages[page], re.MULTILINE)


def test_every_error_class_is_on_the_page_of_errors(pages: dict[str, str]) -> None:
    told = set(re.findall(r"`(\w+)`", pages["errors"].partition("## All of them")[2]))
    assert {"ValidationError", "DuplicateExternalIDError", "NotFound", "DatabaseUnavailable", "OutcomeUnknown"} <= told


def test_every_setting_is_there_with_its_default(pages: dict[str, str]) -> None:
    for field in Settings.model_fields.values():
        assert field.alias is None or f"| `{field.alias}` |" in pages["settings"]
    assert "| `billy.transaction.lease` | `2m` |" in pages["settings"]


@pytest.mark.parametrize("name", RECORDED)
def test_a_command_line_sends_what_was_recorded(name: str, schemas: dict[str, Any]) -> None:
    sent = RECORDED[name]["request"]
    words = shlex.split(curl("POST", "/", key="a-key", request=sent).replace("\\\n", ""))
    pairs = [tuple(word.split("=", 1)) for option, word in pairwise(words) if option == "-d"]
    request = Request.blank("/", method="POST", body=urlencode(pairs).encode())
    request.content_type = "application/x-www-form-urlencoded"

    parameters = body_parameters(request, schemas[name])
    assert not parameters.errors
    assert parameters.values == as_text(sent)


def as_text(value: Any) -> Any:
    """A JSON value as a form has it."""
    if isinstance(value, dict):
        return {name: as_text(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def test_every_status_that_an_error_has_is_explained() -> None:
    first_cells = [first for first, *_ in rows((DOCS / "reference" / "errors.md").read_text())]
    explained = {int(status) for cell in first_cells for status in re.findall(r"\d+", cell)}
    assert explained >= set(STATUS.values())
