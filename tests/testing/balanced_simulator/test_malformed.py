"""Whatever is sent, it is answered, and never by a bug of the simulator's."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import orjson
import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billy.testing.balanced_simulator import BalancedSimulator
from billy.testing.balanced_simulator.resources import RESOURCES
from billy.testing.balanced_simulator.store import PATHS
from tests.testing.balanced_simulator.client import Client
from tests.testing.balanced_simulator.strict import breaches

FIELDS = [
    *("amount", "amount_1", "amount_2", "appears_on_statement_as", "description", "meta", "source", "destination"),
    *("customer", "links", "order", "number", "expiration_month", "expiration_year", "cvv", "name", "address", "email"),
    *("dob_month", "dob_year", "account_number", "routing_number", "account_type", "url", "method", "revision"),
    *("is_void", "cards", "debits", "customers", "op", "path", "value"),
]
SEGMENTS = [*RESOURCES, *PATHS.values(), "holds", "resources", "v1", "", "x", "transactions", "é", "%"]
FILTERS = ["amount", "status[in]", "meta.a", "meta[contains]", "sort", "limit", "offset", "created_at[>]", "a[b]c", ""]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["4111111111111111", "021000021", "9900000002", "http://x/", "12", "2999", "1", "amount,asc"]
)
ids = st.sampled_from(["CARD", "ACCOUNT", "DEBIT", "CREDIT", "HOLD", "CUSTOMER", "VERIFICATION", "THEIRS"])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts | ids
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=4
)
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | values
nouns = st.sampled_from(SEGMENTS)
paths = (
    st.lists(nouns | ids, min_size=1, max_size=5)
    | st.sampled_from([["cards", "CARD"], ["bank_accounts", "ACCOUNT"], ["debits", "DEBIT"], ["credits", "CREDIT"]])
    | st.sampled_from([["card_holds", "HOLD"], ["customers", "CUSTOMER"], ["verifications", "VERIFICATION"]])
    | st.tuples(st.just("cards"), st.just("CARD"), nouns).map(list)
    | st.tuples(st.just("bank_accounts"), st.just("ACCOUNT"), nouns).map(list)
    | st.tuples(st.just("debits"), st.just("DEBIT"), nouns).map(list)
)
queries = st.lists(st.tuples(st.sampled_from(FILTERS), texts), max_size=3)
RIGHT: list[tuple[str, list[str], dict[str, Any]]] = [
    ("POST", ["cards"], {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2999, "cvv": "1"}),
    ("POST", ["bank_accounts"], {"name": "J", "account_number": "9900000002", "routing_number": "021000021"}),
    ("POST", ["customers"], {"name": "J", "dob_month": 1, "dob_year": 2000, "address": {"postal_code": "94301"}}),
    ("POST", ["debits"], {"amount": 1, "source": "CARD", "meta": {"a": "b"}, "appears_on_statement_as": "x"}),
    ("POST", ["cards", "CARD", "debits"], {"amount": 1, "meta": {"a": "b"}, "appears_on_statement_as": "x"}),
    ("POST", ["credits"], {"amount": 1, "destination": "ACCOUNT", "description": "x"}),
    ("POST", ["debits", "DEBIT", "refunds"], {"amount": 1, "description": "x", "meta": {}}),
    ("POST", ["credits", "CREDIT", "reversals"], {"amount": 1, "description": "x", "meta": {}}),
    ("POST", ["cards", "CARD", "card_holds"], {"amount": 1, "description": "x", "meta": {}}),
    ("POST", ["callbacks"], {"url": "http://127.0.0.1:9/", "method": "post", "revision": "1.1"}),
    ("PUT", ["cards", "CARD"], {"links": {"customer": "CUSTOMER"}, "customer": None, "meta": {}}),
    ("PUT", ["verifications", "VERIFICATION"], {"amount_1": 1, "amount_2": 1}),
    ("PUT", ["debits", "DEBIT"], {"description": "x", "meta": {}}),
]
methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])


def answer(simulator: BalancedSimulator, key: str, method: str, path: str, body: bytes, query: str = "") -> int:
    """The status of a request that goes past the sockets; what is told must be told properly."""
    told: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        told.update(status=int(status[:3]), headers=dict(headers))

    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": urllib3.make_headers(basic_auth=f"{key}:")["authorization"],
        "wsgi.input": BytesIO(body),
    }
    sent = b"".join(simulator.app(environ, start_response))
    assert breaches(told["status"], told["headers"], sent, orjson.loads(sent) if sent else None) == []
    return int(told["status"])


@pytest.fixture
def records(api: Client, other: Client) -> dict[str, str]:
    """An object of each kind by its name in capitals, and another company's."""
    card, account = api.card("4342561111111118"), api.verified()
    return {
        "CARD": card["id"],
        "ACCOUNT": account["id"],
        "DEBIT": api.debit(card)["id"],
        "CREDIT": api.credit(account)["id"],
        "HOLD": api.post(f"{card['href']}/card_holds", {"amount": 5}).item["id"],
        "CUSTOMER": api.customer()["id"],
        "VERIFICATION": account["links"]["bank_account_verification"],
        "THEIRS": other.get("/cards").items[0]["id"],
    }


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=methods, path=paths, query=queries, body=bodies)
def test_every_request_is_answered_properly(
    api: Client,
    simulator: BalancedSimulator,
    records: dict[str, str],
    method: str,
    path: list[str],
    query: list[tuple[str, str]],
    body: Any,
) -> None:
    encoded = "&".join(f"{name}={value}" for name, value in query).encode().decode("latin-1")
    assert api.key is not None
    assert 200 <= answer(simulator, api.key, method, *filled(records, path, body), query=encoded) < 500


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(right=st.sampled_from(RIGHT), data=st.data())
def test_every_request_that_is_almost_right_is_answered_properly(
    api: Client, simulator: BalancedSimulator, records: dict[str, str], right: Any, data: st.DataObject
) -> None:
    method, path, body = right
    wrong = {data.draw(st.sampled_from(sorted(body))): data.draw(values)}
    assert api.key is not None
    assert 200 <= answer(simulator, api.key, method, *filled(records, path, {**body, **wrong})) < 500


def filled(records: dict[str, str], path: list[str], body: Any) -> tuple[str, bytes]:
    """The path and the body with ids for the names in capitals."""
    raw = orjson.dumps(body)
    for name, record in records.items():
        raw = raw.replace(name.encode(), record.encode())
    return "/" + "/".join(records.get(segment, segment) for segment in path), raw
