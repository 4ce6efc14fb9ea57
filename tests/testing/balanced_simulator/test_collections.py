"""Filters, sorting, paging, and what is hidden."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from tests.testing.balanced_simulator.client import Client


@pytest.fixture
def amounts(api: Client) -> Client:
    """Debits of 100 to 500 cents in this order, the third failed, with a meta that says so."""
    succeeds, fails = api.card(), api.card("4999990000000023")
    for number in range(1, 6):
        card = fails if number == 3 else succeeds
        api.debit(card, amount=100 * number, meta={"billy.transaction_guid": f"TX{number}", f"n{number}": ""})
    return api


def found(api: Client, query: str, path: str = "/debits") -> list[int]:
    """The hundreds of the amounts that a query finds."""
    return [item["amount"] // 100 for item in api.get(f"{path}?{query}").items]


def test_the_newest_come_first(amounts: Client) -> None:
    assert found(amounts, "") == [5, 4, 2, 1]


def test_an_empty_collection_has_its_list_and_no_links(api: Client) -> None:
    page = api.get("/debits").json
    assert (page["debits"], page["links"], page["meta"]["total"]) == ([], {}, 0)


def test_ten_are_shown_unless_more_are_asked_for(api: Client) -> None:
    card = api.card()
    for _ in range(12):
        api.debit(card)
    assert len(api.get("/debits").items) == 10
    assert len(api.get("/debits?limit=25&offset=0").items) == 12


def test_a_page_tells_where_the_others_are(api: Client) -> None:
    for _ in range(7):
        api.customer()
    assert api.get("/customers?limit=3&offset=3").json["meta"] == {
        "first": "/customers?limit=3&offset=0",
        "href": "/customers?limit=3&offset=3",
        "last": "/customers?limit=3&offset=6",
        "limit": 3,
        "next": "/customers?limit=3&offset=6",
        "offset": 3,
        "previous": "/customers?limit=3&offset=0",
        "total": 7,
    }


def test_following_next_finds_each_once(amounts: Client) -> None:
    seen, path = [], "/debits?limit=2&status%5Bin%5D=succeeded%2Cfailed&amount%5B%3E%5D=100"
    while path:
        page = amounts.get(path)
        seen += [item["amount"] // 100 for item in page.items]
        path = page.json["meta"]["next"]
    assert seen == [5, 4, 3, 2]


def test_the_last_page_of_a_full_one_is_that_one(amounts: Client) -> None:
    meta = amounts.get("/debits?limit=4").json["meta"]
    assert (meta["last"], meta["next"]) == ("/debits?limit=4&offset=0", None)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=", "offset=-1", "offset=1.5", "limit=%D9%A1"]
)
def test_a_page_that_cannot_be_meant_is_refused(api: Client, query: str) -> None:
    name = query.partition("=")[0]
    assert name in api.get(f"/debits?{query}", 400).error["extras"]


def test_failed_ones_are_hidden_unless_the_status_is_asked_for(amounts: Client) -> None:
    assert 3 not in found(amounts, "meta.billy.transaction_guid=TX3")
    assert found(amounts, "status=failed") == [3]
    assert found(amounts, "status[in]=pending,succeeded,failed&meta.billy.transaction_guid=TX3") == [3]
    assert found(amounts, "status=succeeded") == [5, 4, 2, 1]


def test_failed_refunds_and_credits_are_hidden_too(api: Client, simulator: BalancedSimulator) -> None:
    refund = api.post(f"{api.debit()['href']}/refunds").item
    credit = api.credit()
    for item, path in ((refund, "/refunds"), (credit, "/credits")):
        simulator.settle(item["href"], "failed")
        assert api.get(path).items == []
        assert [shown["id"] for shown in api.get(f"{path}?status=failed").items] == [item["id"]]


def test_a_sub_collection_shows_only_its_owners_and_pages_under_its_own_path(amounts: Client) -> None:
    card = amounts.card()
    debit = amounts.debit(card, amount=900)
    page = amounts.get(f"{card['href']}/debits?limit=1")
    assert page.items == [debit]
    assert page.json["meta"]["href"] == f"{card['href']}/debits?limit=1&offset=0"


@pytest.mark.parametrize(
    "query, expected",
    [
        ("amount=200", [2]),
        ("amount[!=]=200", [5, 4, 1]),
        ("amount[<]=200", [1]),
        ("amount[<=]=200", [2, 1]),
        ("amount[>]=200", [5, 4]),
        ("amount[>=]=200", [5, 4, 2]),
        ("amount[in]=100,400,700", [4, 1]),
        ("amount[!in]=100,400", [5, 2]),
        ("amount[>]=100&amount[<]=500", [4, 2]),
        ("status[contains]=eed", [5, 4, 2, 1]),
        ("status[!contains]=eed", [3]),
        ("status[startswith]=succ", [5, 4, 2, 1]),
        ("status[endswith]=led", [3]),
        ("status[ilike]=FAIL%", [3]),
        ("status[!ilike]=fail%", [5, 4, 2, 1]),
        ("created_at[>]=2001-01-01T00:00:00.000000Z", [5, 4, 2, 1]),
        ("created_at[<]=2001-01-01", []),
        ("meta.billy.transaction_guid=TX2", [2]),
        ("meta.billy.transaction_guid=TX", []),
        ("meta.other=TX2", []),
        ("meta[contains]=n4", [4]),
        ("meta[contains]=billy.transaction_guid&meta.billy.transaction_guid=TX5", [5]),
        ("sort=amount,asc", [1, 2, 4, 5]),
        ("sort=amount,desc", [5, 4, 2, 1]),
        ("sort=created_at,asc", [1, 2, 4, 5]),
        ("sort=amount", [1, 2, 4, 5]),
    ],
)
def test_a_query_finds_what_it_asks_for(amounts: Client, query: str, expected: list[int]) -> None:
    pairs = [part.rpartition("=") for part in query.split("&")]
    assert found(amounts, urlencode([(name, value) for name, _, value in pairs])) == expected


def test_the_number_of_a_transaction_can_be_asked_for(amounts: Client) -> None:
    number = amounts.get("/debits").items[1]["transaction_number"]
    assert found(amounts, f"transaction_number={number}") == [4]


def test_several_sorts_apply_in_order(api: Client) -> None:
    card = api.card()
    made = [api.debit(card, amount=amount)["id"] for amount in (200, 100, 200)]
    found = [item["id"] for item in api.get("/debits?sort=amount,asc&sort=created_at,desc").items]
    assert found == [made[1], made[2], made[0]]


@pytest.mark.parametrize(
    "query",
    [
        *("meta[billy.transaction_guid]=TX1", "meta=TX1", "meta[in]=a", "colour=red", "amount[~]=1", "amount[]x=1"),
        *("amount=many", "amount[in]=1,,2", "created_at[>]=yesterday", "sort=colour,asc", "sort=amount,up", "sort="),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(amounts: Client, query: str) -> None:
    assert amounts.get(f"/debits?{query}", 400).error["category_code"] == "request"


def test_an_unknown_sort_says_so(api: Client) -> None:
    assert "Unable to sort on unknown field" in api.get("/debits?sort=colour,asc", 400).error["description"]


@pytest.mark.parametrize(
    "path, allowed, refused",
    [
        ("/debits", "transaction_number", "email"),
        ("/credits", "meta[contains]", "expires_at"),
        ("/refunds", "status", "type"),
        ("/reversals", "status", "meta[contains]"),
        ("/card_holds", "is_void", "status"),
        ("/customers", "email", "name"),
        ("/cards", "is_valid", "number"),
        ("/bank_accounts", "is_valid", "name"),
        ("/events", "type", "amount"),
    ],
)
def test_each_collection_has_its_own_filters(api: Client, path: str, allowed: str, refused: str) -> None:
    api.get(f"{path}?{allowed}=x")
    api.get(f"{path}?{refused}=x", 400)


def test_what_is_asked_for_and_not_shown_is_found(api: Client) -> None:
    card = api.card()
    holds = [api.post(f"{card['href']}/card_holds", {"amount": 50}).item for _ in range(2)]
    api.put(holds[0]["href"], {"is_void": True})
    assert [hold["id"] for hold in api.get("/card_holds?is_void=true").items] == [holds[0]["id"]]
    assert [hold["id"] for hold in api.get("/card_holds?is_void=false").items] == [holds[1]["id"]]
    assert [found["id"] for found in api.get("/cards?is_valid=true").items] == [card["id"]]


@pytest.mark.parametrize("path", ["/orders", "/disputes", "/accounts", "/settlements", "/external_accounts"])
def test_what_is_not_simulated_is_empty(api: Client, path: str) -> None:
    assert api.get(path).items == []


def test_every_list_under_a_customer_shows_the_customers_own(api: Client, simulator: BalancedSimulator) -> None:
    for name in ("theirs", "others"):
        customer = api.customer(name=name)
        card = api.post(f"{customer['href']}/cards", CARD).item
        account = api.post(f"{customer['href']}/bank_accounts", ACCOUNT).item
        debit = api.debit(card)
        api.post(f"{debit['href']}/refunds", {"amount": 1})
        api.post(f"{api.credit(account)['href']}/reversals", {"amount": 1})
        simulator.settle(debit["href"], "disputed")
    for name in ("cards", "bank_accounts", "debits", "card_holds", "credits", "refunds", "reversals", "disputes"):
        assert len(api.get(f"{customer['href']}/{name}").items) == 1, name
        assert len(api.get(f"/{name}").items) == 2, name


CARD = {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2999}
ACCOUNT = {"name": "J", "account_number": "9900000002", "routing_number": "021000021"}
