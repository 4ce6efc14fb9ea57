"""The story that ``billy demo`` plays: a company bills with Billy for the first time.

It knows the server by its API alone, through Billy's client as the company's own program would, and checks each
answer: its status, every documented field, and what the step is about.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from billy import clock
from billy.scripts import reference
from billy.scripts.player import Answer, BillyPlayer, Listed
from billy.scripts.reference import Fields, page_of


class Story(BillyPlayer):
    """The whole of it."""

    def __init__(
        self,
        url: str,
        *,
        run_scheduler: Callable[[], None],
        settle: Callable[[str], bytes],
        times_charged: Callable[[str], int],
    ) -> None:
        """Play against ``url``.

        ``settle`` lets a pending record at the processor succeed and returns the body of the callback;
        ``times_charged`` asks the processor's books how often a transaction moved money.
        """
        super().__init__(url, run_scheduler=run_scheduler)
        self._settle = settle
        self._times_charged = times_charged

    def tell(self) -> None:
        """A company's first day with Billy."""
        company = self._a_company_registers()
        plan, payout_plan = self._it_makes_plans()
        customer = self.make("A customer", self.billy.customers, reference.CUSTOMER, {}, deleted=False)
        self._a_subscription_charges_at_once(plan, customer)
        self._a_pay_out(payout_plan, customer)
        self._a_subscription_starts_later(plan, customer)
        invoice = self._an_invoice_waits_for_an_instrument(customer)
        self._a_card_fails_and_another_pays(invoice)
        self._part_of_it_is_refunded(invoice)
        self._a_card_is_declined_twice(customer)
        self._a_bank_account_takes_its_time(company, customer)
        self._what_is_canceled(plan, customer)
        self._the_lists(plan, customer, invoice)
        self._what_is_deleted(plan, customer)
        self._the_books_agree()

    # A step is told in a few lines, like a sentence, not with an argument a line.
    # fmt: off

    def _a_company_registers(self) -> Answer:
        self.ask("The server says what it is", self.billy.server.info, fields=reference.SERVER)
        self.ask(
            "Nobody gets in without a key", self.billy.plans.list, answers=401,
            fields=reference.ERROR, error_class="AuthenticationRequired",
        )
        company = self.ask(
            "A company registers", lambda: self.billy.companies.create(processor_key=f"demo-{uuid.uuid4().hex}"),
            fields={**reference.COMPANY, "callback_key": reference.text},
        )
        self.sign_in(company["api_key"])
        self.ask(
            "and finds itself", lambda: self.billy.companies.get(company["guid"]),
            fields=reference.COMPANY, guid=company["guid"], api_key=company["api_key"],
        )
        return company

    def _it_makes_plans(self) -> tuple[Answer, Answer]:
        plan = self.make(
            "A plan of $5 a month", self.billy.plans, reference.PLAN,
            {"plan_type": "debit", "amount": 500, "frequency": "monthly"}, interval=1, deleted=False,
        )
        payout_plan = self.make(
            "A pay-out of $10 every two weeks", self.billy.plans, reference.PLAN,
            {"plan_type": "credit", "amount": 1000, "frequency": "weekly", "interval": 2}, deleted=False,
        )
        self.ask(
            "A plan of 12 cents is refused",
            lambda: self.billy.plans.create(plan_type="debit", amount=12, frequency="daily"),
            answers=400, fields=reference.ERROR, error_class="ValidationError",
        )
        return plan, payout_plan

    def _a_subscription_charges_at_once(self, plan: Answer, customer: Answer) -> None:
        subscription = self.ask(
            "The customer subscribes with a card",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], funding_instrument_uri="/cards/ok"
            ),
            fields=reference.SUBSCRIPTION,
            amount=None, effective_amount=500, invoice_count=1, canceled=False, funding_instrument_uri="/cards/ok",
        )
        self._filed_and_charged(subscription, transaction_type="debit", amount=500)

    def _a_pay_out(self, plan: Answer, customer: Answer) -> None:
        subscription = self.ask(
            "and is paid out to a bank account",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], funding_instrument_uri="/banks/ok"
            ),
            fields=reference.SUBSCRIPTION, effective_amount=1000, invoice_count=1,
        )
        self._filed_and_charged(subscription, transaction_type="credit", amount=1000)

    def _filed_and_charged(self, subscription: Answer, *, transaction_type: str, amount: int) -> None:
        invoices = self.ask_for_list(
            "Its first invoice is filed", lambda: self.billy.subscriptions.invoices(subscription["guid"]),
            reference.SUBSCRIPTION_INVOICE, count=1,
            transaction_type=transaction_type, amount=amount, effective_amount=amount, status="settled",
            scheduled_at=subscription["started_at"], subscription_guid=subscription["guid"],
        )
        transactions = self.ask_for_list(
            "and paid", lambda: self.billy.invoices.transactions(invoices[0]["guid"]), reference.TRANSACTION, count=1,
            transaction_type=transaction_type, amount=amount, submit_status="done", status="succeeded", failure_count=0,
        )
        self.ask(
            "by this transaction", lambda: self.billy.transactions.get(transactions[0]["guid"]),
            fields=reference.TRANSACTION, invoice_guid=invoices[0]["guid"],
        )

    def _a_subscription_starts_later(self, plan: Answer, customer: Answer) -> None:
        starts = clock.utc_now() + timedelta(seconds=2)
        subscription = self.ask(
            "A discounted one starts in two seconds",
            lambda: self.billy.subscriptions.create(
                customer_guid=customer["guid"], plan_guid=plan["guid"], amount=300,
                funding_instrument_uri="/cards/ok", started_at=starts, appears_on_statement_as="FooBar Hosting",
            ),
            fields=reference.SUBSCRIPTION,
            amount=300, effective_amount=300, invoice_count=0, next_invoice_at=starts.isoformat(),
        )
        guid, subscriptions = subscription["guid"], self.billy.subscriptions
        self.ask_for_list(
            "It has no invoice yet", lambda: subscriptions.invoices(guid), reference.SUBSCRIPTION_INVOICE, count=0
        )
        time.sleep(max((starts - clock.utc_now()).total_seconds(), 0))
        self.wait_for(
            "The scheduler files it", lambda: subscriptions.get(guid), reference.SUBSCRIPTION, invoice_count=1
        )
        self.wait_for_item(
            "and charges it", lambda: subscriptions.transactions(guid), reference.TRANSACTION,
            status="succeeded", amount=300, appears_on_statement_as="FooBar Hosting",
        )

    def _an_invoice_waits_for_an_instrument(self, customer: Answer) -> Answer:
        def create() -> object:
            return self.billy.invoices.create(
                customer_guid=customer["guid"], amount=1000, title="Hosting in May", external_id="order-1",
                appears_on_statement_as="FooBar Hosting", items=[{"name": "Hosting Service A", "amount": 1000}],
                adjustments=[{"amount": -100, "reason": "Coupon discount"}],
            )

        item = {"name": "Hosting Service A", "amount": 1000}
        item |= dict.fromkeys(("type", "quantity", "volume", "unit"))
        answer = self.ask(
            "An invoice with an item and a discount", create, fields=reference.CUSTOMER_INVOICE,
            status="staged", amount=1000, total_adjustment_amount=-100, effective_amount=900, items=[item],
            adjustments=[{"amount": -100, "reason": "Coupon discount"}], funding_instrument_uri=None,
            external_id="order-1", transaction_type="debit",
        )
        self.ask(
            "The same order again is refused", create,
            answers=409, fields=reference.ERROR, error_class="DuplicateExternalIDError",
        )
        return answer

    def _a_card_fails_and_another_pays(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        self.ask(
            "The customer pays with a stolen card",
            lambda: invoices.change(guid, funding_instrument_uri="/cards/stolen"),
            fields=reference.CUSTOMER_INVOICE, status="failed", funding_instrument_uri="/cards/stolen",
        )
        refused = self.ask_for_list(
            "which is refused", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="failed", status=None, failure_count=1,
        )
        code = refused[0]["failures"][0]["error_code"]
        self.expect(code == "card-stolen", f"the failure's error_code is {code}")
        self.ask(
            "then with another one", lambda: invoices.change(guid, funding_instrument_uri="/cards/ok"),
            fields=reference.CUSTOMER_INVOICE, status="settled", effective_amount=900,
        )

    def _part_of_it_is_refunded(self, invoice: Answer) -> None:
        guid, invoices = invoice["guid"], self.billy.invoices
        self.ask(
            "$3 are given back", lambda: invoices.refund(guid, amount=300),
            fields=reference.CUSTOMER_INVOICE, status="settled",
        )
        transactions = self.ask_for_list(
            "by a refund", lambda: invoices.transactions(guid), reference.TRANSACTION, count=3,
        )
        newest = transactions[0]
        self.expect(
            (newest["transaction_type"], newest["amount"], newest["status"]) == ("refund", 300, "succeeded"),
            f"the newest transaction is no refund of 300 that succeeded: {newest}",
        )
        self.ask(
            "More than was paid is refused", lambda: invoices.refund(guid, amount=601),
            answers=400, fields=reference.ERROR, error_class="InvalidOperationError",
        )

    def _a_card_is_declined_twice(self, customer: Answer) -> None:
        invoice = self.ask(
            "A card without funds",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=700, funding_instrument_uri="/cards/declined-twice"
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        guid, invoices = invoice["guid"], self.billy.invoices
        self.ask_for_list(
            "is declined", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="retrying", status=None, failure_count=1,
        )
        self.wait_for_item(
            "The scheduler tries until it pays", lambda: invoices.transactions(guid), reference.TRANSACTION,
            submit_status="done", status="succeeded", failure_count=2,
        )
        self.ask(
            "The invoice is settled", lambda: invoices.get(guid), fields=reference.CUSTOMER_INVOICE, status="settled"
        )

    def _a_bank_account_takes_its_time(self, company: Answer, customer: Answer) -> None:
        invoice = self.ask(
            "A bank account takes days",
            lambda: self.billy.invoices.create(
                customer_guid=customer["guid"], amount=800, funding_instrument_uri="/bank_accounts/pending"
            ),
            fields=reference.CUSTOMER_INVOICE, status="processing",
        )
        guid, invoices = invoice["guid"], self.billy.invoices
        transactions = self.ask_for_list(
            "and is pending meanwhile", lambda: invoices.transactions(guid), reference.TRANSACTION, count=1,
            submit_status="done", status="pending",
        )
        self.ask(
            "Nobody changes what may be moving", lambda: invoices.change(guid, funding_instrument_uri="/cards/ok"),
            answers=409, fields=reference.ERROR, error_class="InvalidOperationError",
        )
        event = self._settle(transactions[0]["processor_uri"])
        for what, code in (("The bank pays, and calls back", "ok"), ("twice, as they do", "ignore")):
            self.ask(
                what, lambda: self.billy.companies.call_back(company["guid"], company["callback_key"], event=event),
                fields=reference.CALLBACK, code=code,
            )
        self.ask(
            "The invoice is settled", lambda: invoices.get(guid), fields=reference.CUSTOMER_INVOICE, status="settled"
        )

    def _what_is_canceled(self, plan: Answer, customer: Answer) -> None:
        subscription = self.ask(
            "A subscription without an instrument",
            lambda: self.billy.subscriptions.create(customer_guid=customer["guid"], plan_guid=plan["guid"]),
            fields=reference.SUBSCRIPTION, funding_instrument_uri=None, invoice_count=1,
        )
        guid, subscriptions = subscription["guid"], self.billy.subscriptions
        invoices = self.ask_for_list(
            "has an invoice that waits for one", lambda: subscriptions.invoices(guid), reference.SUBSCRIPTION_INVOICE,
            count=1, status="staged",
        )
        self.ask(
            "The customer leaves", lambda: subscriptions.cancel(guid),
            fields={**reference.SUBSCRIPTION, "canceled_at": reference.instant}, canceled=True,
        )
        self.ask(
            "Nobody leaves twice", lambda: subscriptions.cancel(guid),
            answers=400, fields=reference.ERROR, error_class="InvalidOperationError",
        )
        self.ask(
            "and need not pay", lambda: self.billy.invoices.cancel(invoices[0]["guid"]),
            fields=reference.SUBSCRIPTION_INVOICE, status="canceled",
        )

    def _the_lists(self, plan: Answer, customer: Answer, invoice: Answer) -> None:
        billy, its, his = self.billy, plan["guid"], customer["guid"]
        lists: list[tuple[str, Listed, Fields, int]] = [
            ("The company's plans", billy.plans.list, reference.PLAN, 2),
            ("The plan's customers", lambda: billy.plans.customers(its), reference.CUSTOMER, 1),
            ("its subscriptions", lambda: billy.plans.subscriptions(its), reference.SUBSCRIPTION, 3),
            ("its invoices", lambda: billy.plans.invoices(its), reference.SUBSCRIPTION_INVOICE, 3),
            ("its transactions", lambda: billy.plans.transactions(its), reference.TRANSACTION, 2),
            ("The company's customers", billy.customers.list, reference.CUSTOMER, 1),
            ("The customer's subscriptions", lambda: billy.customers.subscriptions(his), reference.SUBSCRIPTION, 4),
            ("The customer's invoices", lambda: billy.customers.invoices(his), reference.INVOICE, 7),
            ("The customer's transactions", lambda: billy.customers.transactions(his), reference.TRANSACTION, 8),
            ("The company's subscriptions", billy.subscriptions.list, reference.SUBSCRIPTION, 4),
            ("its invoices", billy.invoices.list, reference.INVOICE, 7),
            ("the one of an order", lambda: billy.invoices.list(external_id="order-1"), reference.CUSTOMER_INVOICE, 1),
            ("its transactions", billy.transactions.list, reference.TRANSACTION, 8),
        ]
        for what, listing, fields, count in lists:
            self.ask_for_list(what, listing, fields, count=count)
        page = self.ask(
            "One page of its invoices", lambda: billy.invoices.list(limit=2, offset=1),
            fields=page_of(reference.INVOICE), limit=2, offset=1,
        )
        self.expect(len(page["items"]) == 2, f"the page has {len(page['items'])} items")
        self.ask(
            "The invoice", lambda: billy.invoices.get(invoice["guid"]), fields=reference.CUSTOMER_INVOICE, amount=1000
        )

    def _what_is_deleted(self, plan: Answer, customer: Answer) -> None:
        self.ask(
            "The plan ends", lambda: self.billy.plans.delete(plan["guid"]), fields=reference.PLAN, deleted=True
        )
        self.ask(
            "Nobody subscribes to it any more",
            lambda: self.billy.subscriptions.create(customer_guid=customer["guid"], plan_guid=plan["guid"]),
            answers=400, fields=reference.ERROR,
        )
        self.ask(
            "The customer is deleted", lambda: self.billy.customers.delete(customer["guid"]),
            fields=reference.CUSTOMER, deleted=True,
        )

    def _the_books_agree(self) -> None:
        transactions = self.ask_for_list(
            "The processor's books agree", self.billy.transactions.list, reference.TRANSACTION, count=8,
        )
        for transaction in transactions:
            expected = 1 if transaction["status"] == "succeeded" else 0
            times = self._times_charged(transaction["guid"])
            self.expect(times == expected, f"{transaction['guid']} moved money {times} times instead of {expected}")
