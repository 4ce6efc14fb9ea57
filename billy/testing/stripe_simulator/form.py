"""Parameters as Stripe takes them: a form whose names nest, ``metadata[a]=1&created[gte]=5&events[0]=x``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")


class Refusal(Exception):
    """An error of Stripe's API."""

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status_code = status
        self.error = {"message": message, "type": "invalid_request_error", **fields}


def read_form(body: bytes) -> dict[str, Any]:
    """The parameters of a body."""
    try:
        return nested(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)))
    except (UnicodeDecodeError, ValueError):
        raise Refusal(400, "The body is not a form.") from None


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The same from name-value pairs."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        match = _NAME.match(name)
        if match is None:
            raise Refusal(400, f"Invalid parameter: {name[:100]}", param=name[:100])
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        place = values
        for key in path[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise Refusal(400, f"Invalid parameter: {name[:100]}", param=name[:100])
        place[path[-1] or str(len(place))] = value
    return values


class Form:
    """Parameters, each of which has to be asked for: what nobody asks for is unknown, and refused."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def text(self, name: str) -> str | None:
        """A string; empty counts as unset."""
        value = self._values.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise Refusal(400, f"Invalid string: {name}", param=name)
        return value or None

    def required(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
        return value

    def integer(self, name: str) -> int | None:
        """A whole number that is not negative."""
        value = self.text(name)
        if value is not None and re.fullmatch("[0-9]{1,12}", value, re.ASCII) is None:
            raise Refusal(400, f"Invalid integer: {value[:100]}", code="parameter_invalid_integer", param=name)
        return None if value is None else int(value)

    def amount(self) -> int | None:
        """Cents, eight digits at most."""
        amount = self.integer("amount")
        if amount is not None and amount < 1:
            raise Refusal(400, "Invalid positive integer", code="parameter_invalid_integer", param="amount")
        if amount is not None and amount > 99_999_999:
            raise Refusal(400, "Amount must be no more than $999,999.99", code="amount_too_large", param="amount")
        return amount

    def flag(self, name: str) -> bool:
        """true or false; false if it is missing."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise Refusal(400, f"Invalid boolean: {value}", param=name)
        return value == "true"

    def group(self, name: str) -> dict[str, Any]:
        """What nests below a name."""
        value = self._values.pop(name, None)
        if value is not None and not isinstance(value, dict):
            raise Refusal(400, f"Invalid object: {name}", param=name)
        return value or {}

    def metadata(self) -> dict[str, str]:
        """Within Stripe's limits."""
        metadata = self.group("metadata")
        for key, value in metadata.items():
            if not isinstance(value, str) or len(value) > 500 or len(key) > 40:
                raise Refusal(400, f"Metadata values can have up to 500 characters: {key[:40]}", param="metadata")
        return metadata

    def done(self) -> None:
        """Refuse what is left."""
        for name in self._values:
            raise Refusal(
                400, f"Received unknown parameter: {name[:100]}", code="parameter_unknown", param=name[:100]
            )
