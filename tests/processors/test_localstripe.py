"""Does a server that somebody else wrote understand what the adapter sends, and the adapter what that answers?

It knows no idempotency, takes refunds that are too large, lists no payments by customer, and has no webhook endpoints,
transfers or disputes. For those there is ``billy.testing.stripe_simulator``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import urllib3

from billy.errors import InvalidCustomer, InvalidFundingInstrument, Refused
from billy.processors.base import Processor, Receipt, ReceiptStatus, Submission, SubmissionType
from billy.processors.stripe import Stripe, StripeOptions
from billy.testing.localstripe import LEFT_OUT, LocalstripeFront
from tests.processors.localstripe import ask, running

pytestmark = pytest.mark.localstripe

KEY = "sk_test_12345"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, LocalstripeFront]]:
    with running() as server:
        yield server


@pytest.fixture
def url(server: tuple[str, LocalstripeFront]) -> str:
    """Of localstripe itself, which tells what it got."""
    return server[0]


@pytest.fixture
def front(server: tuple[str, LocalstripeFront]) -> LocalstripeFront:
    """Where the adapter goes."""
    return server[1]


@pytest.fixture
def company(front: LocalstripeFront) -> Iterator[Processor]:
    stripe = Stripe(StripeOptions(base_url=front.url), call_deadline=5)
    yield stripe(KEY)
    stripe.http.close()


@pytest.fixture
def customer(company: Processor) -> str:
    return company.create_customer(f"CU{secrets.token_hex(8)}")


def card(url: str, number: str = "4242424242424242") -> str:
    values = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2039", "card[cvc]": "123"}
    return str(ask(url, "POST", "/v1/payment_methods", KEY, type="card", **values)["id"])


def a_charge(customer: str, method: str) -> Submission:
    transaction = f"TX{secrets.token_hex(8)}"
    return Submission(
        type=SubmissionType.DEBIT,
        key=f"{transaction}-1",
        transaction_guid=transaction,
        invoice_guid="IV1",
        customer_uri=customer,
        amount=1000,
        funding_instrument_uri=method,
        charge_uri=None,
        appears_on_statement_as="Ann's shop",
    )


def test_a_customer_that_was_made_is_valid_and_another_is_not(company: Processor, customer: str) -> None:
    company.validate_customer(customer)
    with pytest.raises(InvalidCustomer):
        company.validate_customer("cus_doesnotexist")


def test_a_card_is_the_customers_after_it_was_validated(company: Processor, customer: str, url: str) -> None:
    method = card(url)
    company.validate_funding_instrument(method, SubmissionType.DEBIT, customer)
    assert ask(url, "GET", f"/v1/payment_methods/{method}", KEY)["customer"] == customer


def test_a_card_that_cannot_be_attached_is_not_valid(company: Processor, customer: str, url: str) -> None:
    with pytest.raises(InvalidFundingInstrument):
        company.validate_funding_instrument(card(url, "4000000000000002"), SubmissionType.DEBIT, customer)


def test_a_card_that_does_not_exist_is_not_valid(company: Processor, customer: str) -> None:
    with pytest.raises(InvalidFundingInstrument):
        company.validate_funding_instrument("pm_doesnotexist", SubmissionType.DEBIT, customer)


def test_a_charge_is_a_payment_with_our_metadata(company: Processor, customer: str, url: str) -> None:
    submission = a_charge(customer, card(url))
    receipt = company.submit(submission)
    assert receipt.status is ReceiptStatus.SUCCEEDED
    intent = ask(url, "GET", f"/v1/payment_intents/{receipt.processor_uri}", KEY)
    assert (intent["status"], intent["amount"], intent["currency"], intent["customer"]) == (
        "succeeded", 1000, "usd", customer,
    )  # fmt: skip
    assert intent["metadata"] == {
        "billy.transaction_guid": submission.transaction_guid,
        "billy.submission_key": submission.key,
    }


def test_what_is_left_out_of_a_payment_is_in_the_table_and_all_of_that_is(
    front: LocalstripeFront, company: Processor, customer: str, url: str
) -> None:
    front.left_out.clear()
    company.submit(a_charge(customer, card(url)))
    [parameters] = LEFT_OUT.values()
    assert front.left_out == parameters


@pytest.mark.parametrize("parameter", sorted(*LEFT_OUT.values()))
def test_nothing_is_left_out_that_it_would_take(url: str, parameter: str) -> None:
    headers = {**urllib3.make_headers(basic_auth=f"{KEY}:"), "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"amount": 1000, "currency": "usd", parameter: "true"})
    answer = urllib3.request("POST", f"{url}/v1/payment_intents", body=body, headers=headers)
    assert answer.status == 400
    assert answer.json()["error"]["message"] == f"Unexpected {parameter.partition('[')[0]}"


def test_a_card_that_is_declined_is_refused(company: Processor, customer: str, url: str) -> None:
    with pytest.raises(Refused) as refused:
        company.submit(a_charge(customer, card(url, "4000000000000341")))
    assert (refused.value.code, refused.value.number, refused.value.hard) == ("card_declined", 402, False)


def test_who_has_to_authenticate_is_refused_and_his_payment_canceled(
    company: Processor, customer: str, url: str
) -> None:
    with pytest.raises(Refused) as refused:
        company.submit(a_charge(customer, card(url, "4000002500003155")))
    assert (refused.value.code, refused.value.hard) == ("requires_action", True)
    newest = ask(url, "GET", "/v1/payment_intents?limit=100", KEY)["data"]
    assert [each["status"] for each in newest if each["customer"] == customer] == ["canceled"]


def test_a_refund_is_a_refund_of_the_payment_and_is_looked_up_by_it(
    company: Processor, customer: str, url: str
) -> None:
    charge = company.submit(a_charge(customer, card(url)))
    refund = Submission(
        type=SubmissionType.REFUND,
        key="TXrefund-1",
        transaction_guid="TXrefund",
        invoice_guid="IV1",
        customer_uri=None,
        amount=400,
        funding_instrument_uri=None,
        charge_uri=charge.processor_uri,
        appears_on_statement_as=None,
    )
    made = company.submit(refund)
    assert made == Receipt(made.processor_uri, ReceiptStatus.SUCCEEDED)
    assert company.look_up(refund) == made
    assert [record.amount for record in company.find_records(refund, made.processor_uri)] == [400]
