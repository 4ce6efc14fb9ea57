"""The client can do all that the API's document says, and nothing else: methods, parameters, records, errors."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import re
import types
import typing
from datetime import UTC, datetime
from typing import Any

import pytest

import billy.errors
from billy import client as client_package
from billy.api import openapi
from billy.client import Client, Listing, MoneyMoving, errors, parameters, records
from tests.client.double import Double, error, says

IRREGULAR = {
    "index": ("server", "info"),
    "show_openapi": ("server", "openapi"),
    "receive_callback": ("companies", "call_back"),
}
VERBS = {"show": "get"}
PLURALS = {"company": "companies"}
INSTANT = datetime(2026, 1, 15, 12, tzinfo=UTC)


def operations(document: Any) -> dict[str, tuple[str, str, Any]]:
    """Method, path and description, by id, of what answers JSON: not of pages, which a browser shows."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "application/json" in operation["responses"]["200"]["content"]
    }


def name_of(operation_id: str) -> tuple[str, str]:
    """The noun and the method of the client that an operation has to have."""
    if operation_id in IRREGULAR:
        return IRREGULAR[operation_id]
    verb, _, rest = operation_id.partition("_")
    if not rest:
        return "server", verb
    if verb == "list":
        parent, _, children = rest.partition("_")
        return (PLURALS.get(parent, f"{parent}s"), children) if children else (rest, "list")
    return PLURALS.get(rest, f"{rest}s"), VERBS.get(verb, verb)


def methods(billy: Client) -> dict[tuple[str, str], Any]:
    """What the client can do, by noun and name."""
    nouns = {name: value for name, value in vars(billy).items() if not name.startswith("_")}
    return {
        (noun, name): method
        for noun, value in nouns.items()
        if type(value).__module__ == "billy.client.nouns"
        for name, method in inspect.getmembers(value, inspect.ismethod)
        if not name.startswith("_")
    }


def test_every_operation_has_a_method_and_every_method_an_operation(document, billy):
    assert {name_of(each) for each in operations(document)} == set(methods(billy))


# -- types, as the document and as Python say them ---------------------------------------------------


def documented(schema: Any, document: Any) -> Any:
    """What a schema takes, in words that a type can be compared by."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = document["components"]["schemas"][name]
        return ("record", name) if "properties" in found or "oneOf" in found else documented(found, document)
    if "anyOf" in schema:
        kinds = [documented(each, document) for each in schema["anyOf"] if each != {"type": "null"}]
        assert len(kinds) == 1
        return ("or null", kinds[0])
    if "enum" in schema or "const" in schema:
        return ("words", frozenset(schema.get("enum") or [schema["const"]]))
    if schema.get("format") == "date-time":
        return "instant"
    return ("list", documented(schema["items"], document)) if schema["type"] == "array" else schema["type"]


def typed(hint: Any) -> Any:
    """What a type takes, in the same words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is datetime or hint == parameters.Instant:
        return "instant"
    if hint in (str, int, bool):
        return {str: "string", int: "integer", bool: "boolean"}[hint]
    if origin is typing.Literal:
        return ("words", frozenset(arguments))
    if origin in (types.UnionType, typing.Union):
        rest = [each for each in arguments if each not in (types.NoneType, parameters.Keep)]
        kind = "instant" if set(rest) == {datetime, str} else typed(rest[0])
        assert kind == "instant" or len(rest) == 1, hint
        return ("or null", kind) if types.NoneType in arguments else kind
    if origin in (tuple, collections.abc.Sequence):
        return ("list", typed(arguments[0]))
    if origin is typing.NotRequired:
        return typed(arguments[0])
    return ("record", hint.__name__)


def not_null(kind: Any) -> Any:
    return kind[1] if kind[0] == "or null" else kind


# -- what is sent ------------------------------------------------------------------------------------


def query_of(operation: Any) -> dict[str, Any]:
    """The parameters of a query, by the client's spelling."""
    return {
        parameter["name"].replace("[", "__").rstrip("]"): parameter["schema"]
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query"
    }


