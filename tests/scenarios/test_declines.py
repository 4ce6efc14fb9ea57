"""Cards that say no, networks that say nothing, and what becomes of the invoice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from billy.errors import Misconfigured
from billy.models import Company
from billy.processors.sandbox import SandboxProcessor
from tests.scenarios.conftest import at, invoices_of, subscribe, transactions_of


def test_a_card_that_declines_twice_is_charged_on_the_third_try(company, clock, bill, sandbox):
    clock.now = at("2013-06-01")
    subscription = subscribe(company, card="/cards/declined-twice")
    [transaction] = transactions_of(company, subscription)
    assert (transaction["submit_status"], transaction["failure_count"]) == ("retrying", 1)

    clock.move(minutes=50)  # the first pause is an hour, give or take a tenth
    assert bill().submitted == 0
    clock.move(minutes=20)
    assert bill().declined == 1
    clock.move(hours=7)  # the second is six
    assert bill().succeeded == 1

    [transaction] = transactions_of(company, subscription)
    assert (transaction["submit_status"], transaction["status"]) == ("done", "succeeded")
    assert [failure["error_code"] for failure in transaction["failures"]] == ["insufficient-funds"] * 2
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]
    assert [charge.amount for charge in sandbox.charges()] == [1000]
    keys = [send.submission_key for send in sandbox.sends()]
    assert len(set(keys)) == 3, "a retry after a refusal must be a new submission, or the bank never sees it"


@pytest.mark.ini({"billy.transaction.maximum_retry": 2, "billy.transaction.retry_schedule": "1d"})
def test_a_card_that_always_declines_fails_the_invoice_after_the_retries_and_one_more(company, clock, bill, sandbox):
    clock.now = at("2013-06-01")
    subscription = subscribe(company, card="/cards/declined")
    for _ in range(5):
        clock.move(days=2)
        bill()
    [transaction] = transactions_of(company, subscription)
    assert (transaction["submit_status"], transaction["status"]) == ("failed", None)
    assert transaction["failure_count"] == len(sandbox.sends()) == 3
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["failed"]


def test_a_failed_invoice_is_paid_with_another_card(company, clock, sandbox):
    subscription = subscribe(company, card="/cards/stolen")
    [invoice] = invoices_of(company, subscription)
    assert invoice["status"] == "failed"
    paid = company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"}).json
    assert paid["status"] == "settled"
    assert [charge.amount for charge in sandbox.charges()] == [1000]


def test_an_answer_that_is_lost_after_the_charge_is_found_and_not_charged_again(company, clock, bill, sandbox):
    subscription = subscribe(company, card="/cards/lost-after-charge")
    [transaction] = transactions_of(company, subscription)
    assert (transaction["submit_status"], transaction["status"]) == ("retrying", None)
    assert transaction["failures"][0]["error_code"] == "outcome_unknown"
    clock.move(minutes=1)
    assert bill().succeeded == 1
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]
    assert len(sandbox.sends()) == 1


@pytest.mark.ini({"billy.transaction.maximum_retry": 0})
def test_a_day_without_the_processor_uses_up_no_retry_and_leaves_one_failure(company, clock, bill, sandbox):
    subscription = subscribe(company, card="/cards/unreachable")
    for _ in range(24):
        clock.move(hours=1)
        assert bill().retrying == 1
    [transaction] = transactions_of(company, subscription)
    assert transaction["submit_status"] == "retrying"
    assert [(failure["error_code"], failure["count"]) for failure in transaction["failures"]] == [("unavailable", 25)]
    assert sandbox.sends() == []


def test_a_refused_processor_key_parks_the_company_and_another_company_goes_on(api, company, clock, bill, make):
    subscription = subscribe(company, card="/cards/revoked-key")
    clock.move(minutes=1)
    other = api.company(processor_key="another")
    subscribe(other, started_at=(clock.now + timedelta(hours=1)).isoformat())
    assert bill().submitted == 0, "a parked company is left alone"
    clock.move(hours=2)
    summary = bill()
    assert summary.succeeded == 1
    assert (summary.parked, summary.exit_code) == (1, 1)
    [transaction] = transactions_of(company, subscription)
    assert transaction["failures"][0]["error_code"] == "misconfigured"


def test_the_refusal_of_a_key_that_was_replaced_meanwhile_does_not_park_the_company(
    company, clock, bill, sessions, vault, monkeypatch
):
    started_at = (clock.now + timedelta(hours=1)).isoformat()
    subscription = subscribe(company, started_at=started_at)
    clock.move(hours=1)

    def refuse(self, submission):  # while the operator replaces the key
        with sessions.begin() as session:
            own = session.get_one(Company, company.guid)
            own.replace_processor_key(vault, vault.open(own.sealed_processor_key), clock.now)  # of the same account
        raise Misconfigured("the old key is revoked")

    with monkeypatch.context() as patch:
        patch.setattr(SandboxProcessor, "submit", refuse)
        assert bill().parked == 0
    clock.move(hours=1)
    assert bill().succeeded == 1
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]


def test_a_broken_adapter_stops_nobody_else_and_is_reported(company, clock, bill):
    started_at = (clock.now + timedelta(hours=1)).isoformat()
    broken = subscribe(company, card="/cards/bug", started_at=started_at)
    sound = subscribe(company, card="/cards/ok", started_at=started_at)
    clock.move(hours=1)
    summary = bill()
    assert (summary.errors, summary.exit_code) == (1, 1)
    assert [invoice["status"] for invoice in invoices_of(company, sound)] == ["settled"]
    assert [invoice["status"] for invoice in invoices_of(company, broken)] == ["processing"]


def test_a_pending_bank_debit_is_settled_by_the_processors_callback(company, clock, sandbox, sessions, vault):
    subscription = subscribe(company, card="/bank_accounts/pending")
    [transaction] = transactions_of(company, subscription)
    assert transaction["status"] == "pending"
    with sessions() as session:
        record = session.get_one(Company, company.guid)
        path = f"/v1/companies/{company.guid}/callbacks/{vault.open(record.sealed_callback_key)}"
    body = sandbox.settle(transaction["processor_uri"], "succeeded")
    assert company.app.post(path, body).json == {"code": "ok"}
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"]
    assert company.app.post(path, body).json == {"code": "ignore"}, "an event counts once"

    bounced = sandbox.settle(transaction["processor_uri"], "failed")
    assert company.app.post(path, bounced).json == {"code": "ok"}
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["failed"]
