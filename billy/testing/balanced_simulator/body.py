"""What a request's body says, field by field; the first wrong one is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from billy.testing.balanced_simulator.errors import ApiError, invalid

ADDRESS = ("city", "country_code", "line1", "line2", "postal_code", "state")

_META_LENGTH = 255
_LARGEST = 10_000_000_000
_INTEGER = re.compile(r"[0-9]{1,12}\Z", re.ASCII)


def read_json(raw: bytes) -> Any:
    """The value; nothing at all counts as ``{}``."""
    if not raw.strip():
        return {}
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError("request", "The body is not JSON.") from None


def read_body(value: Any, type: str) -> Body:
    """Bare (``{"amount": 1}``), wrapped (``{"debits": [{"amount": 1}]}``) or JSON Patch, for an object of ``type``."""
    if isinstance(value, list):
        value = _patched(value)
    elif isinstance(value, dict) and isinstance(wrapped := value.get(type), list):
        value = wrapped[0] if len(wrapped) == 1 else None
    if not isinstance(value, dict):
        raise ApiError("request", f"The body is not an object, nor a list of one {type} object.")
    return Body(value)


def _patched(operations: list[Any]) -> dict[str, Any]:
    """``[{"op": "replace", "path": "/cards/0/links/customer", "value": …}]`` as the object that says the same."""
    values: dict[str, Any] = {}
    for operation in operations:
        if not isinstance(operation, dict) or operation.get("op") not in ("add", "replace"):
            raise ApiError("request", 'A patch is a list of {"op": "replace", "path": …, "value": …}.')
        match str(operation.get("path")).split("/"):
            case ["", _, "0", name]:
                values[name] = operation.get("value")
            case ["", _, "0", "links", name]:
                values[name] = operation.get("value")
            case _:
                raise ApiError("request", "The path of a patch is /cards/0/links/customer, or the like.")
    return values


class Body:
    """The fields that were sent. Unknown ones are never looked at, and null is as good as absent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        links = values.get("links")
        # The service's own client sends both, with a null beside the links.
        self._values = {**values, **{k: v for k, v in (links if isinstance(links, dict) else {}).items() if v}}

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def value(self, name: str) -> Any:
        """As it was sent."""
        return self._values.get(name)

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A string of any length."""
        value = self.value(name)
        if value is None and required:
            raise invalid(name, "missing")
        if value is not None and not isinstance(value, str):
            raise invalid(name, f"{_quoted(value)} is not a string")
        return value

    def required(self, name: str) -> str:
        """A string that must be there, and not be empty."""
        value = self.text(name, required=True)
        if not value:
            raise invalid(name, "missing")
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number, or its digits."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, str) and _INTEGER.match(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid(name, f"{_quoted(value)} is not an integer")
        if value < low:
            raise invalid(name, f'"{value}" must be >= {low}')
        if value > high:
            raise invalid(name, f'"{value}" must be <= {high}')
        return value

    def amount(self, *, default: int | None = None, at_most: int = _LARGEST) -> int:
        """Cents; required where there is no default."""
        amount = self.integer("amount", 1, at_most)
        if amount is None:
            amount = default
        if amount is None:
            raise invalid("amount", "missing")
        return amount

    def meta(self) -> dict[str, str] | None:
        """One level of short strings."""
        meta = self.value("meta")
        if meta is None:
            return None
        if not isinstance(meta, dict):
            raise invalid("meta", f"{_quoted(meta)} is not an object")
        for key, value in meta.items():
            if not isinstance(value, str):
                raise invalid("meta", f"{_quoted(value)} is not a string")
            if len(key) > _META_LENGTH or len(value) > _META_LENGTH:
                raise invalid("meta", f"must have length <= {_META_LENGTH}")
        return meta

    def address(self) -> dict[str, str | None]:
        """With all six keys."""
        address = self.value("address")
        if address is not None and not isinstance(address, dict):
            raise invalid("address", f"{_quoted(address)} is not an object")
        given = Body(address or {})
        return {name: given.text(name) for name in ADDRESS}

    def reference(self, name: str) -> str | None:
        """The id that an id, an href or a legacy URI names."""
        value = self.text(name) or self.text(f"{name}_href")
        if not value:
            return None
        if "://" in value:
            raise invalid(name, f"{_quoted(value)} is not a URI of this service")
        return value.rpartition("/")[2]


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return f'"{text[:100]}"'
