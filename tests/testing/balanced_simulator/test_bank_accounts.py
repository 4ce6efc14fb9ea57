"""Bank accounts and their verification."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing.balanced_simulator.client import Client

SHOWN = {
    *("account_number", "account_type", "address", "bank_name", "can_credit", "can_debit", "created_at"),
    *("fingerprint", "href", "id", "links", "meta", "name", "routing_number", "updated_at"),
}
DETAILS = {"name": "J", "account_number": "9900000002", "routing_number": "021000021"}


def test_an_account_shows_all_but_its_number(api: Client) -> None:
    account = api.bank_account()
    assert account.keys() == SHOWN
    assert (account["account_number"], account["account_type"]) == ("xxxxxx0002", "checking")
    assert (account["can_credit"], account["can_debit"], len(account["fingerprint"])) == (True, False, 64)
    assert account["links"] == {"bank_account_verification": None, "customer": None}


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"name": None}, "request"),
        ({"account_number": None}, "request"),
        ({"routing_number": None}, "request"),
        ({"routing_number": "12345678"}, "invalid-routing-number"),
        ({"account_number": "x"}, "invalid-bank-account-number"),
        ({"account_type": "mattress"}, "request"),
        ({"routing_number": "100000007", "account_number": "8887776665555"}, "invalid-routing-number"),
        ({"routing_number": "111111118", "account_number": "8887776665555"}, "invalid-routing-number"),
    ],
)
def test_what_is_no_account_is_refused(api: Client, changes: dict[str, Any], code: str) -> None:
    assert api.post("/bank_accounts", {**DETAILS, **changes}, 400).error["category_code"] == code
    assert api.get("/bank_accounts").items == []


def test_a_browser_learns_only_the_id(api: Client, stranger: Client) -> None:
    token = stranger.post("/bank_accounts", DETAILS).item
    assert token.keys() == {"id", "href", "links"}
    assert api.get(token["href"]).item.keys() == SHOWN


def test_an_account_belongs_to_one_customer_for_good(api: Client) -> None:
    first, second, account = api.customer(), api.customer(), api.bank_account()
    api.put(account["href"], {"links": {"customer": first["href"]}})
    error = api.put(account["href"], {"links": {"customer": second["href"]}}, 409).error
    assert error["category_code"] == "bank-account-already-associated"


def test_an_unverified_account_cannot_be_debited(api: Client) -> None:
    error = api.post(f"{api.bank_account()['href']}/debits", {"amount": 100}, 409).error
    assert error["category_code"] == "funding-source-not-debitable"
    assert api.get("/debits?status=failed").items == []


def test_two_cents_make_an_account_debitable(api: Client) -> None:
    account = api.bank_account()
    verification = api.post(f"{account['href']}/verifications", {}).item
    assert verification["href"] == f"/verifications/{verification['id']}"
    assert (verification["attempts"], verification["attempts_remaining"]) == (0, 3)
    assert verification["verification_status"] == "pending"
    told = api.put(verification["href"], {**verification, "amount_1": 1, "amount_2": 1}).item
    assert (told["attempts"], told["verification_status"]) == (1, "succeeded")
    account = api.get(account["href"]).item
    assert account["can_debit"] is True
    assert account["links"]["bank_account_verification"] == verification["id"]
    assert api.get(f"{account['href']}/verifications").items == [told]


def test_wrong_cents_use_up_the_attempts(api: Client) -> None:
    account = api.bank_account()
    verification = api.post(f"{account['href']}/verifications").item
    for left in (2, 1, 0):
        error = api.put(verification["href"], {"amount_1": 1, "amount_2": 2}, 409).error
        assert error["category_code"] == "bank-account-authentication-failed"
        assert api.get(verification["href"]).item["attempts_remaining"] == left
    error = api.put(verification["href"], {"amount_1": 1, "amount_2": 1}, 409).error
    assert error["category_code"] == "bank-account-authentication-not-pending"
    assert api.get(account["href"]).item["can_debit"] is False
    api.post(f"{account['href']}/verifications")


def test_one_verification_is_enough(api: Client) -> None:
    account = api.bank_account()
    api.post(f"{account['href']}/verifications")
    error = api.post(f"{account['href']}/verifications", status=409).error
    assert error["category_code"] == "bank-account-authentication-already-exists"


def test_an_attempt_names_both_deposits(api: Client) -> None:
    verification = api.post(f"{api.bank_account()['href']}/verifications").item
    assert list(api.put(verification["href"], {"amount_1": 1}, 400).error["extras"]) == ["amount_2"]
    assert api.get(verification["href"]).item["attempts"] == 0


@pytest.mark.parametrize(
    "routing, account, status",
    [
        ("021000021", "9900000000", "pending"),
        ("321174851", "9900000001", "pending"),
        ("021000021", "9900000002", "succeeded"),
        ("321174851", "9900000003", "succeeded"),
        ("021000021", "9900000004", "failed"),
        ("321174851", "9900000005", "failed"),
        ("021000021", "9900000095", "succeeded"),
        ("121000358", "123456789", "pending"),
    ],
)
def test_the_account_tells_how_its_debits_and_credits_end(
    api: Client, routing: str, account: str, status: str
) -> None:
    made = api.verified(account, routing)
    for noun in ("debits", "credits"):
        item = api.post(f"{made['href']}/{noun}", {"amount": 100}).item
        assert item["status"] == status
        assert (item["failure_reason"], item["failure_reason_code"]) == (None, None)
