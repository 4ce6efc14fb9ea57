"""How many statements a request sends to the database: a fixed number, however much there is."""

from __future__ import annotations

import pytest

from tests.api.steps import new_customer, new_invoice, new_plan, subscribe

NOUNS = ("customers", "plans", "subscriptions", "invoices", "transactions")


def fill(company, *, times: int) -> None:
    plan, customer = new_plan(company), new_customer(company)
    for _ in range(times):
        subscribe(company, plan=plan, customer=customer, card="/cards/declined")
        new_customer(company)
        new_plan(company)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_get_of_one_record_asks_for_the_key_and_for_the_record(company, statements, noun):
    subscribe(company, plan=new_plan(company), customer=new_customer(company), card="/cards/ok")
    [record, *_] = company.get(f"/v1/{noun}").json["items"]

    with statements() as seen:
        assert company.get(f"/v1/{noun}/{record['guid']}").json == record

    assert len(seen) == 2


def test_a_get_of_a_transaction_that_failed_asks_for_its_failures_too(company, statements):
    fill(company, times=1)
    [record] = company.get("/v1/transactions").json["items"]

    with statements() as seen:
        assert len(company.get(f"/v1/transactions/{record['guid']}").json["failures"]) == 1

    assert len(seen) == 3


@pytest.mark.parametrize("noun", NOUNS)
def test_a_list_costs_the_same_however_long_it_is(company, statements, noun):
    counts = []
    for more, length in ((1, 1), (24, 20)):
        fill(company, times=more)
        with statements() as seen:
            assert len(company.get(f"/v1/{noun}", {"limit": length}).json["items"]) == length
        counts.append(len(seen))

    expected = 3 if noun == "transactions" else 2  # the failures of a page are one query more
    assert counts == [expected, expected]


def test_a_page_of_a_plans_customers_is_cut_from_its_subscriptions(company, statements):
    """Cut from the customers it takes 45 times as long at a million rows, where the plan is an old one."""
    plan, customer = new_plan(company), new_customer(company)
    subscribe(company, plan=plan, customer=customer, card="/cards/ok")

    with statements() as seen:
        [found] = company.get(f"/v1/plans/{plan['guid']}/customers").json["items"]

    assert found == customer
    page = str(seen[-1])
    assert page.index("DISTINCT subscription.customer_guid") < page.index("LIMIT")
    assert "EXISTS" not in page


def test_a_nested_list_asks_for_its_parent_too(company, statements):
    plan, customer = new_plan(company), new_customer(company)
    subscription = subscribe(company, plan=plan, customer=customer, card="/cards/declined")

    with statements() as seen:
        assert len(company.get(f"/v1/subscriptions/{subscription['guid']}/transactions").json["items"]) == 1

    assert len(seen) == 4


def test_a_subscription_with_its_first_invoice_and_charge_takes_eight_statements(company, statements):
    plan, customer = new_plan(company), new_customer(company)

    with statements() as seen:
        subscribe(company, plan=plan, customer=customer, card=None)

    assert len(seen) <= 8


@pytest.mark.ini(dict.fromkeys(("billy.limit.failures_per_address", "billy.limit.failures_per_key"), "1/1h"))
def test_a_valid_key_is_not_counted(company, statements):
    with statements() as seen:
        for _ in range(3):
            company.get("/v1/plans")

    assert len(seen) == 6


def test_an_invoice_takes_three_statements(company, statements):
    customer = new_customer(company)

    with statements() as seen:
        new_invoice(company, customer=customer)

    assert len(seen) == 3
