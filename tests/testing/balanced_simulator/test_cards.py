"""Cards: tokenising, claiming, association, unstoring."""

from __future__ import annotations

from typing import Any

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from tests.testing.balanced_simulator.client import Client

SHOWN = {
    *("address", "avs_postal_match", "avs_result", "avs_street_match", "bank_name", "brand", "can_credit"),
    *("can_debit", "category", "created_at", "cvv", "cvv_match", "cvv_result", "expiration_month"),
    *("expiration_year", "fingerprint", "href", "id", "is_verified", "links", "meta", "name", "number", "type"),
    "updated_at",
}
DETAILS = {"number": "4111111111111111", "expiration_month": "12", "expiration_year": "2999"}


def test_a_card_shows_all_but_its_number(api: Client) -> None:
    card = api.post("/cards", {**DETAILS, "number": "5105 1051-0510 5100", "cvv": "123", "security_code": "9"}).item
    assert card.keys() == SHOWN
    assert (card["number"], card["brand"], card["cvv"]) == ("xxxxxxxxxxxx5100", "MasterCard", "xxx")
    assert (card["expiration_month"], card["expiration_year"]) == (12, 2999)
    assert (card["cvv_match"], card["cvv_result"], card["is_verified"]) == ("yes", "Match", True)
    assert (card["can_debit"], card["can_credit"], len(card["fingerprint"])) == (True, False, 64)
    assert card["links"] == {"customer": None}


@pytest.mark.parametrize(
    "number, brand",
    [("4111111111111111", "Visa"), ("341111111111111", "American Express"), ("6500000000000002", "Discover")],
)
def test_the_number_tells_the_brand(api: Client, number: str, brand: str) -> None:
    assert api.card(number)["brand"] == brand


def test_without_a_cvv_and_an_address_nothing_is_compared(api: Client) -> None:
    card = api.post("/cards", DETAILS).item
    assert (card["cvv"], card["cvv_match"], card["cvv_result"]) == (None, None, None)
    assert (card["avs_postal_match"], card["avs_street_match"], card["avs_result"]) == (None, None, None)


@pytest.mark.parametrize("number, match", [("5112000200000002", "no"), ("4457000300000007", "unsupported")])
def test_a_cvv_may_not_match(api: Client, number: str, match: str) -> None:
    assert api.card(number, cvv="200")["cvv_match"] == match


@pytest.mark.parametrize(
    "address, postal, street",
    [
        ({"postal_code": "94301"}, "yes", None),
        ({"postal_code": "90210"}, "no", None),
        ({"postal_code": "90211"}, "unsupported", None),
        ({"postal_code": "94103", "line1": "965 Mission St"}, "yes", "yes"),
        ({"postal_code": "90210", "line1": "21 Jump St"}, "no", "no"),
    ],
)
def test_an_address_is_compared(api: Client, address: dict[str, str], postal: str, street: str | None) -> None:
    card = api.card(address=address)
    assert (card["avs_postal_match"], card["avs_street_match"]) == (postal, street)


@pytest.mark.parametrize(
    "changes, status, code",
    [
        ({"number": None}, 400, "request"),
        ({"number": "4111"}, 400, "card-number-not-valid"),
        ({"number": "4111x11111111111"}, 400, "card-number-not-valid"),
        ({"number": "4111111111111112"}, 409, "card-not-validated"),
        ({"expiration_month": None}, 400, "request"),
        ({"expiration_year": None}, 400, "request"),
        ({"expiration_month": 13}, 400, "request"),
        ({"expiration_year": 2001}, 409, "card-not-validated"),
        ({"number": "4222222222222220"}, 402, "card-declined"),
    ],
)
def test_what_is_no_card_is_refused(api: Client, changes: dict[str, Any], status: int, code: str) -> None:
    assert api.post("/cards", {**DETAILS, **changes}, status).error["category_code"] == code
    assert api.get("/cards").items == []


def test_a_browser_learns_only_the_id_and_the_first_user_claims_it(api: Client, stranger: Client) -> None:
    answer = stranger.post("/cards", DETAILS)
    assert answer.json["links"] == {}
    token = answer.item
    assert token.keys() == {"id", "href", "links"}
    assert api.get("/cards").items == []
    assert api.get(token["href"]).item.keys() == SHOWN
    assert len(api.get("/cards").items) == 1


def test_what_is_claimed_is_nobody_elses(api: Client, stranger: Client, simulator: BalancedSimulator) -> None:
    token = stranger.post("/cards", DETAILS).item
    api.debit(token)
    late = Client(simulator.url, simulator.new_key())
    late.get(token["href"], 404)
    late.pool.clear()


def test_an_invalid_card_fails_on_its_first_use(api: Client, stranger: Client) -> None:
    token = stranger.post("/cards", {**DETAILS, "number": "4222222222222220"}).item
    for _ in range(2):
        assert api.put(token["href"], {"customer": api.customer()["id"]}, 402).error["category_code"] == "card-declined"
    assert api.get("/cards").items == []


@pytest.mark.parametrize(
    "body",
    [
        {"links": {"customer": "{href}"}, "customer": None},
        {"links": {"customer": "{id}"}, "customer_href": None},
        {"customer": "{href}"},
        {"cards": [{"customer": "{id}"}]},
        [{"op": "replace", "path": "/cards/0/links/customer", "value": "{id}"}],
    ],
    ids=repr,
)
def test_a_card_is_associated_in_any_spelling(api: Client, body: Any) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return value.format(**customer) if isinstance(value, str) else value

    customer, card = api.customer(), api.card()
    send = api.patch if isinstance(body, list) else api.put
    assert send(card["href"], filled(body)).item["links"]["customer"] == customer["id"]
    assert [item["id"] for item in api.get(f"{customer['href']}/cards").items] == [card["id"]]


def test_the_vendors_client_sends_all_that_it_holds(api: Client) -> None:
    customer, card = api.customer(), api.card()
    body = {**card, "customer": None, "links": {"customer": customer["href"]}}
    changed = api.put(card["href"], body).item
    assert {**changed, "updated_at": card["updated_at"]} == {**card, "links": {"customer": customer["id"]}}


def test_a_card_belongs_to_one_customer_for_good(api: Client) -> None:
    first, second, card = api.customer(), api.customer(), api.card()
    for _ in range(2):
        api.put(card["href"], {"customer": first["href"]})
    error = api.put(card["href"], {"customer": second["href"]}, 409).error
    assert (error["category_type"], error["category_code"]) == ("logical", "card-already-funding-src")
    assert api.get(card["href"]).item["links"]["customer"] == first["id"]


def test_a_card_cannot_be_associated_with_what_is_no_customer(api: Client) -> None:
    card = api.card()
    api.put(card["href"], {"customer": "CUnone"}, 404)
    api.put(card["href"], {"customer": api.card()["href"]}, 400)


def test_an_unstored_card_leaves_the_lists_only(api: Client) -> None:
    card = api.card("4342561111111118")
    api.delete(card["href"])
    assert api.get("/cards").items == []
    assert api.get(card["href"]).item["id"] == card["id"]
    assert api.post(f"{card['href']}/credits", {"amount": 1}, 400).error["category_code"] == "request"
    error = api.post(f"{card['href']}/debits", {"amount": 1}, 409).error
    assert error["category_code"] == "funding-source-not-debitable"


def test_only_a_creditable_card_links_to_credits(api: Client) -> None:
    for number, creditable in (("4342561111111118", True), ("4111111111111111", False)):
        card = api.card(number)
        assert card["can_credit"] is creditable
        assert ("cards.credits" in api.get(card["href"]).json["links"]) is creditable
