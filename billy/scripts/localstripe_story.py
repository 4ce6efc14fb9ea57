"""The story that ``billy demo --processor localstripe`` plays: Stripe by somebody else, who does not know Billy.

localstripe has no webhook endpoints, transfers or disputes, and knows no idempotency, so the story is shorter than
the simulator's. But what it says of a payment was not written by those who wrote the adapter. Billy talks to it
through ``billy.testing.localstripe``, the story by itself.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from datetime import timedelta
from typing import Any

from billy import clock
from billy.scripts import reference
from billy.scripts.player import Answer
from billy.scripts.reference import list_of
from billy.scripts.stripe_story import INTENT, RECORD, StripePlayer


class LocalstripeStory(StripePlayer):
    """The whole of it, with localstripe."""

    def tell(self) -> None:
        """A company that uses Stripe begins with Billy."""
        self.ask("The server says what it is", self.billy.server.info, fields=reference.SERVER)
        self._a_company_registers()
        plan = self._a_plan()
        customer = self._a_customer()
        card = self._a_card("A browser makes a payment method of his card", "4242424242424242")
        subscription = self._a_subscription_charges_at_once(plan, customer, card)
        self._the_card_is_his_from_now_on(customer, card)
        self._the_scheduler_charges_the_same_card(plan, customer, card)
        invoice = self._a_card_is_declined(customer, "card_declined")
        self._the_scheduler_tries_in_vain(invoice)
        self._another_card_pays(invoice, card)
        self._part_of_it_is_refunded(invoice)
        self._the_customer_leaves(subscription)
        self._the_books_agree()

    # A step is told in a few lines, like a sentence, not with an argument a line.
    # fmt: off

    def _a_company_registers(self) -> None:
        self._at_stripe.api_key = key = f"sk_test_{secrets.token_hex(12)}"
        self._at_stripe.ask(
            "localstripe has no webhooks", "GET", "/v1/webhook_endpoints", fields={}, answers=404
        )
        self._registers_with(key, "A company registers all the same")
        self._payments("It has no payments yet", count=0)

    def _the_card_is_his_from_now_on(self, customer: Answer, card: str) -> None:
        self._at_stripe.ask(
            "The card is attached to him", "GET", f"/v1/payment_methods/{card}", fields=RECORD,
            customer=customer["processor_uri"],
        )

    def _the_scheduler_charges_the_same_card(self, plan: Answer, customer: Answer, card: str) -> None:
        starts = clock.utc_now() + timedelta(seconds=2)
        subscription = self.ask(
            "Another one starts in two seconds",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], funding_instrument_uri=card, amount=700,
                started_at=starts,
            ),
            fields=reference.SUBSCRIPTION, effective_amount=700, invoice_count=0,
        )
        self._payments("Nothing is charged yet", count=1)
        time.sleep(max((starts - clock.utc_now()).total_seconds(), 0))
        transaction = self.wait_for_item(
            "The scheduler files and charges it", lambda: self.billy.subscriptions.transactions(subscription["guid"]),
            reference.TRANSACTION, status="succeeded", amount=700,
        )
        self._intent(
            "which is a payment at Stripe", transaction["processor_uri"], status="succeeded", amount=700,
            customer=customer["processor_uri"], payment_method=card,
        )

    def _the_scheduler_tries_in_vain(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        transaction = self.wait_for_item(
            "The scheduler tries it once more", lambda: invoices.transactions(guid), reference.TRANSACTION,
            submit_status="failed", failure_count=2,
        )
        self.ask("The invoice failed", lambda: invoices.get(guid), fields=reference.CUSTOMER_INVOICE, status="failed")
        tries = [
            each for each in self._payments("Stripe has seen two tries", count=4)
            if each["metadata"].get("billy.transaction_guid") == transaction["guid"]
        ]
        keys = {each["metadata"].get("billy.submission_key") for each in tries}
        self.expect(
            [each["status"] for each in tries] == ["requires_payment_method"] * 2 and len(keys) == 2,
            f"of this transaction there are {[each['status'] for each in tries]} with the keys {keys}",
        )

    def _payments(self, what: str, *, count: int) -> list[Answer]:
        found: list[Answer] = self._at_stripe.ask(
            what, "GET", "/v1/payment_intents?limit=100", fields={"data": list_of(INTENT)}
        )["data"]
        self.expect(len(found) == count, f"it has {len(found)} payments instead of {count}")
        return found

    def _the_books_agree(self) -> None:
        booked = self.ask_for_list("Billy's books", self.billy.transactions.list, reference.TRANSACTION, count=5)
        payments = self._payments("Stripe's payments agree", count=5)
        statuses = Counter(each["status"] for each in payments)
        self.expect(statuses == {"succeeded": 3, "requires_payment_method": 2}, f"they are {dict(statuses)}")
        self._compare_books(payments, booked, "debit")
        refunds = self._at_stripe.ask(
            "and so do its refunds", "GET", "/v1/refunds?limit=100", fields={"data": list_of(RECORD)}
        )["data"]
        self._compare_books(refunds, booked, "refund")

    def _compare_books(self, records: list[dict[str, Any]], transactions: list[Answer], kind: str) -> None:
        moved = {each["id"]: each["amount"] for each in records if each["status"] == "succeeded"}
        booked = {
            each["processor_uri"]: each["amount"]
            for each in transactions if each["status"] == "succeeded" and each["transaction_type"] == kind
        }
        self.expect(bool(moved) and moved == booked, f"{moved} moved, and {booked} are booked")
