"""The story that ``billy demo --processor stripe`` plays: what a charge is at Stripe, and what is heard from there.

It knows both servers by their APIs alone: Billy's through its client, as the company's own program would, and
Stripe's, which the simulator answers, over HTTP, as that program, its customer's browser and a bank would.
What every server of Stripe's shape can play is a part of its own, ``StripePlayer``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from billy.scripts import reference
from billy.scripts.player import PATIENCE_SECONDS, Answer, BillyPlayer, HttpPlayer
from billy.scripts.reference import Fields, list_of

RECORD: Fields = {"id": reference.text}
_EVENT: Fields = {"event": reference.text}


def is_object(value: object) -> bool:
    """Whether it is a JSON object, of any fields."""
    return isinstance(value, dict)


INTENT: Fields = {
    **RECORD,
    "status": reference.text,
    "amount": reference.number,
    "customer": reference.text,
    "metadata": is_object,
}


class StripePlayer(BillyPlayer):
    """What a story can tell of any server of Stripe's shape."""

    def __init__(self, url: str, stripe_url: str, *, run_scheduler: Callable[[], None]) -> None:
        """Billy is at ``url``, and what plays Stripe at ``stripe_url``."""
        super().__init__(url, run_scheduler=run_scheduler)
        self._at_stripe = HttpPlayer(stripe_url, self.steps)

    # A step is told in a few lines, like a sentence, not with an argument a line.
    # fmt: off

    def _registers_with(self, key: str, what: str) -> Answer:
        self._at_stripe.api_key = key
        company = self.ask(
            what,
            lambda: self.billy.companies.create(processor_key=key, processor="stripe"),
            fields=reference.COMPANY,
        )
        self.sign_in(company["api_key"])
        return company

    def _a_plan(self) -> Answer:
        return self.make(
            "A plan of $5 a month", self.billy.plans, reference.PLAN,
            {"plan_type": "debit", "amount": 500, "frequency": "monthly"}, interval=1, deleted=False,
        )

    def _a_customer(self) -> Answer:
        customer = self.make("A customer", self.billy.customers, reference.CUSTOMER, {}, deleted=False)
        self._at_stripe.ask(
            "is Stripe's too", "GET", f"/v1/customers/{customer['processor_uri']}", fields=RECORD,
            metadata={"billy.customer_guid": customer["guid"]},
        )
        return customer

    def _a_card(self, what: str, number: str) -> str:
        card = {
            "type": "card", "card[number]": number, "card[exp_month]": 12, "card[exp_year]": 2039, "card[cvc]": "123",
        }
        return str(self._at_stripe.ask(what, "POST", "/v1/payment_methods", card, fields=RECORD)["id"])

    def _intent(self, what: str, id: str, **expected: Any) -> Answer:  # noqa: A002  # Stripe's own word
        return self._at_stripe.ask(what, "GET", f"/v1/payment_intents/{id}", fields=INTENT, **expected)

    def _a_subscription_charges_at_once(self, plan: Answer, customer: Answer, card: str, **intent: Any) -> Answer:
        subscription = self.ask(
            "The customer subscribes with it",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], funding_instrument_uri=card,
                appears_on_statement_as="FooBar Hosting",
            ),
            fields=reference.SUBSCRIPTION, effective_amount=500, invoice_count=1,
        )
        guid, subscriptions = subscription["guid"], self.billy.subscriptions
        self.ask_for_list(
            "Its first invoice is settled", lambda: subscriptions.invoices(guid), reference.SUBSCRIPTION_INVOICE,
            count=1, effective_amount=500, status="settled",
        )
        [transaction] = self.ask_for_list(
            "by a debit", lambda: subscriptions.transactions(guid), reference.TRANSACTION, count=1,
            transaction_type="debit", submit_status="done", status="succeeded", failure_count=0,
        )
        made = self._intent(
            "which is a payment at Stripe", transaction["processor_uri"], status="succeeded", amount=500,
            customer=customer["processor_uri"], payment_method=card, **intent,
        )
        key = made["metadata"].get("billy.submission_key", "")
        self.expect(key.startswith(subscription["guid"]), f"its submission key is {key!r}")
        return subscription

    def _a_card_is_declined(self, customer: Answer, code: str) -> Answer:
        declined = self._a_card("A card that its bank will decline", "4000000000000341")
        invoice = self.ask(
            "is charged $9",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=900, funding_instrument_uri=declined
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        [transaction] = self.ask_for_list(
            "and declined", lambda: self.billy.invoices.transactions(invoice["guid"]), reference.TRANSACTION, count=1,
            submit_status="retrying", status=None, failure_count=1,
        )
        failure = transaction["failures"][0]
        self.expect((failure["error_code"], failure["error_number"]) == (code, 402), f"the failure is {failure}")
        return invoice

    def _another_card_pays(self, invoice: Answer, card: str) -> None:
        self.ask(
            "The customer pays with the other one",
            lambda: self.billy.invoices.change(invoice["guid"], funding_instrument_uri=card),
            fields=reference.CUSTOMER_INVOICE, status="settled", effective_amount=900,
        )

    def _part_of_it_is_refunded(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        self.ask(
            "$3 are given back", lambda: invoices.refund(guid, amount=300),
            fields=reference.CUSTOMER_INVOICE, status="settled",
        )
        refund, charge, _ = self.ask_for_list(
            "by a refund", lambda: invoices.transactions(guid), reference.TRANSACTION, count=3
        )
        self.expect(
            (refund["transaction_type"], refund["amount"], refund["status"]) == ("refund", 300, "succeeded"),
            f"the newest transaction is no refund of 300 that succeeded: {refund}",
        )
        self._at_stripe.ask(
            "which Stripe has too", "GET", f"/v1/refunds/{refund['processor_uri']}", fields=RECORD,
            amount=300, payment_intent=charge["processor_uri"],
        )

    def _the_customer_leaves(self, subscription: Answer) -> None:
        self.ask(
            "The customer leaves", lambda: self.billy.subscriptions.cancel(subscription["guid"]),
            fields={**reference.SUBSCRIPTION, "canceled_at": reference.instant}, canceled=True,
        )

    # fmt: on


class StripeStory(StripePlayer):
    """The whole of it, with the simulator."""

    def tell(self) -> None:
        """A company that uses Stripe begins with Billy."""
        self.ask("The server says what it is", self.billy.server.info, fields=reference.SERVER)
        self._a_company_registers()
        plan = self._a_plan()
        customer = self._a_customer()
        card = self._a_card("A browser makes a payment method of his card", "4242424242424242")
        subscription = self._a_subscription_charges_at_once(
            plan, customer, card, statement_descriptor_suffix="FooBar Hosting"
        )
        invoice = self._a_card_is_declined(customer, "generic_decline")
        self._nobody_can_have_it_succeed_later()
        self._another_card_pays(invoice, card)
        self._part_of_it_is_refunded(invoice)
        self._a_bank_account_takes_its_time(customer)
        self._a_dispute_keeps_the_rest(invoice)
        self._the_customer_leaves(subscription)
        self._the_books_agree()

    # A step is told in a few lines, like a sentence, not with an argument a line.
    # fmt: off

    def _a_company_registers(self) -> None:
        made = self._at_stripe.ask(
            "A company opens an account at Stripe", "POST", "/simulator/accounts", b"{}", fields={"key": reference.text}
        )
        company = self._registers_with(made["key"], "and registers with Billy")
        found = self._at_stripe.ask(
            "Stripe knows where to call back", "GET", "/v1/webhook_endpoints", fields={"data": list_of(RECORD)}
        )["data"]
        self.expect(
            len(found) == 1 and f"/v1/companies/{company['guid']}/callbacks/" in found[0]["url"],
            f"it has {len(found)} webhook endpoints",
        )

    def _nobody_can_have_it_succeed_later(self) -> None:
        found = self._at_stripe.ask(
            "Nobody can have it succeed later", "GET", "/v1/payment_intents?limit=1", fields={"data": list_of(RECORD)}
        )["data"]
        self.expect(found[0]["status"] == "canceled", f"the payment is {found[0]['status']}")

    def _a_bank_account_takes_its_time(self, customer: Answer) -> None:
        bank_account = self._at_stripe.ask(
            "A bank account", "POST", "/v1/payment_methods", {"type": "us_bank_account"}, fields=RECORD
        )["id"]
        invoice = self.ask(
            "is charged $8",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=800, funding_instrument_uri=bank_account
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        guid, invoices = invoice["guid"], self.billy.invoices
        [transaction] = self.ask_for_list(
            "and pending for days", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="done", status="pending",
        )
        self._happens("The bank pays", "settle", {"id": transaction["processor_uri"], "status": "succeeded"})
        self.ask_for_list(
            "Billy believes the signature, and has it succeed", lambda: invoices.transactions(guid),
            reference.TRANSACTION, count=1,
            submit_status="done", status="succeeded",
        )
        self.ask(
            "The invoice is settled", lambda: invoices.get(guid), fields=reference.CUSTOMER_INVOICE, status="settled"
        )

    def _a_dispute_keeps_the_rest(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        _, charge, _ = self.ask_for_list(
            "The charge", lambda: invoices.transactions(guid), reference.TRANSACTION, count=3
        )
        dispute = {"payment_intent": charge["processor_uri"]}
        self._happens("is disputed", "disputes", dispute)
        self.ask(
            "so it is not refunded as well", lambda: invoices.refund(guid, amount=100), fields={}, answers=409,
            error_class="InvalidOperationError",
        )
        self._happens("The company wins", "disputes", {**dispute, "status": "won"})
        self.ask(
            "and $1 more is given back", lambda: invoices.refund(guid, amount=100),
            fields=reference.CUSTOMER_INVOICE, status="settled",
        )

    def _happens(self, what: str, noun: str, sent: dict[str, str]) -> None:
        event = self._at_stripe.ask(what, "POST", f"/simulator/{noun}", json.dumps(sent).encode(), fields=_EVENT)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            told = self._at_stripe.send("GET", "/simulator/deliveries")[1]
            tries = [each["status"] for each in told.get("deliveries", ()) if each["event"] == event["event"]]
            if 200 in tries or time.monotonic() > give_up:
                break
            time.sleep(0.05)
        self._at_stripe.ask(
            "Stripe calls Billy back", "GET", "/simulator/deliveries", fields={"deliveries": list_of({})}
        )
        self.expect(200 in tries, f"Billy answered {tries}")

    def _the_books_agree(self) -> None:
        transactions = self.ask_for_list("Billy's books", self.billy.transactions.list, reference.TRANSACTION, count=6)
        ledger = self._at_stripe.ask(
            "and Stripe's agree", "GET", "/simulator/ledger", fields={"records": list_of({"metadata": is_object})}
        )
        moved = {each["id"]: each["amount"] for each in ledger["records"] if each["status"] == "succeeded"}
        booked = {each["processor_uri"]: each["amount"] for each in transactions if each["status"] == "succeeded"}
        self.expect(len(moved) == 5 and moved == booked, f"{moved} moved, and {booked} are booked")
