"""Whether an answer is one that the document of the API allows.

The document is the one that the server itself serves. Here its objects are closed: clients must bear fields that
they do not know, but a server of this version has none but those that it documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.protocols import Validator
from webob import Response

ERRORS = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}

# An address or a method that there is not.
ELSEWHERE = {404, 405}


class Conformance:
    """Checks answers against one document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.checked: set[tuple[str, str, int]] = set()
        """Method, path and status of what was checked."""
        self._paths = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?") for path in document["paths"]}
        self._validators: dict[str, Validator] = {}

    def path_of(self, path: str) -> str | None:
        """The documented path that an address is of."""
        matching = [name for name, pattern in self._paths.items() if pattern.fullmatch(path)]
        return min(matching, key=lambda name: name.count("{"), default=None)

    def mistakes(self, method: str, address: str, response: Response) -> list[str]:
        """What the document does not allow; empty if nothing."""
        path = self.path_of(address)
        has_body = method != "HEAD"
        method = "GET" if method == "HEAD" else method
        operation = self.document["paths"].get(path, {}).get(method.lower())
        status = response.status_code
        if operation is None:
            return self._of_content(response, ERRORS, has_body=has_body) if status in ELSEWHERE else []
        self.checked.add((method, path, status))
        if status == 304:
            return []
        answer = operation["responses"].get(str(status))
        if answer is None:
            return [f"{method} {path} answers {status}, which is not documented"]
        if "$ref" in answer:
            answer = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        headers = answer.get("headers", {})
        required = [name for name, header in headers.items() if header.get("required")]
        missing = [f"{name} is missing" for name in required if name not in response.headers]
        return missing + self._of_content(response, answer["content"], has_body=has_body)

    def _of_content(self, response: Response, content: Mapping[str, Any], *, has_body: bool) -> list[str]:
        if response.content_type not in content and "*/*" not in content:
            return [f"{response.content_type} is none of {list(content)}"]
        schema = content.get(response.content_type, {}).get("schema")
        return self._of_body(response, schema) if schema and has_body else []

    def _of_body(self, response: Response, schema: Mapping[str, Any]) -> list[str]:
        key = repr(schema)
        if key not in self._validators:
            self._validators[key] = validator(schema, self.document["components"])
        return [f"{error.json_path}: {error.message}" for error in self._validators[key].iter_errors(response.json)]


def validator(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Validator:
    """Checks values against a schema that refers to ``components``; their objects are closed."""
    whole = _closed({**schema, "components": components})
    return Draft202012Validator(whole, format_checker=FormatChecker(["date-time"]))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
