"""What an answer of the processor does to the transaction it is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from billy.errors import InvalidOperationError
from billy.models import RetryPolicy, SubmitStatus, Transaction, TransactionStatus, TransactionType
from billy.models.transaction import new_transaction, next_submission_key

PENDING, SUCCEEDED, FAILED = TransactionStatus
STAGED, RETRYING, DONE, SUBMIT_FAILED, CANCELED = SubmitStatus

HOUR = timedelta(hours=1)
POLICY = RetryPolicy(2, after_refusal=(HOUR, 24 * HOUR), after_silence=(HOUR / 60,))


@pytest.fixture
def debit(now: datetime) -> Transaction:
    """A staged debit of 1000 cents."""
    return Transaction(**new_transaction(now, **COLUMNS))


@pytest.fixture
def claimed(debit: Transaction, now: datetime) -> Transaction:
    """A debit that somebody claimed: leased and in doubt until there is an answer."""
    debit.attempt, debit.in_doubt, debit.leased_until = 1, True, now + HOUR
    return debit


COLUMNS: dict[str, Any] = {
    "company_guid": "CP1",
    "invoice_guid": "IV1",
    "customer_guid": "CU1",
    "transaction_type": TransactionType.DEBIT,
    "amount": 1000,
    "funding_instrument_uri": "/cards/1",
}


def test_a_new_transaction_is_staged_due_now_and_nobodys(now: datetime, debit: Transaction) -> None:
    assert (debit.submit_status, debit.status, debit.next_attempt_at) == (STAGED, None, now)
    assert (debit.attempt, debit.in_doubt, debit.leased_until) == (0, False, None)


def test_a_submission_is_named_after_its_transaction_unless_it_has_a_stem(now: datetime) -> None:
    plain = new_transaction(now, **COLUMNS)
    filed = new_transaction(now, **COLUMNS, key_stem="SU1/20240131/1")

    assert plain["submission_key"] == f"{plain['guid']}-1"
    assert filed["submission_key"] == "SU1/20240131/1-1"


@pytest.mark.parametrize(
    ("key", "following"), [("TX1-1", "TX1-2"), ("TX1-9", "TX1-10"), ("SU-1/x-y/2-3", "SU-1/x-y/2-4")]
)
def test_the_next_submission_key_counts_one_up(key: str, following: str) -> None:
    assert next_submission_key(key) == following


@pytest.mark.parametrize("status", TransactionStatus)
def test_an_accepted_transaction_is_done_with_the_processors_word(
    claimed: Transaction, now: datetime, status: TransactionStatus
) -> None:
    claimed.accept("/debits/1", status, now + HOUR)

    assert (claimed.submit_status, claimed.status, claimed.processor_uri) == (DONE, status, "/debits/1")


def test_an_answer_ends_the_lease_and_the_doubt(claimed: Transaction, now: datetime) -> None:
    claimed.accept("/debits/1", SUCCEEDED, now)

    assert (claimed.in_doubt, claimed.leased_until) == (False, None)


def test_an_accepted_transaction_keeps_its_submission_key(claimed: Transaction, now: datetime) -> None:
    key = claimed.submission_key

    claimed.accept("/debits/1", PENDING, now)

    assert claimed.submission_key == key


@pytest.mark.parametrize("ended", [SUCCEEDED, FAILED])
def test_d21_a_late_pending_never_hides_how_it_ended(
    debit: Transaction, now: datetime, ended: TransactionStatus
) -> None:
    debit.accept("/debits/1", ended, now)

    debit.accept("/debits/1", PENDING, now)

    assert debit.status is ended


def test_a_canceled_transaction_that_the_processor_has_all_the_same_is_done(debit: Transaction, now: datetime) -> None:
    debit.cancel(now)

    debit.accept("/debits/1", SUCCEEDED, now)

    assert (debit.submit_status, debit.status) == (DONE, SUCCEEDED)


def test_a_soft_decline_is_tried_again_another_day_under_a_new_key(claimed: Transaction, now: datetime) -> None:
    key = claimed.submission_key

    claimed.decline(POLICY, now, hard=False)

    assert claimed.submit_status is RETRYING
    assert claimed.submission_key == next_submission_key(key)
    assert now + 0.9 * HOUR <= claimed.next_attempt_at <= now + 1.1 * HOUR
    assert (claimed.in_doubt, claimed.leased_until, claimed.status) == (False, None, None)


def test_the_second_decline_waits_longer_than_the_first(debit: Transaction, now: datetime) -> None:
    debit.decline(POLICY, now, hard=False)

    debit.decline(POLICY, now, hard=False)

    assert debit.next_attempt_at >= now + 0.9 * 24 * HOUR


def test_d19_a_maximum_of_two_retries_gives_up_at_the_third_decline(debit: Transaction, now: datetime) -> None:
    statuses = []
    for _ in range(3):
        debit.decline(POLICY, now, hard=False)
        statuses.append(debit.submit_status)

    assert statuses == [RETRYING, RETRYING, SUBMIT_FAILED]


def test_d18_a_hard_decline_gives_up_at_once(claimed: Transaction, now: datetime) -> None:
    claimed.decline(POLICY, now, hard=True)

    assert (claimed.submit_status, claimed.in_doubt, claimed.leased_until) == (SUBMIT_FAILED, False, None)


@pytest.mark.parametrize("in_doubt", [True, False])
def test_no_answer_keeps_the_key_and_uses_up_no_retry(claimed: Transaction, now: datetime, in_doubt: bool) -> None:
    key = claimed.submission_key

    claimed.postpone(now + HOUR, now, in_doubt=in_doubt)

    assert (claimed.submit_status, claimed.next_attempt_at) == (RETRYING, now + HOUR)
    assert (claimed.submission_key, claimed.refusal_count) == (key, 0)
    assert (claimed.in_doubt, claimed.leased_until) == (in_doubt, None)


@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_claim_that_is_given_back_is_due_at_once_and_as_doubtful_as_before(
    claimed: Transaction, now: datetime, in_doubt: bool
) -> None:
    claimed.give_back(now + HOUR, in_doubt=in_doubt)

    assert (claimed.submit_status, claimed.next_attempt_at) == (STAGED, now + HOUR)
    assert (claimed.in_doubt, claimed.leased_until) == (in_doubt, None)


def test_an_open_transaction_can_be_canceled(debit: Transaction, now: datetime) -> None:
    debit.cancel(now)

    assert debit.submit_status is CANCELED


def test_a_transaction_that_is_done_cannot_be_canceled(debit: Transaction, now: datetime) -> None:
    debit.accept("/debits/1", PENDING, now)

    with pytest.raises(InvalidOperationError, match="still open"):
        debit.cancel(now)


def test_a_transaction_in_doubt_is_never_canceled(claimed: Transaction, now: datetime) -> None:
    with pytest.raises(AssertionError, match="in doubt"):
        claimed.cancel(now)

    assert claimed.submit_status is STAGED


@pytest.mark.parametrize(
    ("submit_status", "status", "in_doubt", "is_open", "is_moving"),
    [
        (STAGED, None, False, True, False),
        (RETRYING, None, False, True, False),
        (STAGED, None, True, True, True),
        (RETRYING, None, True, True, True),
        (DONE, PENDING, False, False, True),
        (DONE, SUCCEEDED, False, False, False),
        (DONE, FAILED, False, False, False),
        (SUBMIT_FAILED, None, False, False, False),
        (CANCELED, None, False, False, False),
    ],
)
def test_open_means_still_to_submit_and_moving_that_money_may_be_on_its_way(
    submit_status: SubmitStatus, status: TransactionStatus | None, in_doubt: bool, is_open: bool, is_moving: bool
) -> None:
    transaction = Transaction(submit_status=submit_status, status=status, in_doubt=in_doubt)

    assert (transaction.is_open, transaction.is_moving) == (is_open, is_moving)
    assert transaction.has_succeeded is (status is SUCCEEDED)


@pytest.mark.parametrize("transaction_type", TransactionType)
def test_debits_and_credits_are_charges_and_refunds_are_not(transaction_type: TransactionType) -> None:
    assert Transaction(transaction_type=transaction_type).is_charge is (transaction_type is not TransactionType.REFUND)


def test_a_second_record_of_one_submission_is_kept_beside_the_first(debit: Transaction, now: datetime) -> None:
    debit.accept("/debits/1", SUCCEEDED, now)

    second = debit.duplicate("/debits/2", PENDING, now)

    assert (second.duplicate_of_guid, second.processor_uri, second.status) == (debit.guid, "/debits/2", PENDING)
    assert (second.submit_status, second.amount, second.transaction_type) == (DONE, 1000, TransactionType.DEBIT)
    assert (second.invoice_guid, second.customer_guid, second.company_guid) == ("IV1", "CU1", "CP1")
    assert second.guid != debit.guid
    assert (debit.processor_uri, debit.status) == ("/debits/1", SUCCEEDED)


def test_a_second_record_of_a_refund_gives_back_the_same_charge(now: datetime) -> None:
    refund = Transaction(
        **new_transaction(now, **{**COLUMNS, "transaction_type": TransactionType.REFUND}, refund_of_guid="TX0")
    )

    assert refund.duplicate("/refunds/2", SUCCEEDED, now).refund_of_guid == "TX0"


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda debit, at: debit.cancel(at), id="cancel"),
        pytest.param(lambda debit, at: debit.accept("/debits/1", SUCCEEDED, at), id="accept"),
        pytest.param(lambda debit, at: debit.decline(POLICY, at, hard=False), id="decline"),
        pytest.param(lambda debit, at: debit.decline(POLICY, at, hard=True), id="decline for good"),
        pytest.param(lambda debit, at: debit.postpone(at + HOUR, at, in_doubt=True), id="postpone"),
    ],
)
def test_d23_every_change_moves_updated_at(
    debit: Transaction, now: datetime, verb: Callable[[Transaction, datetime], None]
) -> None:
    verb(debit, now + HOUR)

    assert debit.updated_at == now + HOUR
