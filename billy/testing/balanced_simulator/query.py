"""Filters, sorting and paging of collections.

An unknown filter is refused. What the service did is not known; a filter that is ignored would answer a
question that nobody asked, and a client that looks up a charge has to notice in its tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.resources.base import Resource
from billy.testing.balanced_simulator.store import Record
from billy.testing.http_app import Pairs

LIMIT = 10
_LARGEST = 1_000_000
_NAME = re.compile(r"([a-z_]+)(?:\[([^\[\]]*)\])?\Z")

Test = Callable[[Record], bool]


class Page(NamedTuple):
    """Some of what was found, and where the rest is."""

    records: list[Record]
    meta: dict[str, Any]


def select(resource: Resource, newest_first: Iterable[Record], path: str, pairs: Pairs) -> Page:
    """The page that the query asks for."""
    paging = {name: value for name, value in pairs if name in ("limit", "offset")}
    limit, offset = _count("limit", paging.get("limit", str(LIMIT)), 1), _count("offset", paging.get("offset", "0"), 0)
    rest = [(name, value) for name, value in pairs if name not in paging]
    # Meta first: it is what singles one out of thousands, and the cheapest to look at.
    rest.sort(key=lambda pair: not pair[0].startswith("meta."))
    tests = [_test(resource, name, value) for name, value in rest if name != "sort"]
    if "status" in resource.filters and not any(re.match(r"status(\[|\Z)", name) for name, _ in rest):
        tests.append(lambda record: record.fields["status"] != "failed")
    found = [record for record in newest_first if all(test(record) for test in tests)]
    for key, descending in reversed([_sort(resource, value) for name, value in rest if name == "sort"]):
        found.sort(key=key, reverse=descending)
    return Page(found[offset : offset + limit], _meta(path, rest, limit, offset, len(found)))


def _meta(path: str, rest: Pairs, limit: int, offset: int, total: int) -> dict[str, Any]:
    def page(at: int) -> str:
        return f"{path}?{urlencode([*rest, ('limit', limit), ('offset', at)], quote_via=quote)}"

    return {
        "first": page(0),
        "href": page(offset),
        "last": page(max(total - 1, 0) // limit * limit),
        "limit": limit,
        "next": page(offset + limit) if offset + limit < total else None,
        "offset": offset,
        "previous": page(max(offset - limit, 0)) if offset else None,
        "total": total,
    }


def _count(name: str, value: str, low: int) -> int:
    if not re.match(r"[0-9]{1,7}\Z", value, re.ASCII) or not low <= int(value) <= _LARGEST:
        raise invalid(name, f'"{value[:100]}" must be an integer >= {low}')
    return int(value)


def _sort(resource: Resource, value: str) -> tuple[Callable[[Record], Any], bool]:
    name, _, direction = value.partition(",")
    if name not in resource.sorts:
        raise ApiError("request", f"Unable to sort on unknown field {name[:100]}.")
    if direction not in ("", "asc", "desc"):
        raise ApiError("request", f"Unable to sort in unknown direction {direction[:100]}.")
    return lambda record: resource.filter_value(record, name), direction == "desc"


def _test(resource: Resource, name: str, value: str) -> Test:
    if name.startswith("meta.") and "meta" in resource.filters:
        key = name.removeprefix("meta.")
        return lambda record: record.fields["meta"].get(key) == value
    matched = _NAME.match(name)
    field, operator = (matched[1], matched[2]) if matched else (name, None)
    if field not in resource.filters:
        raise ApiError("request", f"Unable to filter on unknown field {name[:100]}.")
    if field == "meta":
        if operator != "contains":
            raise ApiError("request", "Filter with meta.KEY=value or meta[contains]=KEY.")
        return lambda record: value in record.fields["meta"]
    if (compare := _OPERATORS.get(operator or "=")) is None:
        raise ApiError("request", f"Unable to filter with unknown operator {name[:100]}.")
    wanted = [_typed(field, part) for part in (value.split(",") if operator in ("in", "!in") else [value])]

    def test(record: Record) -> bool:
        shown = resource.filter_value(record, field)
        return shown is not None and compare(_typed(field, shown), wanted)

    return test


def _typed(field: str, value: Any) -> Any:
    """A value as what it is compared as."""
    if field == "amount":
        if isinstance(value, str) and not re.match(r"[0-9]{1,12}\Z", value, re.ASCII):
            raise invalid(field, f'"{value[:100]}" is not an integer')
        return int(value)
    if field.endswith("_at"):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            raise invalid(field, f'"{value[:100]}" is not a timestamp') from None
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    if field.startswith("is_"):
        return str(value).lower()
    return value


def _ilike(shown: Any, wanted: list[Any]) -> bool:
    pattern = re.escape(str(wanted[0])).replace("%", ".*").replace("_", ".")
    return re.fullmatch(pattern, str(shown), re.IGNORECASE | re.DOTALL) is not None


_OPERATORS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "=": lambda shown, wanted: shown == wanted[0],
    "!=": lambda shown, wanted: shown != wanted[0],
    "<": lambda shown, wanted: shown < wanted[0],
    "<=": lambda shown, wanted: shown <= wanted[0],
    ">": lambda shown, wanted: shown > wanted[0],
    ">=": lambda shown, wanted: shown >= wanted[0],
    "in": lambda shown, wanted: shown in wanted,
    "!in": lambda shown, wanted: shown not in wanted,
    "contains": lambda shown, wanted: str(wanted[0]) in str(shown),
    "!contains": lambda shown, wanted: str(wanted[0]) not in str(shown),
    "startswith": lambda shown, wanted: str(shown).startswith(str(wanted[0])),
    "endswith": lambda shown, wanted: str(shown).endswith(str(wanted[0])),
    "ilike": _ilike,
    "!ilike": lambda shown, wanted: not _ilike(shown, wanted),
}
