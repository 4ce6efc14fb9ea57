"""Billing told with dates: no invoice before, one on, none after."""

from __future__ import annotations

from datetime import timedelta

from tests.scenarios.conftest import at, days_of, invoices_of, subscribe, transactions_of


def test_a_year_of_monthly_billing_from_january_31_recovers_the_end_of_each_month(company, clock, bill):
    clock.now = at("2013-01-31 10:00")
    subscription = subscribe(company)
    for _ in range(365):
        clock.move(days=1)
        bill()
    invoices = invoices_of(company, subscription)
    assert days_of(invoices) == [
        "2013-01-31",
        "2013-02-28",
        "2013-03-31",
        "2013-04-30",
        "2013-05-31",
        "2013-06-30",
        "2013-07-31",
        "2013-08-31",
        "2013-09-30",
        "2013-10-31",
        "2013-11-30",
        "2013-12-31",
        "2014-01-31",
    ]
    assert {invoice["scheduled_at"][10:] for invoice in invoices} == {"T10:00:00+00:00"}
    assert {invoice["status"] for invoice in invoices} == {"settled"}
    assert [transaction["amount"] for transaction in transactions_of(company, subscription)] == [1000] * 13


def test_nothing_is_filed_a_second_before_it_is_due_and_nothing_twice_after(company, clock, bill):
    clock.now = at("2013-01-15 10:00")
    subscription = subscribe(company)
    clock.now = at("2013-02-15 10:00") - timedelta(seconds=1)
    assert bill().filed == 0
    clock.move(seconds=1)
    assert bill().filed == 1
    assert bill().filed == 0
    clock.move(days=20)
    assert bill().filed == 0
    assert days_of(invoices_of(company, subscription)) == ["2013-01-15", "2013-02-15"]


def test_a_subscription_from_a_leap_day_comes_back_to_it(company, clock, bill):
    clock.now = at("2012-02-29")
    subscription = subscribe(company, frequency="yearly")
    for year in range(2013, 2017):
        clock.now = at(f"{year}-03-01")
        bill()
    assert days_of(invoices_of(company, subscription)) == [
        "2012-02-29",
        "2013-02-28",
        "2014-02-28",
        "2015-02-28",
        "2016-02-29",
    ]


def test_a_week_without_cron_is_made_up_for_each_missed_day_with_its_own_date(company, clock, bill, sandbox):
    clock.now = at("2013-06-01 09:00")
    subscription = subscribe(company, frequency="daily", amount=100)
    clock.now = at("2013-06-08 12:00")
    assert bill().filed == 7
    invoices = invoices_of(company, subscription)
    assert days_of(invoices) == [f"2013-06-0{day}" for day in range(1, 9)]
    assert [invoice["guid"] for invoice in invoices] == sorted(invoice["guid"] for invoice in invoices)
    assert len(sandbox.charges()) == 8
    assert (
        company.get(f"/v1/subscriptions/{subscription['guid']}").json["next_invoice_at"] == "2013-06-09T09:00:00+00:00"
    )


def test_a_subscription_with_a_later_start_is_first_billed_then(company, clock, bill):
    clock.now = at("2013-06-01")
    subscription = subscribe(company, started_at="2013-06-10T08:00:00+02:00")
    assert subscription["invoice_count"] == 0
    assert subscription["next_invoice_at"] == "2013-06-10T06:00:00+00:00"
    clock.now = at("2013-06-10 05:59")
    assert bill().filed == 0
    clock.now = at("2013-06-10 06:00")
    assert bill().filed == 1
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]


def test_a_canceled_subscription_is_billed_no_more_but_owes_what_was_filed(company, clock, bill):
    clock.now = at("2013-06-01")
    subscription = subscribe(company, card="/cards/declined")
    clock.now = at("2013-06-02")
    canceled = company.post(f"/v1/subscriptions/{subscription['guid']}/cancel").json
    assert canceled["canceled_at"] == "2013-06-02T00:00:00+00:00"
    clock.now = at("2014-06-02")
    bill()
    [invoice] = invoices_of(company, subscription)
    assert invoice["status"] == "processing"
