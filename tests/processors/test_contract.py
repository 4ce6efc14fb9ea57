"""What every adapter must do: each row of the table in ``billy.processors.base``, and each method's promise."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest

from billy.errors import (
    InvalidCallbackPayload,
    InvalidCustomer,
    InvalidFundingInstrument,
    InvalidURIFormat,
    Misconfigured,
    OutcomeUnknown,
    ProcessorError,
    Refused,
    Unavailable,
)
from billy.processors.base import Processor, Receipt, ReceiptStatus, Record, Submission, SubmissionType
from tests.processors.harness import Harness, Kind

T = TypeVar("T")

DEBIT, CREDIT, REFUND = SubmissionType.DEBIT, SubmissionType.CREDIT, SubmissionType.REFUND

# What a busy machine may add to a deadline.
SLACK = 0.5


def guid(prefix: str) -> str:
    return prefix + secrets.token_hex(11)


def instrument(harness: Harness, kind: Kind, purpose: SubmissionType = DEBIT) -> str:
    uri = harness.instrument(kind, purpose)
    if uri is None:
        pytest.skip(f"this processor has no instrument that {kind}")
    return uri


def a_charge(harness: Harness, kind: Kind = Kind.SUCCEEDS, type: SubmissionType = DEBIT, **changes: Any) -> Submission:
    transaction = guid("TX")
    return replace(
        Submission(
            type=type,
            key=f"{transaction}-1",
            transaction_guid=transaction,
            invoice_guid=guid("IV"),
            customer_uri=harness.company.create_customer(guid("CU")),
            amount=1000,
            funding_instrument_uri=instrument(harness, kind, type),
            charge_uri=None,
            appears_on_statement_as="BILLY.EXAMPLE",
        ),
        **changes,
    )


def a_refund(charge_uri: str, amount: int = 1000) -> Submission:
    transaction = guid("TX")
    return Submission(
        type=REFUND,
        key=f"{transaction}-1",
        transaction_guid=transaction,
        invoice_guid=guid("IV"),
        customer_uri=None,
        amount=amount,
        funding_instrument_uri=None,
        charge_uri=charge_uri,
        appears_on_statement_as=None,
    )


def a_charge_made(harness: Harness, kind: Kind = Kind.SUCCEEDS, **changes: Any) -> str:
    uri = harness.company.submit(a_charge(harness, kind, **changes)).processor_uri
    if harness.yes is ReceiptStatus.PENDING and kind is not Kind.PENDING:
        harness.event(uri, ReceiptStatus.SUCCEEDED)
    return uri


def hanging(harness: Harness) -> AbstractContextManager[None]:
    block = harness.hanging()
    if block is None:
        pytest.skip("this adapter waits for no answer")
    return block


def without_idempotency(harness: Harness) -> Harness:
    other = harness.without_idempotency()
    if other is None:
        pytest.skip("this processor has one record for a key, whatever happens")
    return other


def require_callbacks(harness: Harness) -> None:
    if not harness.calls_back:
        pytest.skip("this processor has no callbacks; Billy asks about what is pending")


def next_try(submission: Submission) -> Submission:
    stem, _, number = submission.key.rpartition("-")
    return replace(submission, key=f"{stem}-{int(number) + 1}")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run the calls in threads that start together; what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # the test looks at it
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


# --- each row of the table ---


@pytest.mark.parametrize("type", [DEBIT, CREDIT])
def test_a_yes_is_a_receipt_and_one_record(harness: Harness, type: SubmissionType) -> None:
    submission = a_charge(harness, type=type)
    receipt = harness.company.submit(submission)
    assert receipt.status is harness.yes
    assert harness.moved(submission) == 1


def test_an_answer_that_comes_later_is_a_pending_receipt(harness: Harness) -> None:
    submission = a_charge(harness, Kind.PENDING)
    assert harness.company.submit(submission).status is ReceiptStatus.PENDING
    assert harness.moved(submission) == 1


def test_a_record_that_failed_is_a_receipt_that_says_why(harness: Harness) -> None:
    submission = a_charge(harness, Kind.FAILS)
    receipt = harness.company.submit(submission)
    assert receipt.status is ReceiptStatus.FAILED
    assert receipt.message
    assert receipt.code
    assert harness.moved(submission) == 0


@pytest.mark.parametrize(("kind", "hard"), [(Kind.DECLINED, False), (Kind.STOLEN, True)])
def test_a_refusal_says_why_and_whether_to_ask_again(harness: Harness, kind: Kind, hard: bool) -> None:
    submission = a_charge(harness, kind)
    with pytest.raises(Refused) as refused:
        harness.company.submit(submission)
    assert refused.value.hard is hard
    assert refused.value.code
    assert str(refused.value)
    assert harness.moved(submission) == 0


@pytest.mark.parametrize("kind", [Kind.DECLINED, Kind.STOLEN])
def test_looking_up_what_was_refused_says_so_or_finds_nothing(harness: Harness, kind: Kind) -> None:
    submission = a_charge(harness, kind)
    with pytest.raises(Refused) as refused:
        harness.company.submit(submission)
    try:
        assert harness.company.look_up(submission) is None
    except Refused as found:  # some processors keep a record of it
        assert (found.code, found.hard) == (refused.value.code, refused.value.hard)


def test_a_try_with_a_new_key_reaches_the_bank_again(harness: Harness) -> None:
    first = a_charge(harness, Kind.DECLINED_TWICE)
    second = next_try(first)
    third = next_try(second)
    for submission in (first, second):
        with pytest.raises(Refused) as refused:
            harness.company.submit(submission)
        assert not refused.value.hard
    assert harness.company.submit(third).status is ReceiptStatus.SUCCEEDED
    assert [harness.moved(submission) for submission in (first, second, third)] == [0, 0, 1]


def test_a_processor_that_was_not_reached_is_unavailable(harness: Harness) -> None:
    submission = a_charge(harness, Kind.UNREACHABLE)
    with pytest.raises(Unavailable):
        harness.company.submit(submission)
    assert harness.moved(submission) == 0


def test_a_processor_that_asks_to_slow_down_is_unavailable_for_as_long_as_it_says(harness: Harness) -> None:
    submission = a_charge(harness, Kind.SLOW_DOWN)
    with pytest.raises(Unavailable) as unavailable:
        harness.company.submit(submission)
    assert unavailable.value.retry_after is not None
    assert unavailable.value.retry_after > 0
    assert harness.moved(submission) == 0


def test_an_answer_lost_after_the_charge_is_an_unknown_outcome_that_a_look_up_ends(harness: Harness) -> None:
    submission = a_charge(harness, Kind.LOST_AFTER)
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(submission)
    found = harness.company.look_up(submission)
    assert found is not None
    assert found.status is ReceiptStatus.SUCCEEDED
    assert harness.kept(found.processor_uri).key == submission.key
    assert harness.moved(submission) == 1


def test_a_request_lost_before_the_charge_is_an_unknown_outcome_without_a_record(harness: Harness) -> None:
    submission = a_charge(harness, Kind.LOST_BEFORE)
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(submission)
    assert harness.moved(submission) == 0
    assert harness.company.look_up(submission) is None


def test_a_lost_request_can_be_sent_again(harness: Harness) -> None:
    submission = a_charge(harness, Kind.LOST_BEFORE)
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(submission)
    assert harness.company.submit(submission).status is ReceiptStatus.SUCCEEDED
    assert harness.moved(submission) == 1


def test_an_answer_past_the_deadline_is_an_unknown_outcome_at_the_deadline(harness: Harness) -> None:
    submission = a_charge(harness, Kind.TOO_SLOW)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(submission)
    assert time.monotonic() - started < harness.call_deadline + SLACK
    assert harness.company.look_up(submission) is not None
    assert harness.moved(submission) == 1


# --- every call ---

Call = Callable[[Harness, Processor, Submission], object]

CALLS: dict[str, Call] = {
    "create_customer": lambda harness, processor, submission: processor.create_customer(guid("CU")),
    "validate_customer": lambda harness, processor, submission: processor.validate_customer(
        submission.customer_uri or ""
    ),
    "validate_funding_instrument": lambda harness, processor, submission: processor.validate_funding_instrument(
        submission.funding_instrument_uri or "", DEBIT, submission.customer_uri or ""
    ),
    "submit": lambda harness, processor, submission: processor.submit(submission),
    "look_up": lambda harness, processor, submission: processor.look_up(submission),
    "find_records": lambda harness, processor, submission: processor.find_records(submission, None),
    "register_callback": lambda harness, processor, submission: processor.register_callback("https://example.com/cb"),
}

every_call = pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS.items()])


@every_call
def test_a_revoked_key_is_misconfigured(harness: Harness, call: Call) -> None:
    submission = a_charge(harness)
    with pytest.raises(Misconfigured):
        call(harness, harness.revoked, submission)
    assert harness.moved(submission) == 0


@every_call
def test_a_call_to_a_processor_that_is_down_says_so(harness: Harness, call: Call) -> None:
    submission = a_charge(harness)
    with harness.down(), pytest.raises(Unavailable):
        call(harness, harness.company, submission)
    assert harness.moved(submission) == 0


def test_a_callback_that_cannot_be_verified_now_is_not_refused(harness: Harness) -> None:
    require_callbacks(harness)
    event = harness.event(a_charge_made(harness, Kind.PENDING), ReceiptStatus.SUCCEEDED)
    with harness.down(), pytest.raises(Unavailable):
        harness.company.read_callback(*event)
    assert harness.company.read_callback(*event) is not None


@every_call
def test_a_call_to_a_processor_that_hangs_ends_at_the_deadline(harness: Harness, call: Call) -> None:
    submission = a_charge(harness)
    error: ProcessorError | None = None
    with hanging(harness):
        started = time.monotonic()
        try:
            call(harness, harness.company, submission)
        except (Unavailable, OutcomeUnknown) as raised:
            error = raised
        took = time.monotonic() - started
    assert took < harness.call_deadline + SLACK
    if isinstance(error, Unavailable):
        assert harness.moved(submission) == 0


def test_a_hanging_processor_does_not_say_yes(harness: Harness) -> None:
    submission = a_charge(harness)
    with hanging(harness), pytest.raises((Unavailable, OutcomeUnknown)):
        harness.company.submit(submission)


@pytest.mark.parametrize(
    "kind", [Kind.DECLINED, Kind.STOLEN, Kind.UNREACHABLE, Kind.SLOW_DOWN, Kind.LOST_AFTER, Kind.LOST_BEFORE]
)
def test_errors_tell_no_processor_key(harness: Harness, kind: Kind) -> None:
    submission = a_charge(harness, kind)
    with pytest.raises(ProcessorError) as raised:
        harness.company.submit(submission)
    assert harness.secret not in f"{raised.value} {raised.value!r} {vars(raised.value)}"


def test_the_adapter_shows_no_processor_key(harness: Harness) -> None:
    assert harness.secret not in repr(harness.company)


# --- submit ---


def test_the_record_keeps_amount_statement_and_origin(harness: Harness) -> None:
    submission = a_charge(harness, amount=1234, appears_on_statement_as="ACME & SONS #7")
    kept = harness.kept(harness.company.submit(submission).processor_uri)
    assert kept.amount == 1234
    assert kept.key == submission.key
    assert kept.transaction_guid == submission.transaction_guid
    assert kept.appears_on_statement_as == "ACME & SONS #7"
    assert kept.description == submission.description


def test_a_charge_needs_no_statement_text(harness: Harness) -> None:
    uri = a_charge_made(harness, appears_on_statement_as=None)
    assert harness.kept(uri).appears_on_statement_as is None


def test_a_large_amount_arrives_to_the_cent(harness: Harness) -> None:
    uri = a_charge_made(harness, amount=99_999_999)
    assert harness.kept(uri).amount == 99_999_999


def test_a_repeated_key_makes_one_record(harness: Harness) -> None:
    if not harness.idempotent:
        pytest.skip("this processor has no idempotency; Billy looks up before it sends again")
    submission = a_charge(harness)
    receipts = {harness.company.submit(submission) for _ in range(3)}
    assert len(receipts) == 1
    assert harness.moved(submission) == 1


def test_a_repeated_key_brings_the_answer_that_was_lost(harness: Harness) -> None:
    if not harness.idempotent:
        pytest.skip("this processor has no idempotency; Billy looks up before it sends again")
    submission = a_charge(harness, Kind.LOST_AFTER)
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(submission)
    assert harness.company.submit(submission) == harness.company.look_up(submission)
    assert harness.moved(submission) == 1


def test_a_repeated_key_from_eight_threads_makes_one_record(harness: Harness) -> None:
    if not harness.idempotent:
        pytest.skip("this processor has no idempotency; Billy looks up before it sends again")
    submission = a_charge(harness)
    answers = at_once([lambda: harness.company.submit(submission)] * 8)
    receipts = {answer for answer in answers if isinstance(answer, Receipt)}
    assert len(receipts) == 1
    # A processor may turn away a key that it is working on, but not refuse it.
    others = [answer for answer in answers if not isinstance(answer, Receipt)]
    assert all(isinstance(answer, Unavailable | OutcomeUnknown) for answer in others), others
    assert harness.moved(submission) == 1


def test_a_repeated_key_with_another_amount_moves_nothing_and_denies_nothing(harness: Harness) -> None:
    if not harness.idempotent:
        pytest.skip("this processor has no idempotency; Billy looks up before it sends again")
    submission = a_charge(harness)
    harness.company.submit(submission)
    with pytest.raises(Exception) as raised:
        harness.company.submit(replace(submission, amount=2000))
    # These two would say that no money moved under this key.
    assert not isinstance(raised.value, Refused | Unavailable)
    assert harness.moved(submission) == 1


def test_different_keys_make_different_records(harness: Harness) -> None:
    submission = a_charge(harness)
    receipts = [harness.company.submit(submission), harness.company.submit(next_try(submission))]
    assert receipts[0].processor_uri != receipts[1].processor_uri


def test_one_key_of_two_companies_makes_two_records(harness: Harness) -> None:
    submission = a_charge(harness)
    theirs = replace(
        submission,
        customer_uri=harness.other.create_customer(guid("CU")),
        funding_instrument_uri=harness.their_instrument(),
    )
    receipts = [harness.company.submit(submission), harness.other.submit(theirs)]
    assert receipts[0].processor_uri != receipts[1].processor_uri


def test_eight_threads_share_an_adapter(harness: Harness) -> None:
    batches = [[a_charge(harness, amount=100 + 10 * thread + n) for n in range(5)] for thread in range(8)]

    def submit(batch: list[Submission]) -> list[Receipt]:
        return [harness.company.submit(submission) for submission in batch]

    answers = at_once([partial(submit, batch) for batch in batches])
    for batch, receipts in zip(batches, answers, strict=True):
        assert isinstance(receipts, list), receipts
        for submission, receipt in zip(batch, receipts, strict=True):
            kept = harness.kept(receipt.processor_uri)
            assert (kept.key, kept.amount) == (submission.key, submission.amount)
            assert harness.moved(submission) == 1


def test_without_idempotency_a_repeated_key_is_a_double_charge_that_shows(harness: Harness) -> None:
    harness = without_idempotency(harness)
    submission = a_charge(harness)
    receipts = {harness.company.submit(submission) for _ in range(2)}
    assert len(receipts) == 2
    assert harness.moved(submission) == 2


@pytest.mark.parametrize("kind", [Kind.UNKNOWN, Kind.DEBIT_ONLY])
def test_an_instrument_that_cannot_be_credited_is_refused_for_good(harness: Harness, kind: Kind) -> None:
    submission = a_charge(harness, kind, CREDIT)
    with pytest.raises(Refused) as refused:
        harness.company.submit(submission)
    assert refused.value.hard
    assert harness.moved(submission) == 0


def test_another_companys_customer_cannot_be_charged(harness: Harness) -> None:
    """Billy validates each instrument with its customer before it submits anything to it."""
    customer, uri = harness.other.create_customer(guid("CU")), instrument(harness, Kind.SUCCEEDS)
    submission = a_charge(harness, customer_uri=customer, funding_instrument_uri=uri)
    with pytest.raises((InvalidFundingInstrument, Refused)):
        harness.company.validate_funding_instrument(uri, DEBIT, customer)
        harness.company.submit(submission)
    assert harness.moved(submission) == 0


# --- refunds ---


def test_a_refund_gives_money_back(harness: Harness) -> None:
    refund = a_refund(a_charge_made(harness), 400)
    receipt = harness.company.submit(refund)
    assert receipt.status is harness.yes
    assert harness.kept(receipt.processor_uri).amount == 400
    assert harness.moved(refund) == 1


def test_refunds_may_use_up_a_charge_but_no_cent_more(harness: Harness) -> None:
    charge = a_charge_made(harness, amount=1000)
    harness.company.submit(a_refund(charge, 600))
    too_much = a_refund(charge, 401)
    with pytest.raises(Refused) as refused:
        harness.company.submit(too_much)
    assert refused.value.hard
    assert harness.moved(too_much) == 0
    harness.company.submit(a_refund(charge, 400))
    with pytest.raises(Refused):
        harness.company.submit(a_refund(charge, 1))


def test_a_pending_refund_counts(harness: Harness) -> None:
    charge = a_charge_made(harness, Kind.REFUND_PENDING, amount=1000)
    assert harness.company.submit(a_refund(charge, 600)).status is ReceiptStatus.PENDING
    with pytest.raises(Refused):
        harness.company.submit(a_refund(charge, 600))


def test_a_refund_that_failed_does_not_count(harness: Harness) -> None:
    charge = a_charge_made(harness, Kind.REFUND_PENDING, amount=1000)
    first = harness.company.submit(a_refund(charge, 1000))
    harness.event(first.processor_uri, ReceiptStatus.FAILED)
    second = a_refund(charge, 1000)
    harness.company.submit(second)
    assert harness.moved(second) == 1


def test_refunds_from_eight_threads_do_not_exceed_the_charge(harness: Harness) -> None:
    charge = a_charge_made(harness, amount=1000)
    refunds = [a_refund(charge, 300) for _ in range(8)]
    answers = at_once([partial(harness.company.submit, refund) for refund in refunds])
    assert sum(harness.moved(refund) for refund in refunds) == 3
    assert sum(isinstance(answer, Receipt) for answer in answers) == 3
    assert sum(isinstance(answer, Refused) and answer.hard for answer in answers) == 5


def test_a_refund_whose_answer_is_lost_is_looked_up_like_a_charge(harness: Harness) -> None:
    refund = a_refund(a_charge_made(harness, Kind.REFUND_LOST))
    with pytest.raises(OutcomeUnknown):
        harness.company.submit(refund)
    found = harness.company.look_up(refund)
    assert found is not None
    assert harness.kept(found.processor_uri).transaction_guid == refund.transaction_guid
    assert harness.moved(refund) == 1


@pytest.mark.parametrize("kind", [Kind.PENDING, Kind.FAILS])
def test_a_charge_that_did_not_succeed_cannot_be_refunded(harness: Harness, kind: Kind) -> None:
    refund = a_refund(a_charge_made(harness, kind))
    with pytest.raises(Refused) as refused:
        harness.company.submit(refund)
    assert refused.value.hard
    assert harness.moved(refund) == 0


def test_a_credit_cannot_be_refunded(harness: Harness) -> None:
    credit = harness.company.submit(a_charge(harness, type=CREDIT))
    with pytest.raises(Refused) as refused:
        harness.company.submit(a_refund(credit.processor_uri))
    assert refused.value.hard


def test_another_companys_charge_cannot_be_refunded(harness: Harness) -> None:
    charge = a_charge_made(harness)
    theirs = a_refund(charge)
    with pytest.raises(Refused) as refused:
        harness.other.submit(theirs)
    assert refused.value.hard
    assert harness.moved(theirs) == 0
    assert harness.company.submit(a_refund(charge)).status is harness.yes


# --- look_up ---


def test_looking_up_finds_what_was_submitted(harness: Harness) -> None:
    submission = a_charge(harness)
    assert harness.company.submit(submission) == harness.company.look_up(submission)


def test_looking_up_what_was_never_sent_finds_nothing_and_sends_nothing(harness: Harness) -> None:
    submission = a_charge(harness)
    assert harness.company.look_up(submission) is None
    assert harness.moved(submission) == 0


def test_looking_up_changes_nothing(harness: Harness) -> None:
    submission = a_charge(harness, Kind.PENDING)
    harness.company.submit(submission)
    receipts = {harness.company.look_up(submission) for _ in range(3)}
    assert len(receipts) == 1
    assert harness.moved(submission) == 1


def test_looking_up_goes_by_the_key_not_by_the_transaction(harness: Harness) -> None:
    submission = a_charge(harness)
    harness.company.submit(submission)
    assert harness.company.look_up(next_try(submission)) is None


def test_looking_up_tells_where_the_record_stands_now(harness: Harness) -> None:
    submission = a_charge(harness, Kind.PENDING)
    receipt = harness.company.submit(submission)
    harness.event(receipt.processor_uri, ReceiptStatus.FAILED)
    found = harness.company.look_up(submission)
    assert found is not None
    assert found.status is ReceiptStatus.FAILED
    assert found.processor_uri == receipt.processor_uri


def test_looking_up_prefers_a_record_that_did_not_fail(harness: Harness) -> None:
    harness = without_idempotency(harness)
    submission = a_charge(harness, Kind.PENDING)
    first = harness.company.submit(submission)
    second = harness.company.submit(submission)
    third = harness.company.submit(submission)
    harness.event(first.processor_uri, ReceiptStatus.FAILED)
    harness.event(third.processor_uri, ReceiptStatus.FAILED)
    assert harness.company.look_up(submission) == second


def test_another_companys_record_is_not_found(harness: Harness) -> None:
    submission = a_charge(harness)
    harness.company.submit(submission)
    assert harness.other.look_up(submission) is None


# --- customers and instruments ---


def test_a_customer_guid_names_one_customer(harness: Harness) -> None:
    customer = guid("CU")
    uris = {harness.company.create_customer(customer) for _ in range(3)}
    assert len(uris) == 1
    assert harness.company.create_customer(guid("CU")) not in uris


def test_a_customer_who_is_certainly_new_is_found_later(harness: Harness) -> None:
    customer = guid("CU")
    uri = harness.company.create_customer(customer, is_first_try=True)
    assert harness.company.create_customer(customer) == uri


def test_a_customer_guid_names_one_customer_for_eight_threads(harness: Harness) -> None:
    customer = guid("CU")
    answers = at_once([lambda: harness.company.create_customer(customer)] * 8)
    assert len({answer for answer in answers if isinstance(answer, str)}) == 1
    assert harness.company.create_customer(customer) in answers


def test_a_customer_that_was_made_is_valid(harness: Harness) -> None:
    harness.company.validate_customer(harness.company.create_customer(guid("CU")))


def test_another_companys_customer_is_not_valid(harness: Harness) -> None:
    customer = guid("CU")
    theirs = harness.other.create_customer(customer)
    assert harness.company.create_customer(customer) != theirs
    with pytest.raises(InvalidCustomer):
        harness.company.validate_customer(theirs)


def test_a_customer_that_does_not_exist_is_not_valid(harness: Harness) -> None:
    with pytest.raises(InvalidCustomer):
        harness.company.validate_customer(harness.unknown_customer)


UNREADABLE = ["", " ", "https://example.com/customers/CU1", "/a b", "/a\n", "/\x00", "/\ud800"]


@pytest.mark.parametrize("uri", UNREADABLE, ids=ascii)
def test_what_is_no_uri_is_no_customer(harness: Harness, uri: str) -> None:
    with pytest.raises(InvalidURIFormat):
        harness.company.validate_customer(uri)


@pytest.mark.parametrize("uri", UNREADABLE, ids=ascii)
def test_what_is_no_uri_is_no_instrument(harness: Harness, uri: str) -> None:
    customer = harness.company.create_customer(guid("CU"))
    with pytest.raises(InvalidURIFormat):
        harness.company.validate_funding_instrument(uri, DEBIT, customer)


@pytest.mark.parametrize("purpose", [DEBIT, CREDIT])
def test_an_instrument_that_succeeds_is_valid_and_stays_so(harness: Harness, purpose: SubmissionType) -> None:
    customer, uri = harness.company.create_customer(guid("CU")), instrument(harness, Kind.SUCCEEDS, purpose)
    for _ in range(2):
        harness.company.validate_funding_instrument(uri, purpose, customer)
    submission = a_charge(harness, type=purpose, customer_uri=customer, funding_instrument_uri=uri)
    assert harness.company.submit(submission).status is harness.yes


@pytest.mark.parametrize("purpose", [DEBIT, CREDIT])
def test_an_instrument_that_does_not_exist_is_not_valid(harness: Harness, purpose: SubmissionType) -> None:
    customer = harness.company.create_customer(guid("CU"))
    with pytest.raises(InvalidFundingInstrument):
        harness.company.validate_funding_instrument(instrument(harness, Kind.UNKNOWN, purpose), purpose, customer)


@pytest.mark.parametrize("purpose", [DEBIT, CREDIT])
def test_an_instrument_is_not_valid_for_a_customer_who_does_not_exist(
    harness: Harness, purpose: SubmissionType
) -> None:
    uri = instrument(harness, Kind.SUCCEEDS, purpose)
    with pytest.raises(InvalidFundingInstrument):
        harness.company.validate_funding_instrument(uri, purpose, harness.unknown_customer)


def test_an_instrument_is_valid_for_what_it_can_do(harness: Harness) -> None:
    customer, uri = harness.company.create_customer(guid("CU")), instrument(harness, Kind.DEBIT_ONLY)
    harness.company.validate_funding_instrument(uri, DEBIT, customer)
    with pytest.raises(InvalidFundingInstrument):
        harness.company.validate_funding_instrument(uri, CREDIT, customer)


# --- find_records ---


def test_the_records_of_what_was_never_sent_are_none(harness: Harness) -> None:
    assert list(harness.company.find_records(a_charge(harness), None)) == []


def test_the_records_tell_amount_and_where_they_stand_now(harness: Harness) -> None:
    submission = a_charge(harness, Kind.PENDING, amount=1234)
    receipt = harness.company.submit(submission)
    harness.event(receipt.processor_uri, ReceiptStatus.SUCCEEDED)
    [record] = harness.company.find_records(submission, receipt.processor_uri)
    assert record == Record(Receipt(receipt.processor_uri, ReceiptStatus.SUCCEEDED), 1234)


def test_a_double_charge_is_two_records_the_oldest_first(harness: Harness) -> None:
    harness = without_idempotency(harness)
    submission = a_charge(harness)
    uris = [harness.company.submit(submission).processor_uri for _ in range(2)]
    records = harness.company.find_records(submission, uris[1])
    assert [record.receipt.processor_uri for record in records] == uris


def test_a_record_is_found_by_its_uri_alone(harness: Harness) -> None:
    made = harness.company.submit(a_charge(harness, amount=700))
    [record] = harness.company.find_records(a_charge(harness), made.processor_uri)
    assert record == Record(made, 700)


def test_another_companys_records_are_not_found(harness: Harness) -> None:
    submission = a_charge(harness)
    made = harness.company.submit(submission)
    assert list(harness.other.find_records(submission, made.processor_uri)) == []


def test_a_refund_has_records_too(harness: Harness) -> None:
    refund = a_refund(a_charge_made(harness), 400)
    made = harness.company.submit(refund)
    assert list(harness.company.find_records(refund, made.processor_uri)) == [Record(made, 400)]


# --- callbacks ---


def test_a_callback_tells_which_transaction_ended_how(harness: Harness) -> None:
    require_callbacks(harness)
    submission = a_charge(harness, Kind.PENDING)
    receipt = harness.company.submit(submission)
    callback = harness.company.read_callback(*harness.event(receipt.processor_uri, ReceiptStatus.SUCCEEDED))
    assert callback is not None
    assert callback.transaction_guid == submission.transaction_guid
    assert callback.receipt == Receipt(receipt.processor_uri, ReceiptStatus.SUCCEEDED)
    assert callback.event_id
    assert abs(callback.occurred_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_bank_may_take_a_success_back(harness: Harness) -> None:
    require_callbacks(harness)
    if not harness.takes_back:
        pytest.skip("this processor tells of a success that was taken back as a dispute")
    charge = a_charge_made(harness)
    callback = harness.company.read_callback(*harness.event(charge, ReceiptStatus.FAILED))
    assert callback is not None
    assert callback.receipt.status is ReceiptStatus.FAILED
    assert callback.receipt.message


def test_an_old_callback_tells_where_the_record_stands_now(harness: Harness) -> None:
    require_callbacks(harness)
    if not harness.takes_back:
        pytest.skip("this processor tells of a success that was taken back as a dispute")
    charge = a_charge_made(harness, Kind.PENDING)
    old = harness.event(charge, ReceiptStatus.SUCCEEDED)
    harness.event(charge, ReceiptStatus.FAILED)
    callback = harness.company.read_callback(*old)
    assert callback is not None
    assert callback.receipt.status is ReceiptStatus.FAILED


def test_a_redelivered_callback_has_the_same_id_and_another_event_has_another(harness: Harness) -> None:
    require_callbacks(harness)
    if not harness.takes_back:
        pytest.skip("this processor tells of a success that was taken back as a dispute")
    charge = a_charge_made(harness, Kind.PENDING)
    first = harness.event(charge, ReceiptStatus.SUCCEEDED)
    second = harness.event(charge, ReceiptStatus.FAILED)
    callbacks = [harness.company.read_callback(*event) for event in (first, first, second)]
    ids = [callback.event_id for callback in callbacks if callback is not None]
    assert ids[0] == ids[1] != ids[2]


def test_a_callback_about_something_else_means_nothing(harness: Harness) -> None:
    require_callbacks(harness)
    assert harness.company.read_callback(*harness.event_about_something_else()) is None


def test_another_companys_callback_is_refused(harness: Harness) -> None:
    require_callbacks(harness)
    event = harness.event(a_charge_made(harness, Kind.PENDING), ReceiptStatus.SUCCEEDED)
    with pytest.raises(InvalidCallbackPayload):
        harness.other.read_callback(*event)


def test_a_forged_callback_is_refused(harness: Harness) -> None:
    require_callbacks(harness)
    body, headers = harness.event(a_charge_made(harness, Kind.PENDING), ReceiptStatus.SUCCEEDED)
    event_id = harness.event_id(body)
    forged = body.replace(event_id.encode(), event_id[::-1].encode())
    assert forged != body
    with pytest.raises(InvalidCallbackPayload):
        harness.company.read_callback(forged, headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"EV1"',
        b"{}",
        b'{"id": null}',
        b'{"id": 7}',
        b'{"id": ["EV1"]}',
        b'{"id": ""}',
        b'{"id": "\\ud800"}',
        b'{"id": "\\u0000"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_malformed_callback_is_refused(harness: Harness, body: bytes) -> None:
    _, headers = harness.event_about_something_else()
    with pytest.raises(InvalidCallbackPayload):
        harness.company.read_callback(body, headers)


def test_a_callback_url_is_registered_once(harness: Harness) -> None:
    require_callbacks(harness)
    for _ in range(2):
        harness.company.register_callback("https://example.com/callbacks/secret")
    harness.other.register_callback("https://example.com/callbacks/other")
    assert harness.callback_urls() == ["https://example.com/callbacks/secret"]
