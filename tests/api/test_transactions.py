"""/v1/transactions"""

from __future__ import annotations

import pytest

from tests.api.shapes import TRANSACTION, page_mistakes
from tests.api.steps import listed, new_invoice, new_plan, subscribe, transactions_of


def test_each_kind_of_transaction_answers_every_documented_field(company):
    invoice = new_invoice(company, card="/cards/ok", appears_on_statement_as="Shop")
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 5})
    subscribe(company, plan=new_plan(company, plan_type="credit"), card="/bank_accounts/ok")
    subscribe(company, card="/cards/declined")
    page = company.get("/v1/transactions").json
    assert page_mistakes(TRANSACTION, page) == {}
    assert [each["transaction_type"] for each in page["items"]] == ["debit", "credit", "refund", "debit"]
    for transaction in page["items"]:
        assert company.get(f"/v1/transactions/{transaction['guid']}").json == transaction


def test_a_transaction_tells_what_was_charged_to_what(company, clock):
    invoice = new_invoice(company, card="/cards/ok", amount=900, appears_on_statement_as="Shop")
    [transaction] = transactions_of(company, invoice)
    assert transaction["invoice_guid"] == invoice["guid"]
    assert transaction["amount"] == 900
    assert transaction["funding_instrument_uri"] == "/cards/ok"
    assert transaction["appears_on_statement_as"] == "Shop"
    assert transaction["processor_uri"].startswith("/debits/")
    assert (transaction["submit_status"], transaction["status"]) == ("done", "succeeded")
    assert (transaction["failure_count"], transaction["failures"]) == (0, [])
    assert transaction["created_at"] == transaction["updated_at"] == clock.now.isoformat()


@pytest.mark.parametrize(
    ("card", "code", "number", "message"),
    [
        ("/cards/declined", "insufficient-funds", 402, "Insufficient funds"),
        ("/cards/stolen", "card-stolen", 402, "The card was reported stolen"),
        ("/cards/fails", "returned", None, "The bank returned it"),
        ("/cards/unreachable", "unavailable", None, "The processor cannot be reached"),
        ("/cards/revoked-key", "misconfigured", None, "The processor refuses the company's key"),
        ("/cards/lost-after-charge", "outcome_unknown", None, "The processor's answer was lost"),
    ],
)
def test_a_failure_tells_why(company, card, code, number, message):
    [transaction] = transactions_of(company, new_invoice(company, card=card))
    [failure] = transaction["failures"]
    assert (failure["error_code"], failure["error_number"], failure["error_message"]) == (code, number, message)
    assert failure["count"] == 1


def test_a_bug_in_an_adapter_is_told_without_its_inside(company):
    [transaction] = transactions_of(company, new_invoice(company, card="/cards/bug"))
    [failure] = transaction["failures"]
    assert failure["error_message"] == "Billy's adapter crashed: TypeError"


def test_failures_are_told_oldest_first(company, bill, clock):
    invoice = new_invoice(company, card="/cards/declined")
    for _ in range(3):
        clock.move(days=7)
        bill()
    [transaction] = transactions_of(company, invoice)
    instants = [failure["created_at"] for failure in transaction["failures"]]
    assert transaction["failure_count"] == len(instants) == 4
    assert instants == sorted(set(instants))
    assert instants[-1] == transaction["updated_at"] == clock.now.isoformat()


def test_the_list_is_newest_first_and_a_companys_own(api, company, clock):
    invoices = []
    for _ in range(3):
        invoices.append(new_invoice(company, card="/cards/ok"))
        clock.move(minutes=1)
    new_invoice(api.company(), card="/cards/ok")
    items = company.get("/v1/transactions").json["items"]
    assert [each["invoice_guid"] for each in items] == [invoice["guid"] for invoice in reversed(invoices)]
    assert listed(company, "/v1/transactions") == list(reversed(items))
