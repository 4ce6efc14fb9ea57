"""The simulator of Stripe, asked as any program would ask it: what Billy's tests stand on."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from billy.testing.stripe_simulator import Chaos, StripeSimulator
from tests.testing.receiver import receiving

PAYMENT = {"amount": "1000", "currency": "usd", "confirm": "true", "off_session": "true"}


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator.started(retry_delay=0.01) as simulator:
        yield simulator


class Account:
    """A company's own program."""

    def __init__(self, simulator: StripeSimulator) -> None:
        self.simulator = simulator
        self.key = simulator.new_key()

    def ask(self, method: str, path: str, idempotency_key: str | None = None, **values: str) -> Any:
        """The response; ``values`` are a form's."""
        headers = {"Authorization": f"Bearer {self.key}"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        body = urlencode(values) if method == "POST" else None
        return urllib3.request(method, self.simulator.url + path, body=body, headers=headers, retries=False)

    def payment(self, behavior: str = "succeeds", idempotency_key: str | None = None, **values: str) -> Any:
        """One by a new card of a new customer."""
        customer = self.ask("POST", "/v1/customers").json()["id"]
        method = self.simulator.payment_method(self.key, behavior)
        whose = {"customer": customer, "payment_method": method}
        return self.ask("POST", "/v1/payment_intents", idempotency_key, **PAYMENT, **whose, **values)


@pytest.fixture
def account(simulator: StripeSimulator) -> Account:
    return Account(simulator)


def code_of(answer: Any) -> tuple[int, str | None]:
    return answer.status, answer.json()["error"].get("code")


def test_a_key_that_nobody_has_is_refused(simulator: StripeSimulator, account: Account) -> None:
    simulator.revoke(account.key)
    assert account.ask("GET", "/v1/customers").status == 401


def test_accounts_do_not_see_each_other(simulator: StripeSimulator, account: Account) -> None:
    other = Account(simulator)
    made = account.payment().json()
    assert code_of(other.ask("GET", f"/v1/payment_intents/{made['id']}")) == (404, "resource_missing")
    assert other.ask("GET", "/v1/payment_intents").json()["data"] == []
    assert code_of(other.ask("GET", f"/v1/payment_intents?customer={made['customer']}")) == (400, "resource_missing")


def test_a_repeated_key_is_answered_with_what_it_was_answered(simulator: StripeSimulator, account: Account) -> None:
    first = account.ask("POST", "/v1/customers", "key-1", email="a@example.com")
    second = account.ask("POST", "/v1/customers", "key-1", email="a@example.com")
    assert second.data == first.data
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.ledger("customer")) == 1


def test_a_repeated_key_with_other_values_is_refused(simulator: StripeSimulator, account: Account) -> None:
    account.ask("POST", "/v1/customers", "key-1", email="a@example.com")
    mismatch = account.ask("POST", "/v1/customers", "key-1", email="b@example.com")
    assert (mismatch.status, mismatch.json()["error"]["type"]) == (400, "idempotency_error")
    assert len(simulator.ledger("customer")) == 1


def test_two_accounts_may_use_one_key(simulator: StripeSimulator, account: Account) -> None:
    other = Account(simulator)
    made = {each.ask("POST", "/v1/customers", "key-1").json()["id"] for each in (account, other)}
    assert len(made) == 2


def test_a_decline_is_remembered_and_what_was_never_begun_is_not(account: Account) -> None:
    for _ in range(2):
        assert code_of(account.ask("POST", "/v1/payment_intents", "key-1")) == (400, "parameter_missing")
    customer = account.ask("POST", "/v1/customers").json()["id"]
    method = account.simulator.payment_method(account.key, "declined-twice")
    whose = {"customer": customer, "payment_method": method}
    declined = [account.ask("POST", "/v1/payment_intents", "key-1", **PAYMENT, **whose) for _ in range(4)]
    assert {(each.status, each.data) for each in declined} == {(402, declined[0].data)}


def test_a_parameter_that_it_does_not_know_is_refused(account: Account) -> None:
    assert code_of(account.payment(colour="blue")) == (400, "parameter_unknown")


@pytest.mark.parametrize("suffix", ["a*b", "<shop>", "123", "x" * 21, "Öl"])
def test_a_statement_that_stripe_would_refuse_is_refused(account: Account, suffix: str) -> None:
    assert account.payment(statement_descriptor_suffix=suffix).status == 400


