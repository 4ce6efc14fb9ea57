"""The document of the API: OpenAPI 3.1, made of what the server itself runs on.

Paths and methods are those of Pyramid's introspection, parameters those of ``schemas``, answers those of
``resources``, statuses those of ``errors``, sentences those of docstrings; the examples are a recorded run. So
there is nothing here to keep in step, and what a view does not say is not in the document.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import Any

import orjson
from pyramid.registry import Registry

from billy import guid
from billy.api import idempotency
from billy.api.components import Json, all_schemas, form_of, page_of, reference, request_schema, without_null
from billy.api.errors import status_of
from billy.api.operations import Operation, operations
from billy.api.schemas import Schema
from billy.api.security import Permission
from billy.errors import (
    AuthenticationRequired,
    BillyError,
    DatabaseUnavailable,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    RegistrationClosed,
    RegistrationTokenRequired,
    TooManyRequests,
    ValidationError,
)

DESCRIPTION = """\
Plans, customers, subscriptions, invoices and transactions of a recurring-billing server.

**Authentication.** HTTP basic: the API key is the user name, the password is ignored. `POST /v1/companies` answers
with a key, if the server lets everyone register; else it wants its own token, or the operator registers companies.
A key that opens nothing is 401, and 429 if it is tried too often; one that does is never refused for that.

**Requests.** Parameters of a list are in the query string; those of everything else are in the body, as a form or as a
JSON object, never in the query string. Parameters that an operation does not have are ignored. An empty text, and a
null, is the same as leaving the parameter out, unless it says otherwise. A form spells lists with numbers:
`item_name1=Shirt&item_amount1=1500&adjustment_amount1=-100`. Words such as `debit` are taken in any case. An address
may end in a slash. `HEAD` works where `GET` does.

**Trying again.** A request that changes something may have an `Idempotency-Key`: a word of your choice, another one for
each request. So after a broken connection, or a 5xx, send the same bytes with the same key once more: what was done is
not done again, but the stored answer is given again, with `Idempotent-Replayed: true`. The server keeps it for a day,
or as it is set; that of a registration for an hour. While the first request is still worked on, the answer is 409 with
`Retry-After`. The same key with anything else is 422. An answer of 400 and above is not stored; one below 500 frees
the key.

**Money** is a whole number of cents. **Instants** are ISO 8601, answered in UTC (`2026-01-15T12:00:00+00:00`); without
an offset what you send is UTC, without a time it is midnight.

**Lists** are newest first, a page at a time: follow `next` until it is null. Filters have to fit all at once. Each of
them, alone or below a parent, takes as long in a long list as in a short one; `offset` and `count` do not.

