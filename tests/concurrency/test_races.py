"""The API against runs, at the same moment: whoever comes second is refused or finds it done."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from billy.billing_run import run

pytestmark = [
    pytest.mark.postgresql,
    # Small batches, so that at any moment there are invoices that no run has claimed yet.
    pytest.mark.ini(
        {"billy.sandbox.latency": "0.1", "billy.sandbox.idempotent": "false", "billy.run.batch_size": "4"}
    ),
]

NUMBER = 60


@pytest.fixture
def company(api, make, bystander):
    """A company with a customer and a plan."""
    client = api.company()
    client.customer = client.post("/v1/customers").json["guid"]
    plan = {"plan_type": "debit", "frequency": "daily", "amount": 1000}
    client.plan = client.post("/v1/plans", plan).json["guid"]
    return client


@pytest.fixture
def runs(sessions, settings, submitter, clock):
    """Three runs at once at the clock's time; returns once they are under way."""

    def begin() -> list[threading.Thread]:
        threads = [
            threading.Thread(target=run, args=(sessions, settings, submitter, clock.now), kwargs={"concurrency": 2})
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        return threads

    return begin


def due_subscriptions(company, clock) -> list[str]:
    started_at = (clock.now + timedelta(minutes=1)).isoformat()
    return [
        company.post(
            "/v1/subscriptions",
            {
                "customer_guid": company.customer,
                "plan_guid": company.plan,
                "funding_instrument_uri": "/cards/ok",
                "started_at": started_at,
            },
        ).json["guid"]
        for _ in range(NUMBER)
    ]


def invoices_of(company) -> list[dict]:
    return company.get("/v1/invoices", {"limit": 1000}).json["items"]


def charges_by_invoice(company, sandbox) -> Counter:
    invoice_of = {
        transaction["guid"]: transaction["invoice_guid"]
        for transaction in company.get("/v1/transactions", {"limit": 1000}).json["items"]
    }
    return Counter(invoice_of[charge.transaction_guid] for charge in sandbox.charges())


def test_an_invoice_that_is_canceled_during_runs_is_either_canceled_or_charged(company, clock, runs, sandbox):
    due_subscriptions(company, clock)
    clock.move(minutes=1)
    answers: Counter = Counter()
    days = 0
    while not answers[200] and days < 5:  # on a busy machine the runs may be through before anybody comes
        threads = runs()
        while any(thread.is_alive() for thread in threads):
            for invoice in invoices_of(company):
                if invoice["status"] == "processing":
                    answer = company.post(f"/v1/invoices/{invoice['guid']}/cancel", status="*")
                    answers[answer.status_int] += 1
        for thread in threads:
            thread.join()
        days += 1
        clock.move(days=1)
    charged = charges_by_invoice(company, sandbox)
    invoices = invoices_of(company)
    assert len(invoices) == NUMBER * days
    for invoice in invoices:
        assert (invoice["status"], charged[invoice["guid"]]) in {("settled", 1), ("canceled", 0)}
    assert set(answers) <= {200, 400, 409}
    assert answers[200] == sum(1 for invoice in invoices if invoice["status"] == "canceled") > 0


def test_a_subscription_that_is_canceled_during_runs_files_one_invoice_or_none(company, clock, runs, sandbox):
    guids = due_subscriptions(company, clock)
    clock.move(minutes=1)
    threads = runs()
    for guid in reversed(guids):
        company.post(f"/v1/subscriptions/{guid}/cancel")
    for thread in threads:
        thread.join()
    for guid in guids:
        subscription = company.get(f"/v1/subscriptions/{guid}").json
        invoices = company.get(f"/v1/subscriptions/{guid}/invoices").json["items"]
        assert subscription["canceled"]
        assert len(invoices) == subscription["invoice_count"] <= 1
        assert [invoice["status"] for invoice in invoices] in ([], ["settled"])


def test_a_customer_who_is_deleted_during_runs_is_never_charged_afterwards(company, clock, runs, sandbox):
    due_subscriptions(company, clock)
    clock.move(minutes=1)
    threads = runs()
    company.delete(f"/v1/customers/{company.customer}")
    for thread in threads:
        thread.join()
    clock.move(days=3)
    sent = len(sandbox.sends())
    for thread in runs():
        thread.join()
    assert len(sandbox.sends()) == sent
    charged = charges_by_invoice(company, sandbox)
    for invoice in invoices_of(company):
        assert (invoice["status"], charged[invoice["guid"]]) in {("settled", 1), ("failed", 0)}


def test_two_new_instruments_at_once_charge_the_invoice_once(company, clock, sandbox):
    for _ in range(10):
        order = {"customer_guid": company.customer, "amount": 1000}
        guid = company.post("/v1/invoices", order).json["guid"]
        before = len(sandbox.charges())

        def pay(card: str, guid: str = guid) -> int:
            return company.put(f"/v1/invoices/{guid}", {"funding_instrument_uri": card}, status="*").status_int

        with ThreadPoolExecutor(4) as pool:
            answers = Counter(pool.map(pay, ["/cards/a", "/cards/b", "/cards/c", "/cards/d"]))
        assert answers[200] == 1
        assert set(answers) <= {200, 400, 409}
        assert len(sandbox.charges()) == before + 1


def test_two_refunds_at_once_never_give_back_more_than_was_charged(company, sandbox):
    for _ in range(10):
        order = {"customer_guid": company.customer, "amount": 1000, "funding_instrument_uri": "/cards/ok"}
        guid = company.post("/v1/invoices", order).json["guid"]

        def refund(amount: int, guid: str = guid) -> int:
            return company.post(f"/v1/invoices/{guid}/refund", {"amount": amount}, status="*").status_int

        with ThreadPoolExecutor(4) as pool:
            answers = Counter(pool.map(refund, [600, 600, 600, 600]))
        assert answers == {200: 1, 400: 3}
