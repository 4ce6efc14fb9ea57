"""One marketplace's key never sees, names or changes another's objects."""

from __future__ import annotations

from typing import Any

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from tests.testing.balanced_simulator.client import Client

NOUNS = [
    *("api_keys", "bank_accounts", "callbacks", "card_holds", "cards", "credits", "customers", "debits", "disputes"),
    *("events", "marketplaces", "refunds", "reversals"),
]


def theirs(other: Client, noun: str) -> Any:
    return other.get(f"/{noun}").items[0]


def everything(simulator: BalancedSimulator, client: Client) -> list[Any]:
    assert client.key is not None
    return list(simulator.store.by_key[client.key].records.values())


def test_the_other_company_has_a_record_of_each_kind(simulator: BalancedSimulator, other: Client) -> None:
    assert {record.type for record in everything(simulator, other)} == {*NOUNS, "bank_account_verifications"}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_anothers_object_is_not_found(
    api: Client, simulator: BalancedSimulator, other: Client, method: str
) -> None:
    body = None if method in ("GET", "DELETE") else b"{}"
    for record in everything(simulator, other):
        for path in (record.href, f"/resources/{record.id}", f"/v1{record.href}"):
            answer = api.send(method, path, body)
            assert answer.status == 404, path
            assert answer.error["category_code"] == "not-found"


@pytest.mark.parametrize("noun", NOUNS)
def test_no_list_shows_anothers_object(api: Client, other: Client, noun: str) -> None:
    secret = {item["id"] for item in other.get(f"/{noun}?limit=100").items}
    assert secret
    assert secret.isdisjoint(item["id"] for item in api.get(f"/{noun}?limit=100").items)


@pytest.mark.parametrize(
    "noun, under",
    [
        *(("cards", "debits"), ("cards", "credits"), ("cards", "card_holds"), ("bank_accounts", "debits")),
        *(("bank_accounts", "credits"), ("bank_accounts", "verifications"), ("card_holds", "debits")),
        *(("debits", "refunds"), ("credits", "reversals"), ("customers", "cards"), ("customers", "bank_accounts")),
    ],
)
def test_nothing_is_made_under_anothers_object(api: Client, other: Client, noun: str, under: str) -> None:
    path = f"{theirs(other, noun)['href']}/{under}"
    api.post(path, {"amount": 1}, 404)
    api.get(path, 404)


@pytest.mark.parametrize("spelling", ["{id}", "{href}", "/v1{href}"])
def test_anothers_object_cannot_be_named(api: Client, other: Client, spelling: str) -> None:
    card, account, customer = (theirs(other, noun) for noun in ("cards", "bank_accounts", "customers"))
    api.post("/debits", {"amount": 1, "source": spelling.format(**card)}, 404)
    api.post("/credits", {"amount": 1, "destination": spelling.format(**account)}, 404)
    api.post("/customers", {"source": spelling.format(**card)}, 404)
    api.put(api.card()["href"], {"customer": spelling.format(**customer)}, 404)
    assert api.get("/customers").items == []


def test_a_look_up_does_not_find_anothers_charge(api: Client, other: Client) -> None:
    query = "/debits?meta.billy.submission_key=bystander-1"
    assert len(other.get(query).items) == 1
    assert api.get(query).items == []


def test_the_ledger_tells_the_companies_apart(api: Client, simulator: BalancedSimulator) -> None:
    debit = api.debit()
    assert [entry.href for entry in simulator.ledger(key=api.key)] == [debit["href"]]
    assert len({entry.marketplace for entry in simulator.ledger()}) == 2


def test_a_bystander_that_moves_is_seen(simulator: BalancedSimulator, other: Client) -> None:
    before = [record.shown() for record in everything(simulator, other)]
    other.put(theirs(other, "customers")["href"], {"name": "Moved"})
    assert before != [record.shown() for record in everything(simulator, other)][: len(before)]
