"""What the simulator's owner does over HTTP, at ``/simulator``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from billy.testing.balanced_simulator import CARDS, OUR_CARDS, BalancedSimulator, Fault
from billy.testing.balanced_simulator.admin import _HANDLERS
from billy.testing.balanced_simulator.magic import BEHAVIORS
from tests.structure.source import CHECKOUT
from tests.testing.balanced_simulator.client import Client, client_of
from tests.testing.receiver import receiving

DOCUMENT = CHECKOUT / "docs" / "balanced_simulator.md"


def test_a_marketplace_with_a_key_and_money_is_made_in_one_call(stranger: Client) -> None:
    made = stranger.post("/simulator/marketplaces", {"in_escrow": 70}, 200).json
    with client_of(stranger.url, made["key"]) as client:
        marketplace = client.get("/marketplaces").item
    assert (marketplace["id"], marketplace["in_escrow"]) == (made["marketplace"], 70)


def test_a_key_is_revoked_for_good(api: Client, stranger: Client) -> None:
    stranger.post("/simulator/revoke", {"key": api.key}, 204)
    api.get("/debits", 401)
    stranger.post("/simulator/revoke", {"key": api.key}, 404)


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_settling_changes_the_record_and_calls_back(
    api: Client, simulator: BalancedSimulator, stranger: Client, status: str
) -> None:
    debit = api.debit(api.card("4999990000000015"))
    with receiving() as receiver:
        api.post("/callbacks", {"url": receiver.url})
        told = stranger.post("/simulator/settle", {"href": debit["href"], "status": status}, 200).json
        simulator.wait_for_callbacks()
    assert told["type"] == f"debit.{status}"
    assert [body["events"][0]["id"] for body in receiver.bodies] == [told["event"]]
    assert api.get(debit["href"]).item["status"] == status
    body = stranger.get(f"/simulator/callback_bodies/{told['event']}").json
    assert body == receiver.bodies[0]
    bare = stranger.get(f"/simulator/callback_bodies/{told['event']}?revision=1.0").json
    assert bare["id"] == told["event"]
    [delivery] = stranger.get("/simulator/deliveries").json["deliveries"]
    assert (delivery["event"], delivery["url"], delivery["status"]) == (told["event"], receiver.url, 200)


@pytest.mark.parametrize(
    "body, status",
    [
        ({}, 400),
        ({"href": "/debits/WDnone", "status": "failed"}, 404),
        ({"href": "CARD", "status": "failed"}, 400),
        ({"href": "DEBIT", "status": "sulking"}, 400),
        ({"href": "REFUND", "status": "disputed"}, 400),
    ],
)
def test_what_cannot_be_settled_so_is_refused(
    api: Client, stranger: Client, body: dict[str, str], status: int
) -> None:
    debit = api.debit()
    refund = api.post(f"{debit['href']}/refunds", {"amount": 1}).item
    names = {"CARD": api.card()["href"], "DEBIT": debit["href"], "REFUND": refund["href"]}
    stranger.post("/simulator/settle", {**body, "href": names.get(body.get("href", ""), body.get("href"))}, status)
    assert api.get("/events?type=debit.failed").items == []


def test_the_ledger_tells_what_moved_and_counts_by_submission(api: Client, stranger: Client) -> None:
    card, key = api.card(), {"billy.submission_key": "TX1-1"}
    first, second = (api.debit(card, amount=amount, meta=key) for amount in (100, 200))
    api.debit(api.card("4999990000000023"), meta=key)
    api.debit(card)
    ledger = stranger.get("/simulator/ledger").json
    mine = [record for record in ledger["records"] if record["meta"] == key]
    assert [(record["href"], record["amount"], record["status"]) for record in mine[:2]] == [
        (first["href"], 100, "succeeded"),
        (second["href"], 200, "succeeded"),
    ]
    assert ledger["by_submission_key"]["TX1-1"] == {"total": 3, "not_failed": 2}
    numbers = [record["number"] for record in ledger["records"]]
    assert numbers == sorted(numbers)


def test_the_requests_are_listed_without_the_keys(api: Client, stranger: Client) -> None:
    stranger.delete("/simulator/requests")
    card = api.card()
    stranger.put("/simulator/chaos", {"deck": ["drop-after"]})
    with pytest.raises(Exception, match="Connection aborted"):
        api.debit(card)
    api.get("/debits?limit=25")
    answer = stranger.get("/simulator/requests")
    listed = [tuple(request.values()) for request in answer.json["requests"]]
    assert listed == [
        ("POST", "/cards", "", 201, None),
        ("POST", f"{card['href']}/debits", "", None, "drop-after"),
        ("GET", "/debits", "limit=25", 200, None),
    ]
    assert api.key is not None
    assert api.key not in answer.body.decode()


def test_the_switch_is_thrown_and_read(stranger: Client) -> None:
    wanted = {"probabilities": {"half": 0.25}, "seed": 3, "methods": ["GET"], "paths": "x", "delay": 2.0}
    shown = stranger.put("/simulator/chaos", wanted).json
    assert shown == {**wanted, "deck": [], "injected": {}}
    assert stranger.get("/simulator/chaos").json == shown
    stranger.put("/simulator/chaos", {"probabilities": {"sulk": 1}}, 400)
    assert stranger.get("/simulator/chaos").json == shown


def test_an_instrument_is_told_to_misbehave(api: Client, stranger: Client) -> None:
    card = api.card()
    stranger.put(f"/simulator/instruments/{card['id']}", {"behavior": "declined"}, 204)
    api.post(f"{card['href']}/debits", {"amount": 1}, 402)
    stranger.put(f"/simulator/instruments/{card['id']}", {"behavior": "sulks"}, 400)
    stranger.put("/simulator/instruments/CCnone", {"behavior": "declined"}, 404)


@pytest.mark.parametrize(
    "path", ["", "/", "/nothing", "/ledger/x", "/instruments", "/callback_bodies/EV1", "/a/b/c", "/ledger/"]
)
def test_there_is_nothing_else(stranger: Client, path: str) -> None:
    stranger.get(f"/simulator{path}", 404)


def test_a_method_that_the_path_does_not_take_is_refused(stranger: Client) -> None:
    stranger.post("/simulator/ledger", status=405)
    stranger.get("/simulator/settle", 405)


@pytest.mark.parametrize("body", [b"{", b"[]x", b"7", b"[" * 10_000, b'{"key": 7}', b'{"deck": 7}', b'"x"'])
@pytest.mark.parametrize("method, path", [("POST", "revoke"), ("POST", "settle"), ("PUT", "chaos")])
def test_a_body_that_cannot_be_meant_is_refused_here_too(
    stranger: Client, method: str, path: str, body: bytes
) -> None:
    assert stranger.send(method, f"/simulator/{path}", body).status == 400


# --- the document ---


def rows(document: Path = DOCUMENT) -> set[tuple[str, ...]]:
    """The cells of its tables, without the ornaments."""
    lines = [line.strip("|").split("|") for line in document.read_text().splitlines() if line.startswith("|")]
    return {tuple(cell.strip(" `") for cell in line) for line in lines}


def test_the_document_has_every_card_with_its_behavior() -> None:
    listed = {row[:2] for row in rows() if re.match(r"\d{12,}\Z", row[0])}
    assert listed >= set(OUR_CARDS.items())
    assert {number for number, _ in listed} >= CARDS.keys()


def test_the_document_tells_every_behavior_fault_and_path() -> None:
    first = {row[0] for row in rows()}
    assert first >= set(BEHAVIORS)
    assert first >= set(Fault)
    paths = {re.sub(r"<.*>", "", cell) for cell in first}
    assert paths >= {f"{method} /simulator/{path}" for method, path in _HANDLERS}