def body_of(operation: Any, document: Any) -> dict[str, Any]:
    """The schema of a JSON body."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if schema else {}
    return found


def hints_of(method: Any) -> dict[str, Any]:
    return typing.get_type_hints(method, include_extras=True)


def test_every_filter_is_there_with_its_type(document, billy):
    lists = 0
    for operation_id, (_, _, operation) in operations(document).items():
        query = query_of(operation)
        if not query:
            continue
        lists += 1
        hints = hints_of(methods(billy)[name_of(operation_id)])
        [known] = typing.get_args(hints["filters"])
        filters = {name: typed(hint) for name, hint in typing.get_type_hints(known).items()}
        assert filters == {name: documented(schema, document) for name, schema in query.items() if name != "count"}
        assert typing.get_origin(hints["return"]) is Listing
    assert lists > 10


def test_every_parameter_of_a_body_is_there_with_its_type_and_as_required(document, billy):
    for name, (method, path, operation) in operations(document).items():
        function = methods(billy)[name_of(name)]
        signature, hints = inspect.signature(function).parameters, hints_of(function)
        in_path = [one for one, each in signature.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
        assert in_path == re.findall(r"{(\w+)}", path)
        named = {one for one, each in signature.items() if each.kind is each.KEYWORD_ONLY}
        assert ("idempotency_key" in named) == (method != "GET")
        named -= {"idempotency_key"}
        if name == "receive_callback":
            assert named == {"event"}
            continue
        body = body_of(operation, document)
        properties = {one: documented(schema, document) for one, schema in body.get("properties", {}).items()}
        assert {one: not_null(typed(hints[one])) for one in named} == {
            one: not_null(kind) for one, kind in properties.items()
        }
        required = {one for one in named if signature[one].default is inspect.Parameter.empty}
        assert required == set(body.get("required", ()))


@pytest.mark.parametrize("name", ["Item", "Adjustment"])
def test_the_lines_of_an_invoice_are_those_of_the_document(document, name):
    schema = document["components"]["schemas"][name]
    line = getattr(parameters, name)
    hints = typing.get_type_hints(line, include_extras=True)
    assert {each: typed(hint) for each, hint in hints.items()} == {
        each: documented(value, document) for each, value in schema["properties"].items()
    }
    assert {each for each, hint in hints.items() if typing.get_origin(hint) is not typing.NotRequired} == set(
        schema["required"]
    )


def sample(schema: Any, document: Any) -> Any:
    """A value that a schema takes."""
    if "$ref" in schema:
        return sample(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "properties" in schema:
        return {name: sample(each, document) for name, each in schema["properties"].items()}
    kind = not_null(documented(schema, document))
    if kind == "instant":
        return INSTANT
    if kind[0] == "words":
        return min(kind[1])
    if kind[0] == "list":
        return [sample(schema["items"], document)]
    return {"string": "a&b=c ü", "integer": 7, "boolean": True}[kind]


def written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def as_text(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(written(value))


def as_json(record: Any) -> Any:
    """A record as the server wrote it."""
    if isinstance(record, dict):
        return {name: as_json(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [as_json(value) for value in record]
    return written(record)


def test_every_operation_sends_what_it_is_given_and_gives_what_is_answered(document, billy, double):
    for operation_id, (method, path, operation) in operations(document).items():
        example = openapi.examples().get(operation_id, {}).get("response", document)
        double.body = example
        query = {name: sample(each, document) for name, each in query_of(operation).items() if name != "count"}
        if operation_id == "receive_callback":
            body = {"event": {"id": "EV1"}}
        else:
            properties = body_of(operation, document).get("properties", {})
            body = {name: sample(each, document) for name, each in properties.items()}
        function = methods(billy)[name_of(operation_id)]
        in_path = ["GUID1" for _ in re.findall(r"{(\w+)}", path)]

        answered = function(*in_path, **query, **body)
        if query:
            page = next(answered.pages())
            answered = {**dataclasses.asdict(page), "items": [dataclasses.asdict(item) for item in page.items]}
        elif dataclasses.is_dataclass(answered):
            answered = dataclasses.asdict(answered)

        seen = double.seen[-1]
        assert (seen.method, seen.path) == (method, re.sub(r"{\w+}", "GUID1", path))
        spelled = {re.sub(r"__(\w+)$", r"[\1]", name): as_text(value) for name, value in query.items()}
        assert seen.query == spelled
        sent = body.get("event", body)
        assert (seen.json if seen.body else {}) == as_json(sent)
        assert (seen.key is not None) == (method != "GET")
        told = {name: value for name, value in as_json(answered).items() if value is not None or name in example}
        assert told == example, operation_id
    assert len(double.seen) == len(operations(document))


# -- what is answered --------------------------------------------------------------------------------


def answered_schemas(document: Any) -> set[str]:
    """The names of all records of the document, but for pages and what is sent."""
    found: set[str] = set()

    def visit(schema: Any) -> None:
        if isinstance(schema, dict):
            kind, _, name = schema.get("$ref", "").rpartition("/")
            if kind.endswith("/schemas") and name not in found:
                found.add(name)
                visit(document["components"]["schemas"][name])
            for value in schema.values():
                visit(value)
        elif isinstance(schema, list):
            for value in schema:
                visit(value)

    for _, _, operation in operations(document).values():
        visit(operation["responses"])
    kinds = {name for name in found if "properties" in document["components"]["schemas"][name]}
    return {name for name in kinds if not name.endswith("Page")} - {"Error"}


def test_every_record_of_the_document_is_one_of_the_clients(document):
    ours = {name for name, value in vars(records).items() if dataclasses.is_dataclass(value)}
    assert answered_schemas(document) == ours - {"Page", "Invoice"}
    for name in ours:
        assert getattr(client_package, name) is getattr(records, name)


def test_every_field_is_there_with_its_type(document):
    for name in answered_schemas(document):
        schema = document["components"]["schemas"][name]
        kind = getattr(records, name)
        hints = typing.get_type_hints(kind)
        required = {each.name for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING}
        assert required == set(schema["required"]), name
        told = {field: typed(hint) for field, hint in hints.items()}
        said = {field: documented(each, document) for field, each in schema["properties"].items()}
        assert {field: kind if field in required else not_null(kind) for field, kind in told.items()} == said, name


def test_a_page_has_the_fields_of_a_page(document):
    schema = document["components"]["schemas"]["PlanPage"]
    assert {each.name for each in dataclasses.fields(records.Page)} == set(schema["properties"])


# -- what goes wrong ---------------------------------------------------------------------------------


def documented_errors(document: Any) -> set[tuple[int, str]]:
    """Status and word of every error that an operation may answer."""
    found = set()
    for _, _, operation in operations(document).values():
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            if int(status) >= 400:
                found |= {(int(status), word) for word in re.findall(r"^`(\w+)`:", answer["description"], re.MULTILINE)}
    return found


def test_every_error_of_the_document_is_a_class_of_its_name(document):
    found = documented_errors(document)
    assert len(found) > 12
    for status, word in found:
        kind = errors.kind_of(status, word)
        assert kind is (MoneyMoving if (status, word) == (409, "InvalidOperationError") else getattr(errors, word))
        assert getattr(client_package, kind.__name__) is kind


def test_errors_are_kinds_of_each_other_as_they_are_in_the_server():
    shared = [name for name in dir(errors) if isinstance(getattr(billy.errors, name, None), type)]
    assert len(shared) > 12
    for name in shared:
        for other in shared:
            theirs, ours = (getattr(module, name) for module in (billy.errors, errors))
            if issubclass(theirs, getattr(billy.errors, other)):
                assert issubclass(ours, getattr(errors, other)), f"{name} is no {other}"


def test_every_error_is_raised_as_its_class(document, double: Double):
    with Client(double.url, "a-key", retries=0) as billy:
        for status, word in documented_errors(document):
            double.faults.append(says(status, error(word, errors={"amount": ["Too little", "Odd"]})))
            with pytest.raises(errors.kind_of(status, word)) as raised:
                billy.plans.get("PL1")
            assert raised.value.status == status
            assert raised.value.error_class == word
            assert raised.value.message == "A sentence"
            assert raised.value.errors == {"amount": ["Too little", "Odd"]}
