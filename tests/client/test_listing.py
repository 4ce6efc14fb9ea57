"""Lists follow their pages, and what is asked is refused where the server would ignore it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from billy.client import KEEP, Client, Listing, Plan
from tests.client import double as faults
from tests.client.double import PLAN, Double, says


def page(*guids: str, next: str | None = None, **more: Any) -> dict[str, Any]:
    return {"items": [{**PLAN, "guid": guid} for guid in guids], "offset": 0, "limit": 2, "next": next, **more}


def answers(double: Double, *pages: dict[str, Any]) -> None:
    double.faults += [says(200, each) for each in pages]


def test_a_list_is_not_asked_for_before_one_goes_through_it(billy: Client, double: Double) -> None:
    listing = billy.plans.list(limit=2)
    assert isinstance(listing, Listing)
    assert double.seen == []
    answers(double, page("PL4", "PL3", next="/v1/plans?limit=2&after=PL3"), page("PL2", "PL1"))
    plans = iter(listing)
    assert [next(plans).guid, next(plans).guid] == ["PL4", "PL3"]
    assert len(double.seen) == 1
    assert [plan.guid for plan in plans] == ["PL2", "PL1"]


def test_the_next_page_is_asked_for_as_the_page_before_says(billy: Client, double: Double) -> None:
    told = "/a/proxys/path?deleted=false&limit=2&after=PL4&external_id=%C3%BC%26"
    answers(double, page("PL4", next=told), page("PL2"))
    found = list(billy.plans.list(limit=2, deleted=False, external_id="ü&"))
    assert [plan.guid for plan in found] == ["PL4", "PL2"]
    first, second = double.seen
    assert first.path == second.path == "/v1/plans"
    assert first.query == {"limit": "2", "deleted": "false", "external_id": "ü&"}
    assert second.query == {**first.query, "after": "PL4"}


def test_a_filter_that_is_empty_stays_one_from_page_to_page(billy: Client, double: Double) -> None:
    answers(double, page("PL4", next="/v1/plans?external_id=&limit=2&after=PL4"), page())
    list(billy.plans.list(limit=2, external_id=""))
    assert [seen.query["external_id"] for seen in double.seen] == ["", ""]


def test_a_page_that_gets_lost_is_asked_for_again(billy: Client, double: Double) -> None:
    answers(double, page("PL4", next="/v1/plans?after=PL4"))
    double.faults += [faults.half, says(200, page("PL2"))]
    double.body = page("no such")
    assert [plan.guid for plan in billy.plans.list()] == ["PL4", "PL2"]


def test_a_list_can_be_gone_through_again(billy: Client, double: Double) -> None:
    listing = billy.plans.list()
    answers(double, page("PL1"), page("PL2", "PL1"))
    assert [len(list(listing)), len(list(listing))] == [1, 2]


def test_the_first_and_the_number_of_them_need_one_record(billy: Client, double: Double) -> None:
    listing = billy.plans.list(deleted=False, limit=500)
    answers(double, page("PL9"), page(), page("PL9", total=1234))
    first = listing.first()
    assert isinstance(first, Plan)
    assert first.guid == "PL9"
    assert listing.first() is None
    assert listing.count() == 1234
    assert [seen.query["limit"] for seen in double.seen] == ["1", "1", "1"]
    assert [seen.query.get("count") for seen in double.seen] == [None, None, "true"]


def test_a_filter_that_there_is_not_is_refused(billy: Client, double: Double) -> None:
    # The server ignores what it does not know, and would answer all of them.
    for wrong in ({"staus": "failed"}, {"created_at": datetime.now(UTC)}, {"created_at[gte]": "2026-01-01"}):
        with pytest.raises(TypeError, match="There is no filter"):
            billy.invoices.list(**wrong)  # type: ignore[arg-type]  # that is the point
    assert double.seen == []


def test_what_is_none_is_left_out(billy: Client, double: Double) -> None:
    answers(double, page())
    billy.plans.list(external_id=None, limit=3).first()  # type: ignore[arg-type]  # as a caller without types may
    billy.plans.create(plan_type="debit", frequency="daily", amount=50, name=None)
    assert double.seen[0].query == {"limit": "1"}
    assert double.seen[1].json == {"plan_type": "debit", "frequency": "daily", "amount": 50}


def test_a_null_that_means_something_is_sent(billy: Client, double: Double) -> None:
    for given, sent in (
        ({}, {}),
        ({"amount": KEEP}, {}),
        ({"amount": None, "appears_on_statement_as": None}, {"amount": None, "appears_on_statement_as": None}),
        ({"funding_instrument_uri": None}, {}),
        ({"open_invoices": False}, {"open_invoices": False}),
    ):
        with pytest.raises(Exception, match="no Subscription"):  # the double knows plans
            billy.subscriptions.change("SU1", **given)  # type: ignore[arg-type]  # a table
        assert double.seen[-1].json == sent


def test_an_instant_without_its_zone_is_refused(billy: Client, double: Double) -> None:
    naive = datetime(2026, 1, 15, 12)
    with pytest.raises(ValueError, match="time zone"):
        billy.subscriptions.create(customer_guid="CU1", plan_guid="PL1", started_at=naive)
    with pytest.raises(ValueError, match="created_at__gte must know"):
        billy.plans.list(created_at__gte=naive)
    with pytest.raises(TypeError, match="cannot be sent"):
        billy.plans.create(plan_type="debit", frequency="daily", amount=object())  # type: ignore[arg-type]
    assert double.seen == []


@pytest.mark.parametrize("guid", ["", ".", "..", "PL1/customers", "PL1?limit=1", "PL1#", "PL 1", "%2e%2e"])
def test_what_is_no_guid_gets_into_no_path(billy: Client, double: Double, guid: str) -> None:
    with pytest.raises(ValueError, match="Not a guid"):
        billy.plans.delete(guid)
    assert double.seen == []


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_what_is_no_callback_key_gets_into_no_path(billy: Client, double: Double, key: str) -> None:
    with pytest.raises(ValueError, match="Not a callback key"):
        billy.companies.call_back("CP1", key, event={})
    assert double.seen == []