**Errors** have one body, whatever the status. A method that an address does not have is 405, with those that it has in
`Allow`; an address that does not exist is 404. Every answer names its request in `X-Request-Id`: yours, if you send a
sane one.
"""

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

# What Pyramid itself answers; our own errors are described where they are defined.
_OF_PYRAMID = {
    413: "`RequestEntityTooLarge`: the body has more bytes than the server takes (`billy.api.maximum_body`).",
    415: "`UnsupportedMediaType`: the body is neither a form nor JSON.",
    500: "`InternalServerError`: a bug of ours. Nothing is saved; report it with its `request_id`.",
}
_SECONDS = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    409: {"Retry-After": _SECONDS},
    429: {"Retry-After": {"required": True, **_SECONDS}},
    503: {"Retry-After": {"required": True, **_SECONDS}},
}
_REPLAYED = {
    "description": "The answer is the stored one of an earlier request with the same `Idempotency-Key`.",
    "schema": {"const": "true"},
}


def version() -> str:
    """Of this server."""
    try:
        return metadata.version("billy")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "0.0.0"


@cache
def examples() -> Json:
    """What was sent and answered in a recorded run, by operation (``tests/api/test_examples.py`` makes it)."""
    recorded: Json = orjson.loads(resources.files("billy.api").joinpath("examples.json").read_bytes())
    return recorded


def document(registry: Registry) -> Json:
    """The whole document."""
    all_of_them = operations(registry)
    paths: dict[str, Json] = defaultdict(dict)
    for operation in all_of_them:
        paths[operation.path][operation.method.lower()] = _Description(operation, all_of_them).as_json()
    modules = {operation.noun: inspect.getmodule(operation.view) for operation in all_of_them}
    nouns = sorted(modules, key=lambda noun: noun in ("docs", "server_info"))  # which nobody looks for
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Billy",
            "version": version(),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": noun, "description": _sentence(modules[noun])} for noun in nouns],
        "paths": paths,
        "components": {
            "schemas": all_schemas(),
            "responses": _shared_responses(),
            "parameters": {"guid": _guid_parameter(), "idempotency_key": _key_parameter()},
            "securitySchemes": {
                "api_key": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The API key is the user name; the password is ignored.",
                },
                "registration_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The server's own token, to register with; if `billy.registration` is `token`.",
                },
                "metrics_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What the operator has set as `billy.metrics_token`, if he has.",
                },
            },
        },
    }


def as_json(registry: Registry) -> bytes:
    """The whole document as it is served: in Markdown, which has one backtick where our docstrings have two."""
    return orjson.dumps(document(registry)).replace(b"``", b"`")


# -- one operation -----------------------------------------------------------------------------------


@dataclass
class _Description:
    operation: Operation
    others: list[Operation]

    @property
    def example(self) -> Json:
        example: Json = examples().get(self.operation.id, {})
        return example

    def as_json(self) -> Json:
        operation = self.operation
        said: Json = {
            "operationId": operation.id,
            "summary": _sentence(operation.view).replace("``", ""),
            "tags": [operation.noun],
            "security": self.security(),
            "responses": {str(status): answer for status, answer in sorted(self.responses().items())},
        }
        parameters = [*self.path_parameters(), *self.query_parameters(), *self.header_parameters()]
        if parameters:
            said["parameters"] = parameters
        if operation.body is not None:
            said["requestBody"] = self.body(operation.body)
        elif operation.route == "callback":
            said["requestBody"] = {
                "description": "What the processor sends; its form is the processor's.",
                "content": {"application/json": {"schema": {}}},
            }
        return said

    def security(self) -> list[Json]:
        if self.operation.permission is Permission.COMPANY:
            return [{"api_key": []}]
        if self.operation.permission is Permission.REGISTRATION:
            return [{}, {"registration_token": []}]
        optional = {"index": "api_key", "metrics": "metrics_token"}.get(self.operation.route)
        return [{}, {optional: []}] if optional else []

    def path_parameters(self) -> Iterator[Json]:
        for name in re.findall(r"{(\w+)}", self.operation.path):
            if name == "guid":
                yield {"$ref": "#/components/parameters/guid"}
            else:
                yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}

    def query_parameters(self) -> Iterator[Json]:
        if self.operation.query is None:
            return
        properties = request_schema(self.operation.query)["properties"]
        for name, schema in properties.items():
            schema = dict(schema)
            described = {"description": schema.pop("description")} if "description" in schema else {}
            yield {"name": name, "in": "query", **described, "schema": without_null(schema)}

    def header_parameters(self) -> Iterator[Json]:
        if self.operation.takes_key:
            yield {"$ref": "#/components/parameters/idempotency_key"}

    def body(self, schema: type[Schema]) -> Json:
        sent = {"example": self.example["request"]} if "request" in self.example else {}
        return {
            "required": bool(request_schema(schema).get("required")),
            "content": {
                "application/json": {"schema": reference(schema.__name__), **sent},
                **{media_type: {"schema": reference(form_of(schema))} for media_type in FORMS},
            },
        }

    def responses(self) -> dict[int, Json]:
        operation = self.operation
        answers: dict[int, Json] = {}
        errors: dict[int, list[type[BillyError]]] = defaultdict(list)
        for error in self.errors():
            status = status_of(error)
            assert status is not None, f"{operation.id} raises {error.__name__}, which is not meant for callers"
            errors[status].append(error)
        for status, kinds in errors.items():
            answers[status] = _error_response(status, (_told(kind) for kind in kinds))
        for status in self.pyramids():
            answers[status] = {"$ref": f"#/components/responses/{status}"}
        for status in operation.statuses:
            answers[status] = self.success(status, failure=answers.get(status))
        return answers

    def errors(self) -> Iterator[type[BillyError]]:
        operation = self.operation
        if operation.body or operation.query or operation.takes_key:
            yield ValidationError
        if operation.body or operation.query:
            yield InvalidRequest
        if operation.takes_key:
            yield IdempotencyKeyInUse
        if operation.permission is Permission.COMPANY:
            yield AuthenticationRequired
            yield TooManyRequests
            if operation.takes_key:
                yield IdempotencyKeyReused
        if operation.permission is Permission.REGISTRATION:
            yield RegistrationTokenRequired
            yield RegistrationClosed
            yield TooManyRequests
        if "{" in operation.path:
            yield NotFound
        if operation.uses_database:
            yield DatabaseUnavailable
        yield from operation.raises

    def pyramids(self) -> Iterator[int]:
        if self.operation.method != "GET":
            yield 413
        if self.operation.body is not None:
            yield 415
        yield 500

    def success(self, status: int, *, failure: Json | None) -> Json:
        operation = self.operation
        content: Json = {"schema": self.returned()} if operation.returns is not None else {}
        if failure is not None:
            content["schema"] = {"anyOf": [content["schema"], reference("Error")]}
        if status == 200 and "response" in self.example:
            content["example"] = self.example["response"]
        answer: Json = {"description": _sentence(operation.view), "content": {operation.media_type: content}}
        answer["headers"] = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
        if operation.takes_key:
            answer["headers"][idempotency.REPLAYED] = _REPLAYED
        links = self.links()
        return {**answer, "links": links} if links else answer

    def returned(self) -> Json:
        if self.operation.item is not None:
            return reference(page_of(self.operation.item))
        return reference(self.operation.returns.__name__)

    def links(self) -> Json:
        """Where an answer leads to: what is below its guid, and what can be made with it."""
        table = getattr(self.operation.returns, "__tablename__", None)
        if table is None or self.operation.method == "DELETE":
            return {}
        below = next(other.path for other in self.others if other.id == f"show_{table}")
        found = "$response.body#/guid"
        links = {}
        for other in self.others:
            if other.path.startswith(below) and other is not self.operation:
                links[other.id] = {"operationId": other.id, "parameters": {"guid": found}}
            elif other.body is not None and f"{table}_guid" in other.body.model_fields:
                links[other.id] = {"operationId": other.id, "requestBody": {f"{table}_guid": found}}
        return links


# -- what they share ---------------------------------------------------------------------------------


def _sentence(documented: Any) -> str:
    """The first paragraph of a docstring, in Markdown."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _told(error: type[BillyError]) -> str:
    name = error.__new__(error).error_class
    return f"`{name}`: {_sentence(error)}"


def _error_response(status: int, told: Iterable[str]) -> Json:
    answer: Json = {
        "description": "\n\n".join(dict.fromkeys(told)),
        "content": {"application/json": {"schema": reference("Error")}},
    }
    return {**answer, "headers": _HEADERS[status]} if status in _HEADERS else answer


def _shared_responses() -> Json:
    return {str(status): _error_response(status, [told]) for status, told in _OF_PYRAMID.items()}


def _key_parameter() -> Json:
    return {
        "name": idempotency.HEADER,
        "in": "header",
        "description": "Sent again with the same key, the request is answered again, and not done again.",
        "schema": {"type": "string", "pattern": f"^{idempotency.PATTERN}$"},
    }


def _guid_parameter() -> Json:
    return {
        "name": "guid",
        "in": "path",
        "required": True,
        "description": "Two letters for the kind of record, and what tells it apart.",
        "schema": {"type": "string", "pattern": f"^{guid.PATTERN}$"},
    }
