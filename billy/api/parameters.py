"""How parameters are read: from the query string of a list, from the body of everything else.

A body is a form (urlencoded or multipart) or JSON. Nothing is taken from the query string of a
request that changes something: it ends up in logs (D42). Not webob's ``request.POST``: it replaces
bytes that are not UTF-8 and keeps the last of two values without a word, and both change what is billed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote_to_bytes

from pyramid.httpexceptions import HTTPUnsupportedMediaType

from billy.api.request import Request
from billy.errors import InvalidRequest

if TYPE_CHECKING:
    from billy.api.schemas import ListQuery, Schema

MOST_PARAMETERS = 10_000
"""A thousand items and as many adjustments have eight thousand fields."""

# The API reference of 2014 says "adjustments_" where its example and code said "adjustment_", and
# "quanity": all are accepted.
_NUMBERED = re.compile(r"(?P<prefix>(?P<kind>item|adjustment)s?_)(?P<field>[a-z]+)(?P<number>\s*[+-]?[0-9]{1,18}\s*)\Z")
_RESERVED = re.compile(r"(?:item|adjustment)s?(?![A-Za-z])")
SPELLINGS = {"quanity": "quantity"}

Location = tuple[int | str, ...]


@dataclass(slots=True)
class Parameters:
    """What was sent, before it is checked."""

    values: dict[str, Any]
    is_text: bool
    """Every value is text: a form or a query string."""
    spelled: dict[Location, str] = field(default_factory=dict)
    """How the caller wrote what has another name here."""
    errors: dict[str, list[str]] = field(default_factory=dict)

    def name(self, location: Location) -> str:
        """A parameter's name as the caller spelled it."""
        return self.spelled.get(location) or ".".join(str(part) for part in location)


def query_parameters(request: Request, schema: type[ListQuery]) -> Parameters:
    """The query string of a list."""
    parameters = _text_parameters(_urlencoded(request.environ.get("QUERY_STRING", "").encode("latin-1")))
    for name in parameters.values:
        if schema.refuses(name):
            parameters.errors[name] = ["This list cannot be filtered by it"]
    return parameters


def body_parameters(request: Request, schema: type[Schema]) -> Parameters:
    """The body, as its Content-Type says: a form or JSON. No body is no parameters."""
    body = request.body
    if not body:
        return Parameters({}, is_text=True)
    content_type = request.content_type.lower()
    if content_type == "application/json":
        parameters = Parameters(_json_object(body), is_text=False)
        if schema.numbered:
            _refuse_numbered(parameters, schema.numbered)
        return parameters
    if content_type == "application/x-www-form-urlencoded":
        parameters = _text_parameters(_urlencoded(body))
    elif content_type == "multipart/form-data":
        parameters = _text_parameters(_multipart(request.headers["Content-Type"], body))
    else:
        raise HTTPUnsupportedMediaType(
            "The body must be application/x-www-form-urlencoded, multipart/form-data or application/json"
        )
    return _gather_numbered(parameters, schema.numbered) if schema.numbered else parameters


def _text_parameters(pairs: Iterable[tuple[bytes, bytes]]) -> Parameters:
    parameters = Parameters({}, is_text=True)
    for raw_name, raw_value in pairs:
        name = _checked_name(raw_name.decode("latin-1"))
        try:
            value = raw_value.decode("utf-8")
        except UnicodeDecodeError:
            parameters.errors[name] = ["Not valid UTF-8"]
            continue
        if parameters.values.setdefault(name, value) != value:
            parameters.errors[name] = ["Given more than once, with different values"]
    return parameters


def _checked_name(name: str) -> str:
    if not (name.isascii() and name.isprintable()):
        raise InvalidRequest("The name of a parameter has a character that is not printable ASCII")
    return name


def _urlencoded(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    # Not parse_qsl: it replaces bytes that are not UTF-8, or takes no others than ASCII.
    parts = text.split(b"&", MOST_PARAMETERS)
    _refuse_too_many(parts)
    for part in filter(None, parts):
        name, _, value = part.replace(b"+", b" ").partition(b"=")
        yield unquote_to_bytes(name), unquote_to_bytes(value)


def _refuse_too_many(parts: Sized) -> None:
    if len(parts) > MOST_PARAMETERS:
        raise InvalidRequest(f"There are more than {MOST_PARAMETERS} parameters")


def _multipart(content_type: str, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    head = b"Content-Type: %s\r\n\r\n" % content_type.encode("latin-1", "replace")
    message = BytesParser().parsebytes(head + body)
    parts: Any = message.get_payload()
    if not isinstance(parts, list) or message.defects:
        raise InvalidRequest("The body is not valid multipart/form-data")
    _refuse_too_many(parts)
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(value, bytes):
            raise InvalidRequest("The body is not valid multipart/form-data")
        if part.get_filename() is not None:
            raise InvalidRequest(f"Files are not accepted: {_checked_name(name)}")
        yield name.encode("utf-8", "surrogateescape"), value


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON: a number is not one, or it is nested too deeply") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if _checked_name(name) in values:
            raise InvalidRequest(f"The JSON object has {name} more than once")
        values[name] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _gather_numbered(parameters: Parameters, kinds: Mapping[str, type[Schema]]) -> Parameters:
    """Turn ``item_name1=…`` into ``items: [{name: …}]``, in the order of the numbers.

    A name that looks like one and is not is an error: a discount that is dropped in silence overcharges.
    """
    gathered = Parameters({}, is_text=True, errors=parameters.errors)
    rows: dict[str, dict[int, dict[str, str]]] = {kind: {} for kind in kinds}
    names: dict[tuple[str, int, str], str] = {}
    for name, value in parameters.values.items():
        if not _RESERVED.match(name):
            gathered.values[name] = value
            continue
        match = _NUMBERED.match(name)
        column = SPELLINGS.get(match["field"], match["field"]) if match else ""
        if match is None or column not in kinds[match["kind"]].model_fields:
            gathered.errors[name] = [f"Not a field of an item or adjustment, such as {' or '.join(_examples(kinds))}"]
            continue
        kind, number = match["kind"], int(match["number"])
        row = rows[kind].setdefault(number, {})
        if row.setdefault(column, value) != value:
            gathered.errors[name] = [f"Differs from {names[kind, number, column]}, which names the same"]
        for other in kinds[kind].model_fields:
            # Also those that are missing, so that they are reported in the caller's spelling.
            names.setdefault((kind, number, other), f"{match['prefix']}{other}{match['number']}")
        names[kind, number, column] = name
    for kind, numbered in rows.items():
        if numbered:
            gathered.values[f"{kind}s"] = [numbered[number] for number in sorted(numbered)]
        for index, number in enumerate(sorted(numbered)):
            for column in kinds[kind].model_fields:
                gathered.spelled[f"{kind}s", index, column] = names[kind, number, column]
    return gathered


def _examples(kinds: Mapping[str, type[Schema]]) -> list[str]:
    return [f"{kind}_{next(iter(schema.model_fields))}1" for kind, schema in kinds.items()]


def _refuse_numbered(parameters: Parameters, kinds: Mapping[str, type[Schema]]) -> None:
    lists = [f"{kind}s" for kind in kinds]
    for name in parameters.values:
        if _RESERVED.match(name) and name not in lists:
            parameters.errors[name] = [f"In JSON, {' and '.join(lists)} are lists of objects"]
