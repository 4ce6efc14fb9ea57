"""``after`` and ``next``: a list, page by page, wherever one is in it. ``count``: how long it is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.api.steps import new_customer, new_invoice, new_plan, subscribe
from tests.api.test_lists import noun_of, paged, populate


@pytest.fixture
def populated(api, company):
    """The company has lists with something in them, and another company has as much."""
    populate(api.company())
    return populate(company)


def followed(company, path, **query):
    """Every guid, by ``next``."""
    page = company.get(path, query).json
    guids = [item["guid"] for item in page["items"]]
    while page["next"]:
        page = company.get(page["next"]).json
        assert page["items"], "a page after which there is another leads to something"
        guids += [item["guid"] for item in page["items"]]
    return guids


def test_next_leads_through_every_list_in_its_order(company, populated):
    for path in populated["paths"]:
        inorder = paged(company, path, 20)
        for limit in (1, 3, 5, 20):
            assert followed(company, path, limit=limit) == inorder, f"{path} by {limit}"


def test_next_is_null_exactly_at_the_end(company):
    for _ in range(4):
        new_plan(company)
    assert company.get("/v1/plans", {"limit": 4}).json["next"] is None
    assert company.get("/v1/plans", {"limit": 5}).json["next"] is None
    assert company.get("/v1/plans", {"limit": 3}).json["next"]
    assert company.get("/v1/plans", {"limit": 3, "offset": 1}).json["next"] is None
    assert company.get("/v1/plans", {"limit": 3, "offset": 9}).json["next"] is None


def test_next_keeps_the_filters_and_the_limit_and_works_below_a_parent(company):
    customer = new_customer(company)
    wanted = [new_invoice(company, customer=customer, title="ü & é")["guid"] for _ in range(3)]
    new_invoice(company)
    subscribe(company, customer=customer)
    path = f"/v1/customers/{customer['guid']}/invoices"
    query = {"limit": 1, "invoice_type": "CUSTOMER", "created_at[gte]": "2020-01-01T00:00:00+00:00", "overpaid": "no"}
    page = company.get(path, query).json
    assert page["next"].startswith(f"{path}?")
    assert company.get(page["next"]).json["limit"] == 1
    assert followed(company, path, **query) == wanted[::-1]


def test_an_offset_is_not_carried_on(company):
    plans = [new_plan(company)["guid"] for _ in range(5)][::-1]
    assert followed(company, "/v1/plans", limit=2, offset=1) == plans[1:]


def test_pages_do_not_shift_while_records_are_made(company):
    plans = [new_plan(company)["guid"] for _ in range(4)][::-1]
    page = company.get("/v1/plans", {"limit": 2}).json
    new_plan(company)
    assert [item["guid"] for item in company.get(page["next"]).json["items"]] == plans[2:]


def test_a_page_goes_on_after_a_record_that_does_not_fit_any_more(company):
    plans = [new_plan(company)["guid"] for _ in range(3)][::-1]
    page = company.get("/v1/plans", {"limit": 1, "deleted": "false"}).json
    company.delete(f"/v1/plans/{plans[0]}")
    assert [item["guid"] for item in company.get(page["next"]).json["items"]] == [plans[1]]


def test_lists_in_the_order_of_periods_go_on_in_it(company, bill, clock):
    plan = new_plan(company, frequency="daily")
    subscribe(company, plan=plan, started_at=(clock.now + timedelta(days=2)).isoformat())
    early = subscribe(company, plan=plan)
    clock.move(days=4)
    bill()  # files the missed days of both at once, so guids and periods are in another order
    for path, query, count in (
        (f"/v1/plans/{plan['guid']}/invoices", {}, 8),
        (f"/v1/subscriptions/{early['guid']}/invoices", {}, 5),
        ("/v1/invoices", {"plan_guid": plan["guid"]}, 8),
        ("/v1/invoices", {"scheduled_at[gte]": "2020-01-01"}, 8),
    ):
        inorder = [(item["scheduled_at"], item["guid"]) for item in company.get(path, query).json["items"]]
        assert inorder == sorted(inorder, reverse=True)
        assert len(inorder) == count
        for limit in (1, 3):
            assert followed(company, path, limit=limit, **query) == [guid for _, guid in inorder]


def test_after_names_a_record_of_that_list(company, populated, bystander):
    strange = {
        "/v1/plans": [bystander.plan.guid, "PL1", "", "nobody", populated["customer"]["guid"]],
        f"/v1/customers/{populated['customer']['guid']}/invoices": [new_invoice(company)["guid"]],
        f"/v1/plans/{populated['plan']['guid']}/customers": [new_customer(company)["guid"]],
        "/v1/invoices?scheduled_at[gt]=2020-01-01": [new_invoice(company)["guid"]],
    }
    for path, guids in strange.items():
        for guid in guids:
            model = noun_of(path.partition("?")[0]).removesuffix("s").capitalize()
            answer = company.get(path, {"after": guid}, status=400).json
            assert answer["errors"] == {"after": [f"No such {model} record {guid} in this list"]}


def test_after_and_an_offset_are_not_one_place(company):
    plan = new_plan(company)
    answer = company.get("/v1/plans", {"after": plan["guid"], "offset": 1}, status=400).json
    assert answer["errors"] == {"offset": ["Cannot be combined with after"]}
    company.get("/v1/plans", {"after": plan["guid"], "offset": 0})


def test_count_tells_how_many_fit_on_all_pages(company, populated):
    for path, count in zip(populated["paths"], populated["counts"], strict=True):
        assert company.get(path, {"count": "true", "limit": 1}).json["total"] == count
        assert "total" not in company.get(path).json
        assert "total" not in company.get(path, {"count": "false"}).json
    assert company.get("/v1/plans", {"count": "1", "external_id": "p1"}).json["total"] == 1
    assert company.get("/v1/plans", {"count": "1", "offset": 3}).json["total"] == populated["counts"][1]


def test_a_page_after_a_record_asks_where_that_is_and_a_count_once_more(company, statements, populated):
    page = company.get("/v1/invoices", {"limit": 2}).json
    for path, expected in ((page["next"], 3), (f"{page['next']}&count=true", 4)):
        with statements() as seen:
            company.get(path)
        assert len(seen) == expected
