"""Debits, holds, credits, refunds, reversals, and the escrow between them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from tests.testing.balanced_simulator.client import Client, client_of

DEBIT = {
    *("amount", "appears_on_statement_as", "created_at", "currency", "description", "failure_reason"),
    *("failure_reason_code", "href", "id", "links", "meta", "status", "transaction_number", "updated_at"),
}
REFUND = DEBIT - {"appears_on_statement_as", "failure_reason", "failure_reason_code"}


def in_escrow(api: Client) -> int:
    return int(api.get("/marketplaces").item["in_escrow"])


# --- debits ---


def test_a_debit_shows_what_it_was_made_of(api: Client) -> None:
    customer, card = api.customer(), api.card()
    api.put(card["href"], {"customer": customer["href"]})
    body = {"amount": 1234, "source": card["href"], "description": "d", "meta": {"a.b": "c"}}
    debit = api.post(f"{card['href']}/debits", {**body, "appears_on_statement_as": "hello baby"}).item
    assert debit.keys() == DEBIT
    assert (debit["amount"], debit["currency"], debit["status"]) == (1234, "USD", "succeeded")
    assert (debit["description"], debit["meta"]) == ("d", {"a.b": "c"})
    assert debit["appears_on_statement_as"] == "BAL*hello baby"
    assert re.match(r"W[0-9A-Z]{3}-[0-9A-Z]{3}-[0-9A-Z]{4}\Z", debit["transaction_number"])
    hold = debit["links"].pop("card_hold")
    assert debit["links"] == {"customer": customer["id"], "dispute": None, "order": None, "source": card["id"]}
    assert api.get(f"/holds/{hold}").item["links"]["debit"] == debit["id"]


@pytest.mark.parametrize("source", ["{href}", "{id}", "/v1/cards/{id}"])
def test_a_debit_may_name_its_source(api: Client, source: str) -> None:
    card = api.card()
    debit = api.post("/debits", {"amount": 100, "source": source.format(**card)}).item
    assert debit["links"]["source"] == card["id"]


def test_a_debit_may_bring_its_card(api: Client) -> None:
    card = {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2999}
    debit = api.post("/debits", {"amount": 100, "source": card}).item
    assert api.get(f"/resources/{debit['links']['source']}").item["number"] == "xxxxxxxxxxxx1111"


def test_a_debit_without_a_source_is_refused(api: Client) -> None:
    assert api.post("/debits", {"amount": 100}, 409).error["category_code"] == "no-funding-source"
    assert api.post("/debits", {"amount": 1, "source": api.customer()["id"]}, 409).error["status_code"] == 409


@pytest.mark.parametrize("amount", [1, "50", 99_999_999, 10_000_000_000])
def test_an_amount_is_a_whole_number_of_cents(api: Client, amount: object) -> None:
    assert api.debit(amount=amount)["amount"] == int(str(amount))


@pytest.mark.parametrize("amount", [0, -1, 1.5, "1.5", "", "-5", "1_000", True, [], {}, None, 10**30, "9" * 5000])
def test_what_is_no_amount_is_refused(api: Client, amount: object) -> None:
    error = api.post(f"{api.card()['href']}/debits", {"amount": amount}, 400).error
    assert (error["category_code"], list(error["extras"])) == ("request", ["amount"])
    assert api.get("/debits?status[in]=pending,succeeded,failed").items == []


def test_the_message_of_a_wrong_field_stands_twice(api: Client) -> None:
    error = api.post(f"{api.card()['href']}/debits", {"amount": 0}, 400).error
    assert error["extras"] == {"amount": '"0" must be >= 1'}
    assert error["description"].startswith('Invalid field [amount] - "0" must be >= 1 Your request id is OHM')


@pytest.mark.parametrize(
    "text, shown",
    [
        (None, "BAL*example.com"),
        ("hello baby", "BAL*hello baby"),
        ("A" * 18, "BAL*" + "A" * 18),
        ("A" * 22, "BAL*" + "A" * 18),
        ("ACME & SONS #7", "BAL*ACME & SONS #7"),
        (".<>(){}[]+&!$;-%_?:", "BAL*.<>(){}[]+&!$;-%_?"),
        ("#@~='\" ^`|", "BAL*#@~='\" ^`|"),
    ],
)
def test_a_statement_text_is_cut_and_marked(api: Client, text: str | None, shown: str) -> None:
    assert api.debit(appears_on_statement_as=text)["appears_on_statement_as"] == shown


@pytest.mark.parametrize("text", ["A" * 23, "a,b", "BAL*x", "a/b", "a\\b", "café", "a\n", "\x00", "٣", 7])
def test_what_a_statement_cannot_show_is_refused(api: Client, text: object) -> None:
    body = {"amount": 100, "appears_on_statement_as": text}
    error = api.post(f"{api.card()['href']}/debits", body, 400).error
    assert list(error["extras"]) == ["appears_on_statement_as"]


def test_too_long_a_text_says_how_long_it_may_be(api: Client) -> None:
    body = {"amount": 100, "appears_on_statement_as": "A" * 23}
    assert "must have length <= 22" in api.post(f"{api.card()['href']}/debits", body, 400).error["description"]


def test_only_description_and_meta_of_a_debit_can_change(api: Client) -> None:
    debit = api.debit(description="a", meta={"a": "1"})
    changed = api.put(debit["href"], {"amount": 1, "status": "failed", "description": "b", "meta": {"b": "2"}}).item
    expected = {**debit, "description": "b", "meta": {"b": "2"}, "updated_at": changed["updated_at"]}
    assert changed == expected


def test_there_is_no_idempotency(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card()
    body = {"amount": 100, "meta": {"billy.submission_key": "TX1-1"}}
    debits = [api.post(f"{card['href']}/debits", body).item["id"] for _ in range(2)]
    assert debits[0] != debits[1]
    assert len(simulator.ledger(key=api.key)) == 2


def test_a_decline_also_shows_the_failed_debit(api: Client) -> None:
    card = api.card("4444444444444448")
    answer = api.post(f"{card['href']}/debits", {"amount": 100, "meta": {"a": "b"}}, 402)
    error = answer.error
    assert (error["status"], error["category_type"], error["category_code"]) == (
        "Payment Required",
        "banking",
        "card-declined",
    )
    assert error["description"].startswith("R758: Account Frozen. Your request id is ")
    assert (error["additional"], error["extras"]) == ("Account Frozen", {})
    debit = answer.item
    assert (debit["status"], debit["meta"]) == ("failed", {"a": "b"})
    assert (debit["failure_reason"], debit["failure_reason_code"]) == ("R758: Account Frozen.", "card-declined")
    assert answer.json["links"]["debits.source"] == "/resources/{debits.source}"
    assert api.get(debit["href"]).item == debit
    assert api.get("/debits").items == []


def test_a_declined_card_holds_nothing(api: Client) -> None:
    card = api.card("4444444444444448")
    assert api.post(f"{card['href']}/card_holds", {"amount": 100}, 402).error["category_code"] == "card-declined"
    assert api.get("/card_holds").items == []


# --- holds ---


def test_a_hold_can_be_captured_once_and_up_to_its_amount(api: Client) -> None:
    card = api.card()
    hold = api.post(f"{card['href']}/card_holds", {"amount": 100, "description": "h"}).item
    assert (hold["voided_at"], hold["links"]["card"], hold["links"]["debit"]) == (None, card["id"], None)
    assert hold["expires_at"] > hold["created_at"]
    api.post(f"{hold['href']}/debits", {"amount": 101}, 400)
    debit = api.post(f"{hold['href']}/debits", {"amount": 60}).item
    assert (debit["amount"], debit["links"]["card_hold"]) == (60, hold["id"])
    assert api.post(f"{hold['href']}/debits", {}, 409).error["category_code"] == "hold-already-captured"
    assert api.delete(hold["href"], 409).error["category_code"] == "hold-already-captured"
    assert [item["id"] for item in api.get(f"{hold['href']}/debits").items] == [debit["id"]]


def test_a_hold_is_captured_whole_unless_an_amount_is_named(api: Client) -> None:
    hold = api.post(f"{api.card()['href']}/card_holds", {"amount": 100}).item
    assert api.post(f"{hold['href']}/debits", {}).item["amount"] == 100


@pytest.mark.parametrize(
    "void", [lambda api, hold: api.delete(hold, 200), lambda api, hold: api.put(hold, {"is_void": True})]
)
def test_a_hold_can_be_voided(api: Client, void: Any) -> None:
    hold = api.post(f"{api.card()['href']}/card_holds", {"amount": 100}).item
    assert void(api, hold["href"]).item["voided_at"] is not None
    assert api.post(f"{hold['href']}/debits", {}, 409).error["category_code"] == "hold-already-voided"
    assert api.delete(hold["href"], 409).error["category_code"] == "hold-already-voided"


# --- credits ---


def test_a_credit_shows_what_it_was_made_of(api: Client) -> None:
    account = api.bank_account()
    credit = api.credit(account, description="c", meta={"a": "b"}, destination=account["href"])
    assert credit.keys() == DEBIT
    assert (credit["status"], credit["appears_on_statement_as"]) == ("succeeded", "example.com")
    assert credit["links"] == {"customer": None, "destination": account["id"], "order": None}
    assert credit["transaction_number"].startswith("CR")
    assert api.post("/credits", {"amount": 1, "destination": account["href"]}).item["amount"] == 1
    assert api.post("/credits", {"amount": 1}, 409).error["category_code"] == "no-funding-destination"


@pytest.mark.parametrize("card, longest", [(False, 14), (True, 12)])
def test_the_statement_text_of_a_credit_is_short_and_not_marked(api: Client, card: bool, longest: int) -> None:
    to = api.card("4342561111111118") if card else api.bank_account()
    assert api.credit(to, appears_on_statement_as="A" * longest)["appears_on_statement_as"] == "A" * longest
    too_long = {"amount": 1, "appears_on_statement_as": "A" * (longest + 1)}
    assert list(api.post(f"{to['href']}/credits", too_long, 400).error["extras"]) == ["appears_on_statement_as"]


@pytest.mark.parametrize(
    "number, fields, amount, status, code",
    [
        ("4111111111111111", {}, 1, 409, "funding-destination-not-creditable"),
        ("4342561111111118", {}, 250_001, 409, "amount-exceeds-limit"),
        ("4342561111111118", {"name": None}, 1, 400, "name-required-to-credit"),
    ],
)
def test_a_card_takes_only_some_credits(
    api: Client, number: str, fields: dict[str, Any], amount: int, status: int, code: str
) -> None:
    card = api.card(number, **fields)
    assert api.post(f"{card['href']}/credits", {"amount": amount}, status).error["category_code"] == code
    assert api.get("/credits").items == []


def test_a_creditable_card_tells_how_its_credits_end(api: Client) -> None:
    for number, status in (("4342561111111118", "succeeded"), ("4210101111111112", "pending")):
        card = api.card(number)
        assert api.credit(card, amount=250_000)["status"] == status
        assert api.debit(card)["status"] == "succeeded"


def test_nothing_is_paid_out_that_was_not_paid_in(simulator: BalancedSimulator, bystanding: None) -> None:
    with client_of(simulator.url, simulator.new_key(in_escrow=0)) as api:
        account = api.bank_account()
        answer = api.post(f"{account['href']}/credits", {"amount": 100}, 409)
        assert answer.error["category_code"] == "insufficient-funds"
        assert (answer.item["status"], answer.item["failure_reason_code"]) == ("failed", "insufficient-funds")
        api.debit(amount=100)
        assert api.credit(account, amount=100)["status"] == "succeeded"
        assert in_escrow(api) == 0


# --- refunds ---


def test_a_refund_without_an_amount_is_all_that_is_left(api: Client) -> None:
    debit = api.debit(amount=1000)
    first = api.post(f"{debit['href']}/refunds", {"amount": 300, "description": "r", "meta": {"a": "b"}}).item
    assert first.keys() == REFUND
    assert (first["status"], first["description"], first["meta"]) == ("succeeded", "r", {"a": "b"})
    assert first["links"] == {"debit": debit["id"], "dispute": None, "order": None}
    assert first["transaction_number"].startswith("RF")
    second = api.post(f"{debit['href']}/refunds", {}).item
    assert second["amount"] == 700
    assert [item["id"] for item in api.get(f"{debit['href']}/refunds").items] == [second["id"], first["id"]]


def test_a_refund_is_at_most_what_is_left(api: Client) -> None:
    debit = api.debit(amount=2000)
    error = api.post(f"{debit['href']}/refunds", {"amount": 200000000}, 400).error
    assert (error["category_code"], error["extras"]) == ("request", {"amount": '"200000000" must be <= 2000'})
    api.post(f"{debit['href']}/refunds", {"amount": 1500})
    assert api.post(f"{debit['href']}/refunds", {"amount": 501}, 400).error["extras"]["amount"].endswith("<= 500")
    api.post(f"{debit['href']}/refunds", {"amount": 500})
    assert api.post(f"{debit['href']}/refunds", {"amount": 1}, 409).error["category_code"] == "debit-already-refunded"


def test_a_pending_refund_counts_and_a_failed_one_does_not(api: Client, simulator: BalancedSimulator) -> None:
    debit = api.debit(api.card("4999990000000155"))
    refund = api.post(f"{debit['href']}/refunds").item
    assert refund["status"] == "pending"
    api.post(f"{debit['href']}/refunds", status=409)
    simulator.settle(refund["href"], "failed")
    api.post(f"{debit['href']}/refunds")


@pytest.mark.parametrize("number", ["4999990000000015", "4999990000000023"], ids=["pending", "failed"])
def test_only_a_debit_that_succeeded_can_be_refunded(api: Client, number: str) -> None:
    debit = api.debit(api.card(number))
    error = api.post(f"{debit['href']}/refunds", status=400).error
    assert error["category_code"] == "refund-invalid-debit-state"


def test_a_disputed_debit_cannot_be_refunded(api: Client, simulator: BalancedSimulator) -> None:
    debit = api.debit(api.card("6500000000000002"))
    simulator.settle(debit["href"], "disputed")
    assert api.post(f"{debit['href']}/refunds", status=409).error["category_code"] == "debit-disputed"
    dispute = api.get("/disputes").item
    assert (dispute["reason"], dispute["status"], dispute["amount"]) == ("fraud", "pending", 1000)
    assert dispute["links"]["transaction"] == debit["id"]
    assert api.get(debit["href"]).item["links"]["dispute"] == dispute["id"]
    assert [item["type"] for item in api.get("/events?limit=2").items] == ["debit.succeeded", "dispute.created"]


def test_a_refund_needs_escrow_too(simulator: BalancedSimulator, bystanding: None) -> None:
    with client_of(simulator.url, simulator.new_key(in_escrow=0)) as api:
        debit = api.debit(amount=100)
        api.credit(amount=50)
        answer = api.post(f"{debit['href']}/refunds", status=409)
        assert answer.error["category_code"] == "refund-insufficient-funds"
        assert answer.item["status"] == "failed"
        assert "failure_reason" not in answer.item
        assert in_escrow(api) == 50


# --- reversals ---


@pytest.mark.parametrize("account, status", [("9900000095", "succeeded"), ("9900000000", "pending")])
def test_a_reversal_ends_as_its_credit(api: Client, account: str, status: str) -> None:
    credit = api.credit(api.bank_account(account), amount=100)
    reversal = api.post(f"{credit['href']}/reversals", {"amount": 40}).item
    assert reversal.keys() == DEBIT - {"appears_on_statement_as"}
    assert (reversal["status"], reversal["links"]) == (status, {"credit": credit["id"], "order": None})
    assert reversal["transaction_number"].startswith("RV")
    api.post(f"{credit['href']}/reversals", {"amount": 61}, 400)
    api.post(f"{credit['href']}/reversals")
    assert api.post(f"{credit['href']}/reversals", status=409).error["category_code"] == "credit-already-reversed"


def test_a_failed_credit_cannot_be_reversed(api: Client) -> None:
    credit = api.credit(api.bank_account("9900000004"))
    answer = api.post(f"{credit['href']}/reversals", status=409)
    assert answer.error["category_code"] == "cannot-reverse-credit"
    assert (answer.item["status"], answer.item["failure_reason_code"]) == ("failed", "cannot-reverse-credit")


def test_a_credit_to_a_card_cannot_be_reversed(api: Client) -> None:
    credit = api.credit(api.card("4342561111111118"))
    error = api.post(f"{credit['href']}/reversals", status=409).error
    assert error["category_code"] == "cannot-reverse-credits-to-cards"


# --- the escrow ---


def test_the_escrow_follows_the_money(api: Client, simulator: BalancedSimulator) -> None:
    begun = in_escrow(api)
    pending = api.debit(api.card("4999990000000015"), amount=1000)
    assert in_escrow(api) == begun
    simulator.settle(pending["href"], "succeeded")
    assert in_escrow(api) == begun + 1000
    credit = api.credit(api.bank_account("9900000000"), amount=300)
    assert in_escrow(api) == begun + 700
    simulator.settle(credit["href"], "failed")
    assert in_escrow(api) == begun + 1000
    api.post(f"{pending['href']}/refunds", {"amount": 200})
    assert in_escrow(api) == begun + 800
    simulator.settle(pending["href"], "failed")
    assert in_escrow(api) == begun - 200
