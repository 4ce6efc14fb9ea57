"""/v1/companies/<guid>/callbacks/<key>: what the processor says on its own accord."""

from __future__ import annotations

import orjson
import pytest

from billy.errors import OutcomeUnknown, Unavailable
from billy.processors.base import Submission, SubmissionType
from tests.api.steps import invoice_now, new_invoice, subscribe, transactions_of
from tests.support.client import basic

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def pending(company):
    """An invoice whose charge is pending at the processor."""
    return new_invoice(company, card="/bank_accounts/pending")


@pytest.fixture
def transaction(company, pending):
    """That charge."""
    [transaction] = transactions_of(company, pending)
    assert transaction["status"] == "pending"
    return transaction


@pytest.mark.parametrize(("status", "invoice_status"), [("succeeded", "settled"), ("failed", "failed")])
def test_an_event_ends_what_was_pending(company, pending, transaction, settle, clock, status, invoice_status):
    clock.move(days=3)
    assert settle(company, transaction, status) == {"code": "ok"}
    [after] = transactions_of(company, pending)
    assert (after["submit_status"], after["status"]) == ("done", status)
    invoice = invoice_now(company, pending)
    assert invoice["status"] == invoice_status
    assert after["updated_at"] == invoice["updated_at"] == clock.now.isoformat()
    assert [failure["error_code"] for failure in after["failures"]] == (["returned"] if status == "failed" else [])


def test_a_bank_that_takes_a_payment_back_makes_the_invoice_unpaid(company, settle):
    subscription = subscribe(company)
    [transaction] = transactions_of(company, subscription)
    assert settle(company, transaction, "failed") == {"code": "ok"}
    assert invoice_now(company, {"guid": transaction["invoice_guid"]})["status"] == "failed"


def test_an_event_counts_once(company, pending, transaction, call_back, sandbox, clock):
    body = sandbox.settle(transaction["processor_uri"], "failed")
    assert call_back(company, body).json == {"code": "ok"}
    before = transactions_of(company, pending), invoice_now(company, pending)
    clock.move(hours=1)
    assert call_back(company, body).json == {"code": "ignore"}
    assert (transactions_of(company, pending), invoice_now(company, pending)) == before


def test_an_event_that_concerns_no_transaction_is_ignored(company, call_back, sandbox):
    assert call_back(company, sandbox.announce("a-processor-key")).json == {"code": "ignore"}


def test_an_event_of_a_charge_that_billy_did_not_make_is_ignored(company, call_back, sandbox):
    guid = "TX" + "1" * 22
    charge = Submission(SubmissionType.DEBIT, "key-1", guid, "IV1", "/customers/1", 5, "/cards/pending", None, None)
    receipt = sandbox("a-processor-key").submit(charge)
    assert call_back(company, sandbox.settle(receipt.processor_uri, "succeeded")).json == {"code": "ignore"}


def test_the_body_is_not_trusted(company, pending, transaction, call_back, sandbox):
    """A forged event says what its forger likes; only its id is used, and the processor asked."""
    real = orjson.loads(sandbox.settle(transaction["processor_uri"], "failed"))
    forged = {**real, "status": "succeeded", "type": "debit.succeeded", "amount": 1}
    assert call_back(company, orjson.dumps(forged)).json == {"code": "ok"}
    assert invoice_now(company, pending)["status"] == "failed"


def test_an_event_closes_a_charge_whose_answer_was_lost(company, call_back, sandbox, bill, end_leases):
    invoice = new_invoice(company, card="/cards/lost-after-charge")
    [charge] = sandbox.charges()
    assert call_back(company, sandbox.settle(charge.uri, "succeeded")).json == {"code": "ok"}
    [transaction] = transactions_of(company, invoice)
    assert (transaction["submit_status"], transaction["status"]) == ("done", "succeeded")
    assert transaction["processor_uri"] == charge.uri
    assert invoice_now(company, invoice)["status"] == "settled"
    end_leases()
    assert bill().submitted == 0
    assert len(sandbox.sends()) == 1


