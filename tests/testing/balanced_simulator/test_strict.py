"""The strictness that every other test relies on is not blind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing.balanced_simulator.strict import breaches

JSON = {"Content-Type": "application/json"}
CARD = {"id": "CC" + "a" * 22, "href": "/cards/CC" + "a" * 22, "links": {"customer": None}}
PAGE = {"cards": [CARD], "links": {}, "meta": {"total": 1, "next": None}}
ERROR = {
    "status": "Not Found",
    "status_code": 404,
    "category_type": "request",
    "category_code": "not-found",
    "description": f"No. Your request id is OHM{'0' * 32}.",
    "additional": None,
    "extras": {},
    "request_id": "OHM" + "0" * 32,
}


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize(
    "status, headers, json",
    [
        (200, JSON, PAGE),
        (200, JSON, {"cards": [CARD], "links": {"cards.customer": "/customers/{cards.customer}"}}),
        (404, JSON, {"errors": [ERROR]}),
        (204, {}, None),
    ],
)
def test_what_the_client_bears_is_no_breach(status: int, headers: dict[str, str], json: Any) -> None:
    assert breaches(status, headers, b"" if json is None else b"{}", json) == []


@pytest.mark.parametrize(
    "status, headers, json",
    [
        (200, {"Content-Type": "application/json; charset=utf-8"}, PAGE),
        (200, {}, PAGE),
        (204, JSON, None),
        (200, JSON, without(PAGE, "links")),
        (200, JSON, {**PAGE, "cards": [without(CARD, "links")]}),
        (200, JSON, {**PAGE, "cards": [{**CARD, "href": "http://x/cards/CC"}]}),
        (200, JSON, {**PAGE, "cards": [{**CARD, "links": {"customer": "/customers/CU1"}}]}),
        (200, JSON, {**PAGE, "cards": [{**CARD, "created_at": "2015-01-12"}]}),
        (200, JSON, {**PAGE, "links": {"debits.card": "/x"}}),
        (200, JSON, {**PAGE, "links": {"cards": "/x"}}),
        (200, JSON, {**PAGE, "links": {"cards.a.b": "/x"}}),
        (200, JSON, {**PAGE, "links": {"cards.bank": "/banks/{cards.bank}"}}),
        (200, JSON, {**PAGE, "cards": [], "links": {"cards.debits": "/x"}}),
        (200, JSON, {**PAGE, "wallets": []}),
        (200, JSON, {**PAGE, "meta": {"next": None}}),
        (200, JSON, {**PAGE, "meta": {"total": 1, "next": "http://x/"}}),
        (200, JSON, {**PAGE, "cards": [{**CARD, "entity": {"cards": []}}]}),
        (404, JSON, {"errors": []}),
        (404, JSON, {"errors": [without(ERROR, "extras")]}),
        (401, JSON, {"errors": [{**ERROR, "status_code": 401}]}),
        (400, JSON, {"errors": [ERROR]}),
        (404, JSON, {"errors": [{**ERROR, "description": "No."}]}),
        (404, JSON, {"errors": [{**ERROR, "request_id": "OHM1"}]}),
        (404, JSON, {"errors": [ERROR], "cards": [CARD], "links": {"debits.card": "/x"}}),
    ],
)
def test_each_breach_is_seen(status: int, headers: dict[str, str], json: Any) -> None:
    assert len(breaches(status, headers, b"" if json is None else b"{}", json)) >= 1
