"""Customers."""

from __future__ import annotations

import pytest

from tests.testing.balanced_simulator.client import Client

SHOWN = {
    *("address", "business_name", "created_at", "dob_month", "dob_year", "ein", "email", "href", "id", "links"),
    *("merchant_status", "meta", "name", "phone", "ssn_last4", "updated_at"),
}
NO_ADDRESS = dict.fromkeys(("city", "country_code", "line1", "line2", "postal_code", "state"))


def test_everything_is_optional_and_shown_as_null(api: Client) -> None:
    customer = api.post("/customers", {}).item
    assert customer.keys() == SHOWN
    assert customer["address"] == NO_ADDRESS
    assert (customer["name"], customer["email"], customer["meta"]) == (None, None, {})
    assert (customer["links"], customer["merchant_status"]) == ({"source": None, "destination": None}, "no-match")


def test_a_customer_who_says_who_they_are_is_underwritten(api: Client) -> None:
    customer = api.customer(name="Henry Ford", dob_month="7", dob_year="1963", address={"postal_code": "48120"})
    assert (customer["dob_month"], customer["dob_year"]) == (7, 1963)
    assert customer["address"] == {**NO_ADDRESS, "postal_code": "48120"}
    assert customer["merchant_status"] == "underwritten"


def test_a_bad_email_is_told(api: Client) -> None:
    error = api.post("/customers", {"email": "nobody"}, 400).error
    assert (error["category_code"], list(error["extras"])) == ("request", ["email"])
    assert error["description"].startswith("Invalid field [email] - ")


def test_a_dotted_key_at_the_top_is_no_meta(api: Client) -> None:
    assert api.post("/customers", {"meta.billy.customer_guid": "CU1"}).item["meta"] == {}


def test_an_update_changes_what_is_given_and_ignores_the_rest(api: Client) -> None:
    customer = api.customer(name="Benny", email="benny@example.com")
    changed = api.put(customer["href"], {**customer, "name": "Joon", "created_at": "never", "colour": "red"}).item
    assert changed.pop("updated_at") >= customer.pop("updated_at")
    assert changed == {**customer, "name": "Joon"}


def test_a_customer_may_name_where_money_comes_from_and_goes_to(api: Client) -> None:
    card, account = api.card(), api.bank_account()
    customer = api.customer(source=card["href"], destination=account["id"])
    assert customer["links"] == {"source": card["id"], "destination": account["id"]}
    assert api.get(f"/resources/{card['id']}").item["links"]["customer"] == customer["id"]


def test_what_is_anothers_cannot_be_a_source(api: Client) -> None:
    card = api.card()
    api.customer(source=card["href"])
    error = api.post("/customers", {"source": card["href"]}, 409).error
    assert error["category_code"] == "cannot-associate-card"
    assert len(api.get("/customers").items) == 1


def test_a_customer_with_whom_nothing_happened_can_be_deleted(api: Client) -> None:
    customer = api.customer()
    api.delete(customer["href"])
    api.get(customer["href"], 404)
    assert api.get("/events?type=account.deleted").json["meta"]["total"] == 1


@pytest.mark.parametrize("noun", ["debits", "card_holds", "credits"])
def test_a_customer_with_money_cannot_be_deleted(api: Client, noun: str) -> None:
    customer = api.customer()
    card = api.card("4342561111111118")
    api.put(card["href"], {"customer": customer["href"]})
    api.post(f"{card['href']}/{noun}", {"amount": 100})
    api.delete(customer["href"], 409)
    api.get(customer["href"])
