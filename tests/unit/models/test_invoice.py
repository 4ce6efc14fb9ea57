"""What an invoice makes of its charges and refunds.

A charge moves here by the verbs that the recorded answers of a processor use, so each story can really
happen. ``tests/properties/test_invoice.py`` has the rules behind the examples.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy.orm.attributes import set_committed_value

from billy.errors import InvalidOperationError, MoneyMoving
from billy.models import (
    Invoice,
    InvoiceStatus,
    InvoiceType,
    RetryPolicy,
    SubmitStatus,
    Transaction,
    TransactionStatus,
    TransactionType,
)

HOUR = timedelta(hours=1)
ONE_TRY = RetryPolicy(0, after_refusal=(HOUR,), after_silence=(HOUR,))

Paper = Callable[..., Invoice]
Charged = tuple[Invoice, Transaction]
PaidTwice = tuple[Invoice, Transaction, Transaction]
Word = Callable[[Transaction, datetime], None]


def put_in_doubt(transaction: Transaction, now: datetime) -> None:
    """What a claim does before the call, and what stays when no answer comes."""
    transaction.in_doubt = True


def succeed(transaction: Transaction, now: datetime) -> None:
    transaction.accept(f"/records/{transaction.guid}", TransactionStatus.SUCCEEDED, now)


def fail(transaction: Transaction, now: datetime) -> None:
    transaction.accept(f"/records/{transaction.guid}", TransactionStatus.FAILED, now)


def wait(transaction: Transaction, now: datetime) -> None:
    transaction.accept(f"/records/{transaction.guid}", TransactionStatus.PENDING, now)


def add(invoice: Invoice, transaction: Transaction) -> None:
    """What reading the invoice again does once the transaction is stored."""
    set_committed_value(invoice, "transactions", [*invoice.transactions, transaction])


# What is due


@pytest.mark.parametrize(
    ("amount", "adjustments", "effective"),
    [(1000, [], 1000), (1000, [-100], 900), (1000, [-100, 250, -50], 1100), (0, [500], 500), (1000, [-1000], 0)],
)
def test_the_effective_amount_is_the_amount_and_its_adjustments(
    paper_invoice: Paper, amount: int, adjustments: list[int], effective: int
) -> None:
    invoice = paper_invoice(amount=amount, adjustments=[{"amount": cents, "reason": None} for cents in adjustments])

    assert (invoice.total_adjustment_amount, invoice.effective_amount) == (sum(adjustments), effective)


@pytest.mark.parametrize(
    ("amount", "adjustment", "status"),
    [
        (0, 0, InvoiceStatus.SETTLED),
        (1000, -1000, InvoiceStatus.SETTLED),
        (1, 0, InvoiceStatus.STAGED),
        (0, 500, InvoiceStatus.STAGED),
    ],
)
def test_d7_an_invoice_is_settled_from_the_start_only_if_nothing_is_due(
    paper_invoice: Paper, amount: int, adjustment: int, status: InvoiceStatus
) -> None:
    assert paper_invoice(amount=amount, adjustments=[{"amount": adjustment}]).status is status


def test_an_invoice_for_a_period_is_of_type_subscription_and_any_other_of_type_customer(
    paper_invoice: Paper, now: datetime
) -> None:
    filed = paper_invoice(subscription_guid="SU1", plan_guid="PL1", scheduled_at=now)

    assert filed.invoice_type is InvoiceType.SUBSCRIPTION
    assert paper_invoice().invoice_type is InvoiceType.CUSTOMER


# Charging


def test_a_charge_takes_the_effective_amount_from_the_invoices_instrument(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(adjustments=[{"amount": -100}], appears_on_statement_as="Trees Inc")

    charge = invoice.charge(now)

    assert (charge.amount, charge.funding_instrument_uri, charge.appears_on_statement_as) == (
        900,
        "/cards/1",
        "Trees Inc",
    )
    assert (charge.invoice_guid, charge.customer_guid, charge.company_guid) == (invoice.guid, "CU1", "CP1")
    assert charge.submit_status is SubmitStatus.STAGED


@pytest.mark.parametrize("transaction_type", [TransactionType.DEBIT, TransactionType.CREDIT])
def test_a_charge_goes_the_way_of_its_invoice(
    paper_invoice: Paper, now: datetime, transaction_type: TransactionType
) -> None:
    assert paper_invoice(transaction_type=transaction_type).charge(now).transaction_type is transaction_type


def test_a_charged_invoice_is_processing_and_knows_its_charge(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice()

    charge = invoice.charge(now)

    assert invoice.status is InvoiceStatus.PROCESSING
    assert invoice.charges == [charge]


@pytest.mark.parametrize("status", [InvoiceStatus.SETTLED, InvoiceStatus.CANCELED])
def test_what_nobody_owes_cannot_be_charged(paper_invoice: Paper, now: datetime, status: InvoiceStatus) -> None:
    invoice = paper_invoice()
    invoice.status = status

    with pytest.raises(InvalidOperationError):
        invoice.charge(now)

    assert invoice.charges == []


def test_charges_for_a_period_are_named_by_it_and_counted(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(
        subscription_guid="SU1", plan_guid="PL1", scheduled_at=datetime.fromisoformat("2024-01-31T20:30+08:00")
    )
    first = invoice.charge(now)

    second = invoice.change_instrument("/cards/2", now)

    assert first.submission_key == "SU1/20240131T123000.000000Z/1-1"
    assert second is not None
    assert second.submission_key == "SU1/20240131T123000.000000Z/2-1"


def test_a_charge_beside_a_second_record_of_the_one_before_has_a_name_of_its_own(
    paper_invoice: Paper, now: datetime
) -> None:
    invoice = paper_invoice(subscription_guid="SU1", plan_guid="PL1", scheduled_at=now)
    first = invoice.charge(now)
    fail(first, now)
    add(invoice, first.duplicate("/debits/2", TransactionStatus.FAILED, now))

    second = invoice.change_instrument("/cards/2", now)

    assert second is not None
    assert second.submission_key != first.submission_key


def test_a_charge_after_a_superseded_one_that_came_alive_again_has_a_name_of_its_own(
    paper_invoice: Paper, now: datetime
) -> None:
    invoice = paper_invoice(subscription_guid="SU1", plan_guid="PL1", scheduled_at=now)
    first = invoice.charge(now)
    second = invoice.change_instrument("/cards/2", now)
    assert second is not None
    first.duplicate_of_guid = second.guid  # as recording marks it where both are pending
    fail(first, now)
    fail(second, now)

    third = invoice.change_instrument("/cards/3", now)

    assert third is not None
    assert third.submission_key not in (first.submission_key, second.submission_key)


def test_the_charge_of_an_order_is_named_after_its_transaction(charged: Charged) -> None:
    _, charge = charged

    assert charge.submission_key == f"{charge.guid}-1"


# Following the charges


def test_one_succeeded_charge_settles(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    succeed(charge, now)

    invoice.follow_charges(now)

    assert (invoice.status, invoice.overpaid) == (InvoiceStatus.SETTLED, False)


@pytest.mark.parametrize("word", [wait, put_in_doubt])
def test_a_charge_that_may_still_succeed_leaves_the_invoice_processing(
    charged: Charged, now: datetime, word: Word
) -> None:
    invoice, charge = charged
    word(charge, now)

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.PROCESSING


@pytest.mark.parametrize("word", [fail, lambda charge, now: charge.decline(ONE_TRY, now, hard=False)])
def test_an_invoice_fails_when_its_only_charge_does(charged: Charged, now: datetime, word: Word) -> None:
    invoice, charge = charged
    word(charge, now)

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.FAILED


def test_an_invoice_without_charges_is_not_failed(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice()

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.STAGED


def test_d20_a_late_success_of_an_old_charge_settles_and_cancels_the_newer_one(charged: Charged, now: datetime) -> None:
    invoice, old = charged
    fail(old, now)
    invoice.follow_charges(now)
    newer = invoice.change_instrument("/cards/2", now)
    assert newer is not None
    succeed(old, now)

    invoice.follow_charges(now)

    assert (invoice.status, newer.submit_status) == (InvoiceStatus.SETTLED, SubmitStatus.CANCELED)
    assert not invoice.overpaid


def test_a_late_success_of_an_old_charge_leaves_a_newer_one_in_doubt_to_its_look_up(
    charged: Charged, now: datetime
) -> None:
    invoice, old = charged
    fail(old, now)
    invoice.follow_charges(now)
    newer = invoice.change_instrument("/cards/2", now)
    assert newer is not None
    put_in_doubt(newer, now)
    succeed(old, now)

    invoice.follow_charges(now)

    assert (invoice.status, newer.submit_status, newer.in_doubt) == (InvoiceStatus.SETTLED, SubmitStatus.STAGED, True)


def test_a_late_bounce_of_the_paying_charge_un_pays(paid: Charged, now: datetime) -> None:
    invoice, charge = paid
    fail(charge, now)

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.FAILED


def test_a_bounce_of_one_of_two_payments_leaves_the_invoice_paid_once(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, first, _ = paid_twice
    fail(first, now)

    invoice.follow_charges(now)

    assert (invoice.status, invoice.overpaid) == (InvoiceStatus.SETTLED, False)


def test_d20_a_late_refusal_of_a_superseded_charge_changes_nothing(charged: Charged, now: datetime) -> None:
    invoice, old = charged
    newer = invoice.change_instrument("/cards/2", now)
    assert newer is not None
    succeed(newer, now)
    invoice.follow_charges(now)
    fail(old, now)

    invoice.follow_charges(now + HOUR)

    assert invoice.status is InvoiceStatus.SETTLED
    assert invoice.updated_at == now


def test_a_late_refusal_of_a_superseded_charge_leaves_a_newer_one_open(charged: Charged, now: datetime) -> None:
    invoice, old = charged
    newer = invoice.change_instrument("/cards/2", now)
    assert newer is not None
    fail(old, now)

    invoice.follow_charges(now)

    assert (invoice.status, newer.submit_status) == (InvoiceStatus.PROCESSING, SubmitStatus.STAGED)


def test_a_canceled_invoice_that_is_paid_after_all_is_settled(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    invoice.cancel(now)
    succeed(charge, now)

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.SETTLED


def test_a_canceled_invoice_whose_charge_failed_stays_canceled(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    invoice.cancel(now)
    fail(charge, now)

    invoice.follow_charges(now)

    assert invoice.status is InvoiceStatus.CANCELED


def test_two_successes_are_both_kept_and_the_invoice_is_overpaid(paid_twice: PaidTwice) -> None:
    invoice, first, second = paid_twice

    assert first.has_succeeded
    assert second.has_succeeded
    assert (invoice.status, invoice.overpaid) == (InvoiceStatus.SETTLED, True)


def test_refunding_one_of_two_payments_ends_overpaid(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, _, _ = paid_twice
    (refund,) = invoice.refund(1000, now)
    succeed(refund, now)

    invoice.follow_charges(now)

    assert (invoice.status, invoice.overpaid) == (InvoiceStatus.SETTLED, False)


def test_a_refund_that_is_not_through_yet_leaves_the_invoice_overpaid(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, _, _ = paid_twice
    (refund,) = invoice.refund(1000, now)
    wait(refund, now)

    invoice.follow_charges(now)

    assert invoice.overpaid


def test_a_refunds_answer_changes_only_the_refund(paid: Charged, now: datetime) -> None:
    invoice, _ = paid
    (refund,) = invoice.refund(1000, now)
    fail(refund, now)

    invoice.follow_charges(now + HOUR)

    assert (invoice.status, invoice.overpaid, invoice.updated_at) == (InvoiceStatus.SETTLED, False, now)


def test_open_refunds_of_a_charge_that_bounced_are_canceled(paid: Charged, now: datetime) -> None:
    invoice, charge = paid
    (refund,) = invoice.refund(400, now)
    fail(charge, now)

    invoice.follow_charges(now)

    assert refund.submit_status is SubmitStatus.CANCELED


def test_a_refund_in_doubt_of_a_charge_that_bounced_is_left_to_its_look_up(paid: Charged, now: datetime) -> None:
    invoice, charge = paid
    (refund,) = invoice.refund(400, now)
    put_in_doubt(refund, now)
    fail(charge, now)

    invoice.follow_charges(now)

    assert (refund.submit_status, refund.in_doubt) == (SubmitStatus.STAGED, True)


def test_open_refunds_of_another_charge_go_on_when_one_bounces(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, first, second = paid_twice
    (refund,) = invoice.refund(400, now)
    assert refund.refund_of_guid == second.guid
    fail(first, now)

    invoice.follow_charges(now)

    assert refund.submit_status is SubmitStatus.STAGED


def test_following_without_news_does_not_move_updated_at(paid: Charged, now: datetime) -> None:
    invoice, _ = paid

    invoice.follow_charges(now + HOUR)

    assert invoice.updated_at == now


# Another instrument


def test_another_instrument_replaces_a_charge_that_nobody_claimed(charged: Charged, now: datetime) -> None:
    invoice, old = charged

    newer = invoice.change_instrument("/cards/2", now)

    assert newer is not None
    assert (old.submit_status, newer.submit_status) == (SubmitStatus.CANCELED, SubmitStatus.STAGED)
    assert (old.funding_instrument_uri, newer.funding_instrument_uri) == ("/cards/1", "/cards/2")
    assert (invoice.status, invoice.funding_instrument_uri) == (InvoiceStatus.PROCESSING, "/cards/2")


def test_a_first_instrument_charges_a_staged_invoice(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(funding_instrument_uri=None)

    charge = invoice.change_instrument("/cards/2", now)

    assert charge is not None
    assert (invoice.status, charge.amount) == (InvoiceStatus.PROCESSING, 1000)


def test_another_instrument_charges_a_failed_invoice_again(charged: Charged, now: datetime) -> None:
    invoice, old = charged
    fail(old, now)
    invoice.follow_charges(now)

    newer = invoice.change_instrument("/cards/2", now)

    assert invoice.charges == [old, newer]
    assert (invoice.status, old.status) == (InvoiceStatus.PROCESSING, TransactionStatus.FAILED)


def test_an_instrument_for_nothing_is_stored_and_not_charged(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(amount=0, funding_instrument_uri=None)

    charge = invoice.change_instrument("/cards/2", now)

    assert charge is None
    assert (invoice.status, invoice.funding_instrument_uri) == (InvoiceStatus.SETTLED, "/cards/2")


@pytest.mark.parametrize("word", [wait, put_in_doubt])
def test_d2_the_instrument_stays_while_the_old_one_may_take_the_money(
    charged: Charged, now: datetime, word: Word
) -> None:
    invoice, charge = charged
    word(charge, now)

    with pytest.raises(MoneyMoving, match=charge.guid):
        invoice.change_instrument("/cards/2", now)

    assert (invoice.funding_instrument_uri, invoice.charges) == ("/cards/1", [charge])
    assert charge.submit_status is not SubmitStatus.CANCELED


def test_a_settled_invoice_refuses_another_instrument_and_keeps_its_own(paid: Charged, now: datetime) -> None:
    invoice, charge = paid

    with pytest.raises(InvalidOperationError, match=r"^Invalid operation, you can only update funding_instrument_uri"):
        invoice.change_instrument("/cards/2", now)

    assert (invoice.funding_instrument_uri, invoice.charges) == ("/cards/1", [charge])


def test_a_canceled_invoice_refuses_another_instrument_and_keeps_its_own(charged: Charged, now: datetime) -> None:
    invoice, _ = charged
    invoice.cancel(now)

    with pytest.raises(InvalidOperationError):
        invoice.change_instrument("/cards/2", now)

    assert (invoice.status, invoice.funding_instrument_uri) == (InvoiceStatus.CANCELED, "/cards/1")


def test_a_settled_invoice_refuses_another_instrument_for_good_although_money_moves(
    paid_twice: PaidTwice, now: datetime
) -> None:
    invoice, first, _ = paid_twice
    put_in_doubt(first, now)

    with pytest.raises(InvalidOperationError) as refusal:
        invoice.change_instrument("/cards/3", now)

    assert not isinstance(refusal.value, MoneyMoving)


# Canceling


def test_canceling_cancels_the_charges_that_nobody_claimed(charged: Charged, now: datetime) -> None:
    invoice, charge = charged

    invoice.cancel(now)

    assert (invoice.status, charge.submit_status) == (InvoiceStatus.CANCELED, SubmitStatus.CANCELED)


def test_a_staged_invoice_can_be_canceled(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice()

    invoice.cancel(now)

    assert invoice.status is InvoiceStatus.CANCELED


def test_a_failed_invoice_can_be_canceled(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    fail(charge, now)
    invoice.follow_charges(now)

    invoice.cancel(now)

    assert (invoice.status, charge.submit_status) == (InvoiceStatus.CANCELED, SubmitStatus.DONE)


@pytest.mark.parametrize("word", [wait, put_in_doubt])
def test_d3_an_invoice_is_not_canceled_while_money_may_be_moving(charged: Charged, now: datetime, word: Word) -> None:
    invoice, charge = charged
    word(charge, now)

    with pytest.raises(MoneyMoving, match="try again later"):
        invoice.cancel(now)

    assert invoice.status is InvoiceStatus.PROCESSING


def test_a_settled_invoice_cannot_be_canceled(paid: Charged, now: datetime) -> None:
    invoice, _ = paid

    with pytest.raises(InvalidOperationError, match="can only be canceled"):
        invoice.cancel(now)

    assert invoice.status is InvoiceStatus.SETTLED


def test_clients_see_money_moving_under_the_name_they_know() -> None:
    assert MoneyMoving("later").error_class == "InvalidOperationError"


# Giving up


def test_an_invoice_that_is_given_up_fails_and_stays_owed(charged: Charged, now: datetime) -> None:
    invoice, charge = charged

    invoice.give_up(now)

    assert (invoice.status, charge.submit_status) == (InvoiceStatus.FAILED, SubmitStatus.CANCELED)


@pytest.mark.parametrize("word", [wait, put_in_doubt])
def test_a_charge_that_may_still_succeed_is_not_given_up(charged: Charged, now: datetime, word: Word) -> None:
    invoice, charge = charged
    word(charge, now)

    invoice.give_up(now)

    assert invoice.status is InvoiceStatus.PROCESSING
    assert charge.is_moving


# Refunds


def test_d4_a_refund_names_the_charge_it_gives_back(paid: Charged, now: datetime) -> None:
    invoice, charge = paid

    (refund,) = invoice.refund(400, now)

    assert (refund.transaction_type, refund.amount, refund.refund_of_guid) == (TransactionType.REFUND, 400, charge.guid)
    assert (refund.invoice_guid, refund.customer_guid, refund.submit_status) == (
        invoice.guid,
        "CU1",
        SubmitStatus.STAGED,
    )
    assert (refund.funding_instrument_uri, refund.appears_on_statement_as) == (None, None)


def test_d4_a_second_refund_leaves_the_first_ones_reference(paid: Charged, now: datetime) -> None:
    invoice, charge = paid
    (first,) = invoice.refund(400, now)

    (second,) = invoice.refund(600, now)

    assert (first.refund_of_guid, second.refund_of_guid) == (charge.guid, charge.guid)


def test_a_refunded_invoice_stays_settled(paid: Charged, now: datetime) -> None:
    invoice, _ = paid

    invoice.refund(1000, now)

    assert invoice.status is InvoiceStatus.SETTLED


def test_refunds_never_exceed_what_was_charged(paid: Charged, now: datetime) -> None:
    invoice, _ = paid
    invoice.refund(600, now)

    with pytest.raises(
        InvalidOperationError, match=r"^Refund total amount 600 \+ 401 will exceed invoice effective amount 1000$"
    ):
        invoice.refund(401, now)

    assert [refund.amount for refund in invoice.refunds] == [600]


@pytest.mark.parametrize("word", [wait, put_in_doubt, succeed])
def test_a_refund_that_may_still_succeed_counts(paid: Charged, now: datetime, word: Word) -> None:
    invoice, _ = paid
    (refund,) = invoice.refund(1000, now)
    word(refund, now)

    with pytest.raises(InvalidOperationError, match="will exceed"):
        invoice.refund(1, now)


@pytest.mark.parametrize("word", [fail, lambda refund, now: refund.decline(ONE_TRY, now, hard=True)])
def test_d6_a_refund_that_failed_frees_its_amount(paid: Charged, now: datetime, word: Word) -> None:
    invoice, charge = paid
    (failed,) = invoice.refund(1000, now)
    word(failed, now)

    (again,) = invoice.refund(1000, now)

    assert (again.amount, again.refund_of_guid) == (1000, charge.guid)


def test_d5_a_refund_finds_the_charge_that_paid_beside_one_that_failed(charged: Charged, now: datetime) -> None:
    invoice, failed = charged
    fail(failed, now)
    invoice.follow_charges(now)
    paying = invoice.change_instrument("/cards/2", now)
    assert paying is not None
    succeed(paying, now)
    invoice.follow_charges(now)

    (refund,) = invoice.refund(1000, now)

    assert refund.refund_of_guid == paying.guid


def test_d5_a_refund_finds_the_charge_that_paid_before_one_that_bounced(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, paying, bounced = paid_twice
    fail(bounced, now)
    invoice.follow_charges(now)

    refunds = invoice.refund(1000, now)

    assert [(refund.refund_of_guid, refund.amount) for refund in refunds] == [(paying.guid, 1000)]


def test_the_second_payment_is_refunded_before_the_first(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, _, second = paid_twice

    (refund,) = invoice.refund(1000, now)

    assert refund.refund_of_guid == second.guid


def test_what_the_processor_took_twice_for_one_submission_is_refunded_first(
    paid_twice: PaidTwice, now: datetime
) -> None:
    invoice, first, _ = paid_twice
    duplicate = first.duplicate("/debits/3", TransactionStatus.SUCCEEDED, now)
    add(invoice, duplicate)

    (refund,) = invoice.refund(1000, now)

    assert refund.refund_of_guid == duplicate.guid


def test_a_refund_over_two_payments_is_one_refund_of_each(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, first, second = paid_twice

    refunds = invoice.refund(1700, now)

    assert [(refund.refund_of_guid, refund.amount) for refund in refunds] == [(second.guid, 1000), (first.guid, 700)]


def test_a_refund_goes_on_where_the_last_one_ended(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, first, second = paid_twice
    invoice.refund(700, now)

    refunds = invoice.refund(700, now)

    assert [(refund.refund_of_guid, refund.amount) for refund in refunds] == [(second.guid, 300), (first.guid, 400)]


def test_what_was_charged_too_much_can_be_refunded_in_full(paid_twice: PaidTwice, now: datetime) -> None:
    invoice, _, _ = paid_twice

    assert sum(refund.amount for refund in invoice.refund(2000, now)) == 2000


@pytest.mark.parametrize("status", sorted([status for status in InvoiceStatus if status is not InvoiceStatus.SETTLED]))
def test_only_a_settled_invoice_can_be_refunded(paid: Charged, now: datetime, status: InvoiceStatus) -> None:
    invoice, _ = paid
    invoice.status = status

    with pytest.raises(InvalidOperationError, match=r"^You can only refund a settled invoice$"):
        invoice.refund(1, now)

    assert invoice.refunds == []


def test_a_pay_out_cannot_be_refunded(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(transaction_type=TransactionType.CREDIT)
    succeed(invoice.charge(now), now)
    invoice.follow_charges(now)

    with pytest.raises(InvalidOperationError, match="pay-out"):
        invoice.refund(1, now)

    assert invoice.refunds == []


def test_d5_an_invoice_that_was_settled_without_a_charge_has_nothing_to_refund(
    paper_invoice: Paper, now: datetime
) -> None:
    invoice = paper_invoice(amount=0)

    with pytest.raises(InvalidOperationError, match=r"^Refund total amount 0 \+ 1 will exceed"):
        invoice.refund(1, now)


def test_d8_a_refund_of_nothing_reaches_no_processor(paid: Charged, now: datetime) -> None:
    invoice, _ = paid

    assert invoice.refund(0, now) == []


def test_a_canceled_invoice_that_was_paid_after_all_can_be_refunded(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    invoice.cancel(now)
    succeed(charge, now)
    invoice.follow_charges(now)

    (refund,) = invoice.refund(1000, now)

    assert refund.refund_of_guid == charge.guid


# What every verb leaves


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda invoice, at: invoice.change_instrument("/cards/2", at), id="change_instrument"),
        pytest.param(lambda invoice, at: invoice.cancel(at), id="cancel"),
        pytest.param(lambda invoice, at: invoice.give_up(at), id="give_up"),
    ],
)
def test_d23_every_verb_moves_updated_at_of_the_invoice_and_of_the_charge_it_cancels(
    charged: Charged, now: datetime, verb: Callable[[Invoice, datetime], None]
) -> None:
    invoice, charge = charged

    verb(invoice, now + HOUR)

    assert (invoice.updated_at, charge.updated_at) == (now + HOUR, now + HOUR)


def test_d23_charging_moves_updated_at(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice()

    invoice.charge(now + HOUR)

    assert invoice.updated_at == now + HOUR


def test_d23_refunding_moves_updated_at(paid: Charged, now: datetime) -> None:
    invoice, _ = paid

    invoice.refund(1, now + HOUR)

    assert invoice.updated_at == now + HOUR


def test_d23_a_payment_moves_updated_at(charged: Charged, now: datetime) -> None:
    invoice, charge = charged
    succeed(charge, now + HOUR)

    invoice.follow_charges(now + HOUR)

    assert invoice.updated_at == now + HOUR


def test_d23_an_instrument_for_nothing_moves_updated_at(paper_invoice: Paper, now: datetime) -> None:
    invoice = paper_invoice(amount=0)

    invoice.change_instrument("/cards/2", now + HOUR)

    assert invoice.updated_at == now + HOUR
