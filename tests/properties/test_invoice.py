"""An invoice under any story of charges, answers, refunds and commands, in any order.

The rules that hold after each step are written down here a second time, and not read from the model.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from billy.errors import InvalidOperationError
from billy.models import (
    Invoice,
    InvoiceStatus,
    RetryPolicy,
    SubmitStatus,
    Transaction,
    TransactionStatus,
    TransactionType,
)
from billy.models.invoice import new_invoice

START = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)
POLICY = RetryPolicy(1, after_refusal=(timedelta(hours=1),), after_silence=(timedelta(minutes=1),))

PENDING, SUCCEEDED, FAILED = TransactionStatus


def may_succeed(transaction: Transaction) -> bool:
    """It is to be submitted, or was and has no end yet."""
    return transaction.submit_status in (SubmitStatus.STAGED, SubmitStatus.RETRYING) or transaction.status is PENDING


def cents(transactions: list[Transaction]) -> int:
    return sum(transaction.amount for transaction in transactions)


class InvoiceStory(RuleBasedStateMachine):
    """Commands that are refused change nothing; answers are never refused."""

    @initialize(amount=st.integers(2, 9), discount=st.integers(0, 3), has_period=st.booleans(), waits=st.booleans())
    def file(self, amount: int, discount: int, has_period: bool, waits: bool) -> None:
        period = {"subscription_guid": "SU1", "plan_guid": "PL1", "scheduled_at": START} if has_period else {}
        self.now = START
        self.invoice = Invoice(
            **new_invoice(
                START,
                company_guid="CP1",
                customer_guid="CU1",
                amount=amount,
                adjustments=[{"amount": -min(discount, amount)}],
                **period,
            )
        )
        if not waits:
            self.change_instrument(1)

    def those(self, *, refunds: bool) -> list[Transaction]:
        is_refund = TransactionType.REFUND.__eq__
        return [each for each in self.invoice.transactions if is_refund(each.transaction_type) is refunds]

    @property
    def charges(self) -> list[Transaction]:
        return self.those(refunds=False)

    @property
    def refunds(self) -> list[Transaction]:
        return self.those(refunds=True)

    def command(self, verb: str, *arguments: object) -> None:
        """A command may be refused; then everything is as it was."""
        before = self.picture()
        try:
            getattr(self.invoice, verb)(*arguments, self.now)
        except InvalidOperationError:
            assert self.picture() == before

    def picture(self) -> list[object]:
        invoice = self.invoice
        return [
            (invoice.status, invoice.overpaid, invoice.funding_instrument_uri, invoice.updated_at),
            *((each.guid, each.submit_status, each.status, each.updated_at) for each in invoice.transactions),
        ]

    def pick(self, transactions: list[Transaction], data: st.DataObject) -> Transaction:
        return transactions[data.draw(st.integers(0, len(transactions) - 1))]

    @rule(card=st.integers(1, 9))
    def change_instrument(self, card: int) -> None:
        self.command("change_instrument", f"/cards/{card}")

    @rule()
    def cancel(self) -> None:
        self.command("cancel")

    @rule(amount=st.integers(1, 12))
    def refund(self, amount: int) -> None:
        before, refunds = self.picture(), self.refunds
        self.command("refund", amount)
        given_back = cents(self.refunds) - cents(refunds)
        assert given_back == amount or self.picture() == before

    def left_of(self, charge: Transaction) -> int:
        of_it = [refund for refund in self.refunds if refund.refund_of_guid == charge.guid]
        return charge.amount - cents([each for each in of_it if may_succeed(each) or each.status is SUCCEEDED])

    @precondition(lambda self: any(charge.status is SUCCEEDED for charge in self.charges))
    @rule()
    def refund_all_that_is_left(self) -> None:
        """What was charged and not given back can be refunded, to the last cent and no further."""
        left = sum(self.left_of(charge) for charge in self.charges if charge.status is SUCCEEDED)
        if left:
            assert cents(self.invoice.refund(left, self.now)) == left
        self.refund(1)
        assert sum(self.left_of(charge) for charge in self.charges if charge.status is SUCCEEDED) == 0

    @rule()
    def give_up(self) -> None:
        self.invoice.give_up(self.now)

    @precondition(lambda self: any(may_succeed(each) and each.status is None for each in self.invoice.transactions))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        transaction = self.pick([each for each in self.invoice.transactions if each.is_open], data)
        transaction.in_doubt = True

    @precondition(lambda self: any(may_succeed(each) for each in self.invoice.transactions))
    @rule(data=st.data(), answer=st.sampled_from([*TransactionStatus, "declined", "stolen", "silence"]))
    def answer(self, data: st.DataObject, answer: TransactionStatus | str) -> None:
        transaction = self.pick([each for each in self.invoice.transactions if may_succeed(each)], data)
        if isinstance(answer, TransactionStatus):
            transaction.accept(f"/records/{transaction.guid}", answer, self.now)
        elif transaction.status is None and answer == "silence":
            transaction.postpone(self.now, self.now, in_doubt=True)
        elif transaction.status is None:
            transaction.decline(POLICY, self.now, hard=answer == "stolen")
        self.invoice.follow_charges(self.now)

    @precondition(lambda self: self.charges)
    @rule(data=st.data(), answer=st.sampled_from([SUCCEEDED, FAILED]))
    def a_late_word_on_any_charge(self, data: st.DataObject, answer: TransactionStatus) -> None:
        charge = self.pick(self.charges, data)
        charge.accept(f"/records/{charge.guid}", answer, self.now)
        self.invoice.follow_charges(self.now)

    @precondition(lambda self: any(charge.status is SUCCEEDED for charge in self.charges))
    @rule(data=st.data())
    def the_processor_took_it_twice(self, data: st.DataObject) -> None:
        charge = self.pick([charge for charge in self.charges if charge.status is SUCCEEDED], data)
        second = charge.duplicate(f"/records/{len(self.charges)}-again", SUCCEEDED, self.now)
        self.invoice.transactions.append(second)
        self.invoice.follow_charges(self.now)

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(hours=1)

    @invariant()
    def refunds_never_exceed_what_was_charged(self) -> None:
        for charge in self.charges:
            assert self.left_of(charge) >= 0

    @invariant()
    def each_refund_names_one_of_its_charges(self) -> None:
        assert {refund.refund_of_guid for refund in self.refunds} <= {charge.guid for charge in self.charges}
        assert all(refund.amount > 0 for refund in self.refunds)

    @invariant()
    def the_status_is_what_the_charges_say(self) -> None:
        paid = any(charge.status is SUCCEEDED for charge in self.charges)
        underway = any(may_succeed(charge) for charge in self.charges)
        match self.invoice.status:
            case InvoiceStatus.STAGED:
                assert not self.charges
            case InvoiceStatus.PROCESSING:
                assert underway
                assert not paid
            case InvoiceStatus.SETTLED:
                # Where the paying charge bounced, another that is pending keeps it so until that one ends.
                assert paid or underway or self.invoice.effective_amount == 0
            case InvoiceStatus.FAILED | InvoiceStatus.CANCELED:
                assert not underway
                assert not paid

    @invariant()
    def nothing_is_sent_for_an_invoice_that_is_paid(self) -> None:
        if self.invoice.status is InvoiceStatus.SETTLED:
            assert not [charge for charge in self.charges if charge.is_open and not charge.in_doubt]

    @invariant()
    def two_charges_are_never_alive(self) -> None:
        assert len([charge for charge in self.charges if may_succeed(charge)]) <= 1

    @invariant()
    def overpaid_is_to_have_kept_more_than_was_owed(self) -> None:
        charged = cents([charge for charge in self.charges if charge.status is SUCCEEDED])
        given_back = cents([refund for refund in self.refunds if refund.status is SUCCEEDED])
        assert self.invoice.overpaid is (charged - given_back > self.invoice.effective_amount)

    @invariant()
    def no_two_charges_have_the_same_name_at_the_processor(self) -> None:
        sent = [each for each in self.invoice.transactions if each.duplicate_of_guid is None]
        stems = [each.submission_key.rpartition("-")[0] for each in sent]
        assert len(stems) == len(set(stems))


TestInvoiceStory = InvoiceStory.TestCase
TestInvoiceStory.settings = settings(max_examples=250, stateful_step_count=30)