def test_a_list_is_the_newest_first_in_pages_and_from_an_instant_on(account: Account) -> None:
    ids = [account.ask("POST", "/v1/customers").json() for _ in range(5)]
    seen, page = [], account.ask("GET", "/v1/customers?limit=2").json()
    while page["data"]:
        seen += [each["id"] for each in page["data"]]
        page = account.ask("GET", f"/v1/customers?limit=2&starting_after={seen[-1]}").json()
    assert seen == [each["id"] for each in reversed(ids)]
    later = ids[-1]["created"] + 1
    assert account.ask("GET", f"/v1/customers?created[gte]={later}").json()["data"] == []


def test_more_than_was_paid_is_not_refunded(simulator: StripeSimulator, account: Account) -> None:
    intent = account.payment().json()["id"]
    assert account.ask("POST", "/v1/refunds", payment_intent=intent, amount="600").status == 200
    assert account.ask("POST", "/v1/refunds", payment_intent=intent, amount="401").status == 400
    assert account.ask("POST", "/v1/refunds", payment_intent=intent, amount="400").status == 200
    again = account.ask("POST", "/v1/refunds", payment_intent=intent, amount="1")
    assert code_of(again) == (400, "charge_already_refunded")
    assert [each["amount"] for each in simulator.ledger("refund")] == [600, 400]


def test_what_is_disputed_is_not_refunded(simulator: StripeSimulator, account: Account) -> None:
    intent = account.payment().json()["id"]
    simulator.dispute(intent)
    assert code_of(account.ask("POST", "/v1/refunds", payment_intent=intent)) == (400, "charge_disputed")


def test_a_payment_that_succeeded_is_not_canceled(account: Account) -> None:
    intent = account.payment().json()["id"]
    canceled = account.ask("POST", f"/v1/payment_intents/{intent}/cancel")
    assert code_of(canceled) == (400, "payment_intent_unexpected_state")


@pytest.mark.parametrize(("behavior", "payments"), [("crashes-before", 0), ("crashes-after", 1)])
def test_a_500_of_its_own_is_repeated_until_the_key_expires(
    simulator: StripeSimulator, account: Account, behavior: str, payments: int
) -> None:
    customer = account.ask("POST", "/v1/customers").json()["id"]
    whose = {"customer": customer, "payment_method": simulator.payment_method(account.key, behavior)}
    answers = [account.ask("POST", "/v1/payment_intents", "key-1", **PAYMENT, **whose) for _ in range(2)]
    assert [answer.status for answer in answers] == [500, 500]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(simulator.ledger("payment_intent")) == payments
    simulator.forget_keys()
    assert account.ask("POST", "/v1/payment_intents", "key-1", **PAYMENT, **whose).status == 200


def test_chaos_meets_what_moves_money_and_nothing_else(simulator: StripeSimulator, account: Account) -> None:
    simulator.chaos = Chaos(probabilities={"slow-down": 1.0})
    answer = account.payment()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    assert simulator.ledger() == []


def test_an_event_is_signed_and_delivered_until_it_is_taken(simulator: StripeSimulator, account: Account) -> None:
    with receiving(500, 200) as receiver:
        endpoint = account.ask(
            "POST", "/v1/webhook_endpoints", url=receiver.url, **{"enabled_events[0]": "payment_intent.succeeded"}
        ).json()
        account.payment()
        account.payment("declined")  # of which nobody wants to hear
        simulator.wait_for_callbacks()
    assert [(each.attempt, each.status) for each in simulator.deliveries()] == [(1, 500), (2, 200)]
    _, headers, body = receiver.received[-1]
    signed = dict(part.split("=") for part in headers["Stripe-Signature"].split(","))
    digest = hmac.new(endpoint["secret"].encode(), signed["t"].encode() + b"." + body, hashlib.sha256)
    assert signed["v1"] == digest.hexdigest()


def test_the_secret_of_an_endpoint_is_shown_once(account: Account) -> None:
    made = account.ask("POST", "/v1/webhook_endpoints", url="https://example.com/", **{"enabled_events[0]": "*"}).json()
    assert made["secret"].startswith("whsec_")
    assert "secret" not in account.ask("GET", f"/v1/webhook_endpoints/{made['id']}").json()
    assert "secret" not in account.ask("GET", "/v1/webhook_endpoints").json()["data"][0]
