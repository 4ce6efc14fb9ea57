"""The story that ``billy demo --processor balanced`` plays: what a charge is at the processor, and how it calls back.

It knows both servers by their APIs alone: Billy's through its client, as the company's own program would, and
Balanced's, which the simulator answers, over HTTP, as that program, its customer's browser and a bank would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from billy import clock
from billy.scripts import reference
from billy.scripts.player import PATIENCE_SECONDS, Answer, BillyPlayer, HttpPlayer
from billy.scripts.reference import Fields, list_of

_DEBIT: Fields = {
    "href": reference.text,
    "status": reference.one_of("pending", "succeeded", "failed"),
    "amount": reference.number,
    "appears_on_statement_as": reference.text,
    "meta": lambda value: isinstance(value, dict),
    "links": lambda value: isinstance(value, dict),
}
_RECORD: Fields = {"href": reference.text}
_CARD = {"expiration_month": 12, "expiration_year": 2039, "name": "Benny Riemann"}


class BalancedStory(BillyPlayer):
    """The whole of it."""

    def __init__(self, url: str, balanced_url: str, *, run_scheduler: Callable[[], None]) -> None:
        """Billy is at ``url``, and the simulator at ``balanced_url``."""
        super().__init__(url, run_scheduler=run_scheduler)
        self._at_balanced = HttpPlayer(balanced_url, self.steps)

    def tell(self) -> None:
        """A company that uses Balanced begins with Billy."""
        self._a_company_registers()
        plan = self.make(
            "A plan of $5 a month", self.billy.plans, reference.PLAN,
            {"plan_type": "debit", "amount": 500, "frequency": "monthly"}, interval=1, deleted=False,
        )  # fmt: skip
        customer = self._a_customer()
        card = self._a_card("A browser tokenises his card", "4111 1111 1111 1111")
        subscription = self._a_subscription_charges_at_once(plan, customer, card)
        self._the_scheduler_charges_the_same_card(plan, customer, card)
        invoice = self._a_card_is_declined_and_another_pays(customer, card)
        self._part_of_it_is_refunded(invoice)
        self._a_bank_account_takes_its_time(customer)
        self._the_customer_leaves(subscription)
        self._the_books_agree()

    # A step is told in a few lines, like a sentence, not with an argument a line.
    # fmt: off

    def _a_company_registers(self) -> None:
        self.ask("The server says what it is", self.billy.server.info, fields=reference.SERVER)
        made = self._at_balanced.ask(
            "A company opens an account at Balanced", "POST", "/simulator/marketplaces", b"{}",
            fields={"key": reference.text},
        )
        self._at_balanced.api_key = made["key"]
        company = self.ask(
            "and registers with Billy", lambda: self.billy.companies.create(processor_key=made["key"]),
            fields=reference.COMPANY,
        )
        self.sign_in(company["api_key"])
        [callback] = self._find("Balanced knows where to call back", "callbacks", "/callbacks", fields=_RECORD)
        self.expect(
            f"/v1/companies/{company['guid']}/callbacks/" in callback["url"], f"it calls {callback['url'][:40]}…"
        )

    def _a_customer(self) -> Answer:
        customer = self.make("A customer", self.billy.customers, reference.CUSTOMER, {}, deleted=False)
        [found] = self._find("is Balanced's too", "customers", customer["processor_uri"], fields=_RECORD)
        self.expect(found["meta"] == {"billy.customer_guid": customer["guid"]}, f"its meta is {found['meta']}")
        return customer

    def _a_card(self, what: str, number: str) -> str:
        key, self._at_balanced.api_key = self._at_balanced.api_key, None  # a browser has none
        [card] = self._post(what, "cards", "/cards", {"number": number, **_CARD})
        self._at_balanced.api_key = key
        return str(card["href"])

    def _a_subscription_charges_at_once(self, plan: Answer, customer: Answer, card: str) -> Answer:
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
        [debit] = self._find("which Balanced has", "debits", transaction["processor_uri"], fields=_DEBIT)
        expected = {
            "status": "succeeded", "amount": 500, "appears_on_statement_as": "BAL*FooBar Hosting",
            "transaction guid": transaction["guid"], "customer": customer["processor_uri"].rpartition("/")[2],
        }
        shown = {
            **debit, "transaction guid": debit["meta"].get("billy.transaction_guid"),
            "customer": debit["links"].get("customer"),
        }
        self._compare(shown, expected)
        key = debit["meta"].get("billy.submission_key", "")
        self.expect(key.startswith(subscription["guid"]), f"its submission key is {key!r}")
        return subscription

    def _the_scheduler_charges_the_same_card(self, plan: Answer, customer: Answer, card: str) -> None:
        starts = clock.utc_now() + timedelta(seconds=2)
        subscription = self.ask(
            "Another one starts in two seconds",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], funding_instrument_uri=card, started_at=starts
            ),
            fields=reference.SUBSCRIPTION, invoice_count=0,
        )
        time.sleep(max((starts - clock.utc_now()).total_seconds(), 0))
        self._at_balanced.ask(
            "Balanced counts from here on", "DELETE", "/simulator/requests", fields={}, answers=204
        )
        self.wait_for_item(
            "The scheduler files and charges it", lambda: self.billy.subscriptions.transactions(subscription["guid"]),
            reference.TRANSACTION, status="succeeded", amount=500,
        )
        asked = self._at_balanced.ask(
            "in one request", "GET", "/simulator/requests", fields={"requests": reference.list_of({})}
        )
        # What else it was asked since are callbacks that Billy verified.
        posts = [f"{each['method']} {each['path']}" for each in asked["requests"] if each["method"] != "GET"]
        self.expect(posts == [f"POST {card}/debits"], f"it was asked {posts}")

    def _a_card_is_declined_and_another_pays(self, customer: Answer, card: str) -> Answer:
        declined = self._a_card("A card without funds", "4444 4444 4444 4448")
        invoice = self.ask(
            "is charged $9",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=900, funding_instrument_uri=declined
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        guid, invoices = invoice["guid"], self.billy.invoices
        [transaction] = self.ask_for_list(
            "and declined", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="retrying", status=None, failure_count=1,
        )
        failure = transaction["failures"][0]
        self.expect(
            (failure["error_code"], failure["error_number"]) == ("card-declined", 402), f"the failure is {failure}"
        )
        self.ask(
            "The customer pays with the other one", lambda: invoices.change(guid, funding_instrument_uri=card),
            fields=reference.CUSTOMER_INVOICE, status="settled", effective_amount=900,
        )
        return invoice

    def _part_of_it_is_refunded(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        self.ask(
            "$3 are given back", lambda: invoices.refund(guid, amount=300),
            fields=reference.CUSTOMER_INVOICE, status="settled",
        )
        refund, debit, _ = self.ask_for_list(
            "by a refund", lambda: invoices.transactions(guid), reference.TRANSACTION, count=3,
        )
        self.expect(
            (refund["transaction_type"], refund["amount"], refund["status"]) == ("refund", 300, "succeeded"),
            f"the newest transaction is no refund of 300 that succeeded: {refund}",
        )
        [found] = self._find("which Balanced has too", "refunds", f"{debit['processor_uri']}/refunds", fields=_RECORD)
        self.expect(
            (found["href"], found["amount"]) == (refund["processor_uri"], 300), f"it has {found['href']}"
        )

    def _a_bank_account_takes_its_time(self, customer: Answer) -> None:
        account = {"name": "Benny Riemann", "account_number": "9900000000", "routing_number": "021000021"}
        [bank_account] = self._post("A bank account", "bank_accounts", "/bank_accounts", account)
        kind = "bank_account_verifications"
        [verification] = self._post("gets two small deposits", kind, f"{bank_account['href']}/verifications", {})
        self._at_balanced.ask(
            "whose amounts verify it", "PUT", verification["href"], b'{"amount_1": 1, "amount_2": 1}',
            fields={kind: list_of(_RECORD)},
        )
        invoice = self.ask(
            "It is charged $8",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=800, funding_instrument_uri=bank_account["href"]
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        guid, invoices = invoice["guid"], self.billy.invoices
        [transaction] = self.ask_for_list(
            "and is pending for days", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="done", status="pending",
        )
        settled = json.dumps({"href": transaction["processor_uri"], "status": "succeeded"}).encode()
        event = self._at_balanced.ask(
            "The bank pays", "POST", "/simulator/settle", settled,
            fields={"event": reference.text}, type="debit.succeeded",
        )
        self._await_delivery(event["event"])
        self.ask_for_list(
            "Billy asks, and has it succeed", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="done", status="succeeded",
        )
        self.ask(
            "The invoice is settled", lambda: invoices.get(guid), fields=reference.CUSTOMER_INVOICE, status="settled"
        )

    def _await_delivery(self, event: str) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            told = self._at_balanced.send("GET", "/simulator/deliveries")[1]
            tries = [each["status"] for each in told.get("deliveries", ()) if each["event"] == event]
            if 200 in tries or time.monotonic() > give_up:
                break
            time.sleep(0.05)
        self._at_balanced.ask(
            "Balanced calls Billy back", "GET", "/simulator/deliveries", fields={"deliveries": list_of({})}
        )
        self.expect(200 in tries, f"Billy answered {tries}")

    def _the_customer_leaves(self, subscription: Answer) -> None:
        self.ask(
            "The customer leaves", lambda: self.billy.subscriptions.cancel(subscription["guid"]),
            fields={**reference.SUBSCRIPTION, "canceled_at": reference.instant}, canceled=True,
        )

    def _the_books_agree(self) -> None:
        transactions = self.ask_for_list("Billy's books", self.billy.transactions.list, reference.TRANSACTION, count=6)
        ledger = self._at_balanced.ask(
            "and Balanced's agree", "GET", "/simulator/ledger",
            fields={"records": list_of({"meta": lambda value: isinstance(value, dict)})},
        )
        moved = {each["href"]: each["amount"] for each in ledger["records"] if each["status"] == "succeeded"}
        booked = {each["processor_uri"]: each["amount"] for each in transactions if each["status"] == "succeeded"}
        self.expect(len(moved) == 5 and moved == booked, f"{moved} moved, and {booked} are booked")

    def _post(self, what: str, kind: str, path: str, sent: dict[str, Any]) -> list[Answer]:
        answer = self._at_balanced.ask(
            what, "POST", path, json.dumps(sent).encode(), fields={kind: list_of(_RECORD)}, answers=201
        )
        made: list[Answer] = answer[kind]
        return made

    def _find(self, what: str, kind: str, path: str, *, fields: Fields) -> list[Answer]:
        answer = self._at_balanced.ask(what, "GET", path, fields={kind: list_of(fields)})
        self.expect(len(answer[kind]) == 1, f"{len(answer[kind])} {kind} instead of one")
        found: list[Answer] = answer[kind]
        return found