def test_a_failure_that_overtakes_the_answer_is_delivered_again(company, call_back, sandbox, bill, end_leases):
    """The answer said "pending", and was lost; the charge failed before anybody could look it up."""
    bystander = new_invoice(company, card="/cards/lost-after-charge")
    invoice = new_invoice(company, card="/cards/lost-after-charge")
    charge = sandbox.charges()[-1]
    event = sandbox.settle(charge.uri, "failed")
    before = transactions_of(company, invoice), transactions_of(company, bystander)
    call_back(company, event, status=409)
    assert (transactions_of(company, invoice), transactions_of(company, bystander)) == before
    end_leases()
    bill()
    assert invoice_now(company, invoice)["status"] == "failed"  # the look-up has heard it
    assert call_back(company, event).json == {"code": "ok"}
    assert invoice_now(company, invoice)["status"] == "failed"
    assert invoice_now(company, bystander)["status"] == "settled"


def test_an_event_of_a_refund_changes_the_refund_and_not_the_invoice(company, settle):
    invoice = new_invoice(company, card="/cards/refund-pending")
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 100})
    _, refund = transactions_of(company, invoice)
    assert settle(company, refund, "failed") == {"code": "ok"}
    _, refund = transactions_of(company, invoice)
    assert refund["status"] == "failed"
    assert invoice_now(company, invoice)["status"] == "settled"


def test_what_is_no_event_of_the_processor_is_400_and_changes_nothing(company, pending, transaction, call_back):
    bodies = [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"id": 5}',
        b'{"id": null}',
        b'{"id": "EVforged"}',
        b'{"id": "EV\\u0000"}',
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
    ]
    for body in bodies:
        answer = call_back(company, body, status=400).json
        assert answer["error_class"] == "InvalidCallbackPayload"
    assert transactions_of(company, pending) == [transaction]


def test_another_companys_event_is_none_of_this_one(api, company, pending, transaction, callback_path, sandbox):
    other = api.company(processor_key="another")
    event = sandbox.settle(transaction["processor_uri"], "succeeded")
    answer = api.anonymous.post(callback_path(other, "another"), body=event, headers=JSON, status=400).json
    assert answer["error_class"] == "InvalidCallbackPayload"
    assert transactions_of(company, pending) == [transaction]


def test_the_url_is_the_secret(api, company, transaction, callback_path, sandbox, bystander):
    event = sandbox.settle(transaction["processor_uri"], "succeeded")
    right = callback_path(company).rstrip("/")
    other = api.company(processor_key="another")
    wrong = [
        right[:-1],
        right + "x",
        right.rpartition("/")[0],
        right.rpartition("/")[0] + "/" + "k" * 44,
        right.replace(company.guid, bystander.company.guid),
        right.replace(company.guid, "CP" + "1" * 22),
        right.replace(company.guid, other.guid),
        right + "/x",
        right.rpartition("/")[0] + "/%C3%A9",
    ]
    for path in wrong:
        answer = api.anonymous.post(path, body=event, headers=JSON, status=404).json
        assert answer["error_class"] == "NotFound"
    assert company.get(f"/v1/transactions/{transaction['guid']}").json == transaction
    assert api.anonymous.post(right, body=event, headers=JSON).json == {"code": "ok"}, "with or without a slash"


def test_an_api_key_is_neither_needed_nor_looked_at(company, transaction, callback_path, sandbox, bystander, api):
    for number, key in enumerate(("wrong", bystander.api_key)):
        event = sandbox.settle(transaction["processor_uri"], ["failed", "succeeded"][number])
        headers = {**JSON, "Authorization": basic(key)}
        assert api.anonymous.post(callback_path(company), body=event, headers=headers).json == {"code": "ok"}


def test_any_content_type_will_do(company, transaction, callback_path, sandbox, api):
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        event = sandbox.settle(transaction["processor_uri"], "succeeded")
        headers = {"Content-Type": content_type}
        assert api.anonymous.post(callback_path(company), body=event, headers=headers).json == {"code": "ok"}


@pytest.mark.parametrize("fault", [Unavailable("away"), OutcomeUnknown("silence")])
def test_while_the_processor_cannot_be_asked_it_is_told_to_deliver_again(
    company, pending, transaction, call_back, sandbox, fault
):
    event = sandbox.settle(transaction["processor_uri"], "succeeded")
    sandbox.fault = fault
    assert call_back(company, event, status=503).headers["Retry-After"]
    sandbox.fault = None
    assert call_back(company, event).json == {"code": "ok"}
    assert invoice_now(company, pending)["status"] == "settled"

