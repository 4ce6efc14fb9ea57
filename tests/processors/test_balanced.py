"""What is Balanced's own: its URIs, envelopes and codes, what is asked of it in which order, and what is never told."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from billy import clock
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
from billy.processors.balanced import Balanced, BalancedOptions, BalancedProcessor
from billy.processors.balanced_codes import REFUSALS
from billy.processors.base import Receipt, ReceiptStatus, Submission, SubmissionType
from tests.processors.harness import BalancedHarness
from tests.processors.test_contract import at_once
from tests.processors.wire import Act, Wire, drip, raw, say

DEBIT, CREDIT, REFUND = SubmissionType.DEBIT, SubmissionType.CREDIT, SubmissionType.REFUND

KEY = "ak-test-do-not-tell"
CUSTOMER, CARD = "/customers/CUaaaaaaaaaaaaaaaaaaaaaa", "/cards/CCaaaaaaaaaaaaaaaaaaaaaa"
BANK_ACCOUNT, DEBIT_URI = "/bank_accounts/BAaaaaaaaaaaaaaaaaaaaaaa", "/debits/WDaaaaaaaaaaaaaaaaaaaaaa"

CHARGE = Submission(
    type=DEBIT,
    key="SU1/20260101T000000.000000Z/1-1",
    transaction_guid="TX1",
    invoice_guid="IV1",
    customer_uri=CUSTOMER,
    amount=1000,
    funding_instrument_uri=CARD,
    charge_uri=None,
    appears_on_statement_as="BILLY.EXAMPLE",
)


@pytest.fixture
def harness() -> Iterator[BalancedHarness]:
    """The adapter with the simulator behind it."""
    harness = BalancedHarness()
    yield harness
    harness.close()


@contextmanager
def speaking_to(*acts: Act, seconds: float = 5) -> Iterator[tuple[BalancedProcessor, Wire]]:
    """The adapter with a scripted server behind it."""
    with Wire.open(*acts) as wire:
        balanced = Balanced(BalancedOptions(base_url=wire.url), call_deadline=seconds)
        yield balanced(KEY), wire
        balanced.http.close()


def a_debit(**fields: Any) -> dict[str, Any]:
    """As the service tells it."""
    debit = {
        "id": "WDaaaaaaaaaaaaaaaaaaaaaa",
        "href": DEBIT_URI,
        "status": "succeeded",
        "amount": 1000,
        "created_at": "2015-01-12T22:43:36.866661Z",
        "meta": {"billy.transaction_guid": "TX1", "billy.submission_key": CHARGE.key},
        "failure_reason": None,
        "failure_reason_code": None,
        "links": {},
    }
    return {**debit, **fields}


def made(**fields: Any) -> dict[str, Any]:
    return {"debits": [a_debit(**fields)], "links": {}}


def an_error(code: str, description: str = "No. Your request id is OHM1.", **others: Any) -> dict[str, Any]:
    error = {"status": "…", "category_code": code, "description": description, "request_id": "OHM1"}
    return {"errors": [error], **others}


def requests_of(harness: BalancedHarness) -> list[str]:
    """What the service was asked since the last time, without ids."""
    told = [f"{each.method} {each.path}" for each in harness.simulator.requests()]
    harness.simulator.forget_requests()
    return [re.sub("[A-Z]{2}[0-9A-Za-z]{16,}", "…", line) for line in told]


# --- what an answer means ---

LOST: dict[str, Act] = {
    **{f"{status}": say(status, an_error("internal-server-error")) for status in (500, 502, 503, 504)},
    "503 of a proxy": say(503, b"<html>", {"Retry-After": "30"}),
    "405": say(405, an_error("method-not-allowed")),
    "408": say(408, an_error("request-timeout")),
    "a redirect": say(303, b"", {"Location": DEBIT_URI}),
    "no JSON": say(201, b"<html>"),
    "half of the JSON": say(201, json.dumps(made()).encode()[:-20]),
    "a list": say(201, b"[]"),
    "nothing": say(201, b""),
    "no resource": say(201, {"links": {}}),
    "another resource": say(201, {"orders": [{"href": "/orders/ORaaaaaaaaaaaaaaaaaaaaaa"}], "links": {}}),
    "two resources": say(201, {"debits": [a_debit(), a_debit()], "links": {}}),
    "a resource without a place": say(201, made(href=None)),
    "a resource at another kind's place": say(201, made(href=CARD)),
    "a resource at another host": say(201, made(href=f"https://evil.example{DEBIT_URI}")),
    "a resource up the path": say(201, made(href="/debits/../cards/CCaaaaaaaaaaaaaaaaaaaaaa")),
    "half a head": raw(b"HTTP/1.1 201 Created\r\nContent-Le"),
    "402 without a code": say(402, {"errors": [{}]}),
    "402 of a proxy": say(402, b"Pay me"),
    "404 without a word": say(404, b""),
}

lost = pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in LOST.items()])


@lost
def test_an_answer_that_says_nothing_leaves_a_charge_in_doubt(act: Act) -> None:
    with speaking_to(act) as (processor, wire), pytest.raises(OutcomeUnknown):
        processor.submit(CHARGE)
    assert len(wire.requests) == 1


QUESTIONS = {
    "a customer": partial(BalancedProcessor.validate_customer, uri=CUSTOMER),
    "an instrument": partial(
        BalancedProcessor.validate_funding_instrument, uri=CARD, purpose=DEBIT, customer_uri=CUSTOMER
    ),
    "an event": partial(BalancedProcessor.read_callback, body=b'{"id": "EV00000000000000000000"}', headers={}),
    "a new customer": partial(BalancedProcessor.create_customer, customer_guid="CU1", is_first_try=True),
    "a callback": partial(BalancedProcessor.register_callback, url="https://example.com"),
    "a submission": partial(BalancedProcessor.look_up, submission=CHARGE),
    "records": partial(BalancedProcessor.find_records, submission=CHARGE, processor_uri=DEBIT_URI),
}
ABOUT_MANY = {"a submission", "records"}
"""Several are as good an answer to these as none."""


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("answer", LOST)
def test_an_answer_that_says_nothing_to_a_question_is_asked_for_again(answer: str, question: str) -> None:
    if question in ABOUT_MANY and answer in ("no resource", "another resource", "two resources"):
        pytest.skip("a page may have any number, and an empty one need not name its kind")
    with speaking_to(LOST[answer]) as (processor, _), pytest.raises(Unavailable) as raised:
        QUESTIONS[question](processor)
    assert type(raised.value) is Unavailable, "its name is told to callers"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [an_error("authentication-required"), b"<html>"], ids=["its own", "a proxy's"])
def test_a_refused_key_is_misconfigured(status: int, body: Any) -> None:
    with speaking_to(say(status, body)) as (processor, _):
        for call in (partial(processor.submit, CHARGE), partial(processor.look_up, CHARGE)):
            with pytest.raises(Misconfigured):
                call()


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("30", 30, 30),
        (format_datetime(clock.utc_now() + timedelta(days=3650), usegmt=True), 86_400, 86_400),
        (format_datetime(clock.utc_now() - timedelta(hours=1), usegmt=True), 0, 0),
        ("999999999999", 86_400, 86_400),
        ("-5", None, None),
        ("soon", None, None),
        ("٣", None, None),
        ("", None, None),
        (None, None, None),
    ],
    ids=["seconds", "a far date", "a past date", "eons", "negative", "words", "other digits", "nothing", "absent"],
)
def test_who_asks_to_slow_down_is_given_the_time(retry_after: str | None, least: float, most: float) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after.encode().decode("latin-1")}
    act = raw(
        b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n"
        + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())
        + b"\r\n"
    )
    with speaking_to(act) as (processor, _), pytest.raises(Unavailable) as raised:
        processor.submit(CHARGE)
    pause = raised.value.retry_after
    assert pause is None if least is None else pause is not None and least <= pause <= most


def test_a_date_in_retry_after_counts_from_now() -> None:
    at = format_datetime(clock.utc_now() + timedelta(seconds=60), usegmt=True)
    with speaking_to(say(429, b"", {"Retry-After": at})) as (processor, _), pytest.raises(Unavailable) as raised:
        processor.submit(CHARGE)
    assert 50 < (raised.value.retry_after or 0) <= 60


@pytest.mark.parametrize("status", [400, 402, 404, 409])
@pytest.mark.parametrize("refusal", [*REFUSALS], ids=lambda refusal: refusal.code)
def test_a_refusal_is_soft_or_hard_as_the_table_says(refusal: Any, status: int) -> None:
    with speaking_to(say(status, an_error(refusal.code))) as (processor, _), pytest.raises(Refused) as raised:
        processor.submit(CHARGE)
    error = raised.value
    assert (error.code, error.number, error.hard) == (refusal.code, status, refusal.hard)
    assert str(error) == "No. Your request id is OHM1."


def test_a_code_that_is_not_in_the_table_is_soft() -> None:
    assert not REFUSALS.is_hard("a-code-of-2027")


def test_the_documents_table_is_the_codes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "processors.md").read_text()
    assert REFUSALS.markdown() in text, "print it again: python -m billy.processors.balanced_codes"


def test_the_documents_settings_are_the_codes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "processors.md").read_text()
    documented = re.findall(r"^\| `billy\.balanced\.(\w+)` \| (.*?) \|", text, re.MULTILINE)
    options = BalancedOptions().model_dump()
    assert [name for name, _ in documented] == list(options)
    for name, default in documented:
        if name != "user_agent":  # it names Billy's version
            assert default.strip("`") == f"{options[name]}"


def test_each_code_is_in_the_table_once() -> None:
    codes = [refusal.code for refusal in REFUSALS]
    assert len(codes) == len(set(codes))


RECORDED = made(status="failed", failure_reason_code="card-declined")


@pytest.mark.parametrize("others", [{}, RECORDED], ids=["alone", "recorded"])
def test_a_refusal_is_one_whether_or_not_it_left_a_record(others: dict[str, Any]) -> None:
    with speaking_to(say(402, an_error("card-declined", **others))) as (processor, _), pytest.raises(Refused):
        processor.submit(CHARGE)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("pending", ReceiptStatus.PENDING),
        ("succeeded", ReceiptStatus.SUCCEEDED),
        ("paid", ReceiptStatus.SUCCEEDED),
        ("failed", ReceiptStatus.FAILED),
        ("reversed", ReceiptStatus.FAILED),
        ("a word of 2027", ReceiptStatus.PENDING),
        (None, ReceiptStatus.PENDING),
    ],
)
def test_the_words_of_both_revisions_are_known(told: str | None, status: ReceiptStatus) -> None:
    with speaking_to(say(201, made(status=told))) as (processor, _):
        assert processor.submit(CHARGE).status is status


def test_a_record_that_failed_without_a_reason_still_says_something() -> None:
    with speaking_to(say(201, made(status="failed"))) as (processor, _):
        receipt = processor.submit(CHARGE)
    assert (receipt.status, receipt.code) == (ReceiptStatus.FAILED, "failed")
    assert receipt.message


def test_what_the_service_says_is_fit_for_a_database_and_a_log() -> None:
    told = an_error("code-" + "x" * 100, "NUL \0 and\r\nnew line \x1b[31m " + "x" * 10_000)
    with speaking_to(say(402, told)) as (processor, _), pytest.raises(Refused) as raised:
        processor.submit(CHARGE)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= 500
    assert len(raised.value.code or "") <= 64


# --- what is sent ---


def test_a_charge_is_one_request_with_all_that_names_it() -> None:
    with speaking_to(say(201, made())) as (processor, wire):
        assert processor.submit(CHARGE) == Receipt(DEBIT_URI, ReceiptStatus.SUCCEEDED)
    [request] = wire.requests
    assert request.line == f"POST {CARD}/debits HTTP/1.1"
    assert json.loads(request.body) == {
        "amount": 1000,
        "description": "Generated by Billy from invoice IV1",
        "meta": {"billy.transaction_guid": "TX1", "billy.submission_key": CHARGE.key},
        "appears_on_statement_as": "BILLY.EXAMPLE",
    }
    assert request.header("Authorization") == "Basic YWstdGVzdC1kby1ub3QtdGVsbDo="
    assert request.header("Accept") == "application/vnd.api+json;revision=1.1"
    assert request.header("Content-Type") == "application/json"
    assert (request.header("User-Agent") or "").startswith("billy/")


@pytest.mark.parametrize(
    ("type", "uri", "text", "sent"),
    [
        (DEBIT, CARD, "123456789012345678", "123456789012345678"),
        (DEBIT, CARD, "1234567890123456789", "123456789012345678"),
        (CREDIT, BANK_ACCOUNT, "123456789012345", "12345678901234"),
        (CREDIT, CARD, "1234567890123", "123456789012"),
        (DEBIT, CARD, "ACME & SONS #7", "ACME & SONS #7"),
        (DEBIT, CARD, "A,B*C/D\\E\u00e9\n", "ABCDE"),
        (DEBIT, CARD, " padded ", "padded"),
        (DEBIT, CARD, "*", None),
        (DEBIT, CARD, "", None),
        (DEBIT, CARD, None, None),
    ],
)
def test_a_statement_text_is_cut_to_what_fits(
    type: SubmissionType, uri: str, text: str | None, sent: str | None
) -> None:
    answer = {f"{type}s": [a_debit(href="/credits/CRaaaaaaaaaaaaaaaaaaaaaa" if type is CREDIT else DEBIT_URI)]}
    with speaking_to(say(201, answer)) as (processor, wire):
        processor.submit(replace(CHARGE, type=type, funding_instrument_uri=uri, appears_on_statement_as=text))
    assert json.loads(wire.requests[0].body).get("appears_on_statement_as") == sent


def test_the_keys_of_two_companies_are_never_mixed_up() -> None:
    def echo(connection: Any, over: Any) -> bool:
        return say(201, made())(connection, over)

    with Wire.open(echo) as wire:
        balanced = Balanced(BalancedOptions(base_url=wire.url), call_deadline=5)
        charges = [
            partial(balanced(f"key-{company}").submit, replace(CHARGE, transaction_guid=f"TX{company}"))
            for company in [1, 2, 3, 4] * 5
        ]
        answers = at_once(charges)
        balanced.http.close()
    assert all(isinstance(answer, Receipt) for answer in answers), answers
    pairs = {
        (each.header("Authorization"), json.loads(each.body)["meta"]["billy.transaction_guid"])
        for each in wire.requests
    }
    assert len(wire.requests) == 20
    assert len(pairs) == 4


# --- URIs ---

SPELLINGS = {
    CARD: CARD,
    "/v1" + CARD: CARD,
    "/v1/marketplaces/TEST-MPbbbbbbbbbbbbbbbbbbbbbb" + CARD: CARD,
    "/v1/marketplaces/MPbbbbbbbbbbbbbbbbbbbbbb" + BANK_ACCOUNT: BANK_ACCOUNT,
    "/v1" + CUSTOMER + CARD: CARD,
    "/v1/marketplaces/TEST-MPbbbbbbbbbbbbbbbbbbbbbb/accounts/ACcccccccccccccccccccccc" + CARD: CARD,
}


@pytest.mark.parametrize(("uri", "path"), SPELLINGS.items())
def test_both_spellings_of_an_instrument_lead_to_the_path_of_1_1(uri: str, path: str) -> None:
    with speaking_to(say(201, made())) as (processor, wire):
        processor.submit(replace(CHARGE, funding_instrument_uri=uri))
    assert wire.requests[0].line == f"POST {path}/debits HTTP/1.1"


ACCOUNT = "ACcccccccccccccccccccccc"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (CUSTOMER, CUSTOMER),
        ("/v1" + CUSTOMER, CUSTOMER),
        (f"/v1/marketplaces/MPbbbbbbbbbbbbbbbbbbbbbb/accounts/{ACCOUNT}", f"/customers/{ACCOUNT}"),
    ],
)
def test_both_spellings_of_a_customer_lead_to_the_path_of_1_1(uri: str, path: str) -> None:
    with speaking_to(say(200, {"customers": [{"href": path}]})) as (processor, wire):
        processor.validate_customer(uri)
    assert wire.requests[0].line == f"GET {path} HTTP/1.1"


HOSTILE = [
    "https://evil.example" + CARD,
    "//evil.example" + CARD,
    "http:" + CARD,
    CARD + "?x=1",
    CARD + "#x",
    CARD + "/debits",
    CARD + "/",
    CARD + "\n",
    CARD + "\r\nX: y",
    "/cards/../debits/WDaaaaaaaaaaaaaaaaaaaaaa",
    "/cards/%2e%2e",
    "/cards/CC",
    "/cards/BAaaaaaaaaaaaaaaaaaaaaaa",
    "/cards/cCaaaaaaaaaaaaaaaaaaaaaa",
    "/cards/CC" + "a" * 33,
    "/v2" + CARD,
    "/v1/marketplaces/../" + CARD,
    CUSTOMER,
    "/events/EVaaaaaaaaaaaaaaaaaaaaaa",
]


@pytest.mark.parametrize("uri", HOSTILE, ids=ascii)
def test_what_is_no_instrument_of_the_service_is_never_asked_for(uri: str) -> None:
    with speaking_to(say(500)) as (processor, wire):
        with pytest.raises(InvalidURIFormat):
            processor.validate_funding_instrument(uri, DEBIT, CUSTOMER)
        with pytest.raises(Refused) as refused:
            processor.submit(replace(CHARGE, funding_instrument_uri=uri))
    assert (refused.value.hard, refused.value.code) == (True, "invalid-uri")
    assert wire.connections == 0


def test_a_bare_id_is_refused_with_the_uri_that_was_meant() -> None:
    with speaking_to(say(500)) as (processor, _):
        with pytest.raises(InvalidURIFormat, match=r"is an id.*whole URI.*/cards/CCaaaaaaaaaaaaaaaaaaaaaa"):
            processor.validate_funding_instrument("CCaaaaaaaaaaaaaaaaaaaaaa", DEBIT, CUSTOMER)
        with pytest.raises(InvalidURIFormat, match=r"is an id.*/customers/CUaaaaaaaaaaaaaaaaaaaaaa"):
            processor.validate_customer("CUaaaaaaaaaaaaaaaaaaaaaa")


# --- which requests, in which order ---


def test_a_new_customer_is_one_request_and_one_who_may_exist_is_looked_for(harness: BalancedHarness) -> None:
    uri = harness.company.create_customer("CU1", is_first_try=True)
    assert requests_of(harness) == ["POST /customers"]
    assert harness.company.create_customer("CU1") == uri
    assert requests_of(harness) == ["GET /customers"]
    harness.company.create_customer("CU2")
    assert requests_of(harness) == ["GET /customers", "POST /customers"]
    assert harness.ask("GET", uri)["customers"][0]["meta"] == {"billy.customer_guid": "CU1"}


def test_an_instrument_is_made_the_customers_once(harness: BalancedHarness) -> None:
    customer, card = harness.company.create_customer("CU1"), harness.card("4111111111111111")
    harness.simulator.forget_requests()
    harness.company.validate_funding_instrument(card, DEBIT, customer)
    assert requests_of(harness) == ["GET /cards/…", "PUT /cards/…"]
    harness.company.validate_funding_instrument(card, DEBIT, customer)
    assert requests_of(harness) == ["GET /cards/…"]
    assert harness.ask("GET", card)["cards"][0]["links"]["customer"] == customer.rpartition("/")[2]


def test_another_customers_instrument_is_refused_before_anything_is_charged(harness: BalancedHarness) -> None:
    card = harness.card("4111111111111111")
    harness.company.validate_funding_instrument(card, DEBIT, harness.company.create_customer("CU1"))
    with pytest.raises(InvalidFundingInstrument, match="another customer's"):
        harness.company.validate_funding_instrument(card, DEBIT, harness.company.create_customer("CU2"))


def test_a_card_that_only_its_first_use_finds_invalid_is_no_valid_instrument(harness: BalancedHarness) -> None:
    customer = harness.company.create_customer("CU1")
    card = {"number": "4222222222222220", "expiration_month": 12, "expiration_year": 2039}
    href = harness.ask("POST", "/cards", card, key="")["cards"][0]["href"]  # as a browser does, without a key
    with pytest.raises(InvalidFundingInstrument):
        harness.company.validate_funding_instrument(href, DEBIT, customer)


def test_a_bank_account_that_nobody_verified_cannot_be_debited(harness: BalancedHarness) -> None:
    customer = harness.company.create_customer("CU1")
    account = {"name": "Ann", "account_number": "9900000002", "routing_number": "021000021"}
    uri = harness.ask("POST", "/bank_accounts", account)["bank_accounts"][0]["href"]
    with pytest.raises(InvalidFundingInstrument, match="can_debit is false"):
        harness.company.validate_funding_instrument(uri, DEBIT, customer)
    harness.company.validate_funding_instrument(uri, CREDIT, customer)


# --- looking up ---


def test_a_look_up_asks_for_the_key_and_for_what_failed_too() -> None:
    with speaking_to(say(200, {"debits": [], "links": {}, "meta": {"next": None}})) as (processor, wire):
        assert processor.look_up(CHARGE) is None
    assert wire.requests[0].line == (
        "GET /debits?meta.billy.submission_key=SU1%2F20260101T000000.000000Z%2F1-1"
        "&status%5Bin%5D=pending%2Csucceeded%2Cfailed&limit=25&offset=0 HTTP/1.1"
    )


@pytest.mark.parametrize("empty", [{"links": {}, "meta": {}}, {"debits": [], "links": {}, "meta": {"next": None}}])
def test_an_empty_page_of_either_age_is_nothing_found(empty: dict[str, Any]) -> None:
    with speaking_to(say(200, empty)) as (processor, _):
        assert processor.look_up(CHARGE) is None


def test_a_service_that_ignores_the_filter_does_not_pass_off_others_records() -> None:
    page = {"debits": [a_debit(meta={}), a_debit(meta={"billy.submission_key": "another"})], "meta": {"next": None}}
    with speaking_to(say(200, page)) as (processor, _):
        assert processor.look_up(CHARGE) is None


def test_a_look_up_that_is_refused_says_nothing_about_the_charge() -> None:
    """Taken for the charge's refusal, it would be charged again under the next key."""
    with speaking_to(say(400, an_error("request"))) as (processor, _):
        with pytest.raises(Unavailable):
            processor.look_up(CHARGE)
        with pytest.raises(Unavailable):
            processor.find_records(CHARGE, DEBIT_URI)


def test_of_two_charges_the_older_one_is_found_and_both_are_logged(harness: BalancedHarness) -> None:
    charge = replace(CHARGE, funding_instrument_uri=harness.card("4111111111111111"))
    uris = [harness.company.submit(charge).processor_uri for _ in range(3)]
    with structlog.testing.capture_logs() as logged:
        found = harness.company.look_up(charge)
    assert found is not None
    assert found.processor_uri == uris[0]
    [event] = logged
    assert (event["event"], event["processor_uris"]) == ("charge_doubled", uris)


def test_a_look_up_reads_every_page(harness: BalancedHarness) -> None:
    charge = replace(CHARGE, funding_instrument_uri=harness.card("4444444444444448"))
    for _ in range(60):
        with pytest.raises(Refused):
            harness.company.submit(charge)
    with pytest.raises(Refused) as found:
        harness.company.look_up(charge)
    assert found.value.code == "card-declined"
    assert len(harness.company.find_records(charge, None)) == 60
    good = replace(charge, funding_instrument_uri=harness.card("4111111111111111"))
    receipt = harness.company.submit(good)
    assert harness.company.look_up(good) == receipt


def test_the_next_page_is_never_read_from_where_an_answer_says() -> None:
    with Wire.open(say(200, {"debits": [a_debit()]})) as elsewhere:
        first = {"debits": [a_debit(meta={})], "meta": {"next": f"{elsewhere.url}/debits?offset=25"}}
        with speaking_to(say(200, first), say(200, {"debits": []})) as (processor, wire):
            assert processor.look_up(CHARGE) is None
        assert elsewhere.connections == 0
    assert "offset=1 " in wire.requests[1].line


def test_pages_without_an_end_end_at_the_deadline() -> None:
    endless = {"debits": [a_debit(meta={})], "meta": {"next": "/debits?offset=1"}}
    with speaking_to(say(200, endless), seconds=0.3) as (processor, _), pytest.raises(Unavailable):
        processor.look_up(CHARGE)


def test_two_requests_of_one_call_share_its_deadline() -> None:
    def slowly(connection: Any, over: Any) -> bool:
        time.sleep(0.3)
        return say(200, {"cards": [{"href": CARD, "links": {"customer": None}}]})(connection, over)

    with speaking_to(slowly, seconds=0.5) as (processor, _):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            processor.validate_funding_instrument(CARD, DEBIT, CUSTOMER)
    assert time.monotonic() - began < 0.9


def test_a_server_that_sends_a_byte_at_a_time_does_not_exceed_the_deadline() -> None:
    act = drip(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{")
    with speaking_to(act, seconds=0.3) as (processor, _):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            processor.submit(CHARGE)
    assert time.monotonic() - began < 0.7


# --- refusals that are found later ---


def test_a_refused_card_whose_answer_was_lost_is_refused_all_the_same(harness: BalancedHarness) -> None:
    charge = replace(CHARGE, funding_instrument_uri=harness.card("4444444444444448"))
    with pytest.raises(Refused) as refused:
        harness.company.submit(charge)
    with pytest.raises(Refused) as found:
        harness.company.look_up(charge)
    assert (found.value.code, found.value.hard) == (refused.value.code, refused.value.hard)


def test_a_bank_debit_that_came_back_is_a_record_that_failed(harness: BalancedHarness) -> None:
    charge = replace(CHARGE, funding_instrument_uri=harness.bank_account())
    receipt = harness.company.submit(charge)
    harness.simulator.settle(receipt.processor_uri, "failed")
    found = harness.company.look_up(charge)
    assert found is not None
    assert (found.processor_uri, found.status) == (receipt.processor_uri, ReceiptStatus.FAILED)


# --- callbacks ---


def envelope_of(event_id: str) -> bytes:
    return json.dumps({"events": [{"id": event_id, "href": f"/events/{event_id}", "type": "debit.succeeded"}]}).encode()


def test_both_shapes_of_a_callback_are_read(harness: BalancedHarness) -> None:
    charge = replace(CHARGE, funding_instrument_uri=harness.bank_account())
    receipt = harness.company.submit(charge)
    event = harness.simulator.settle(receipt.processor_uri, "succeeded")
    told = [
        harness.company.read_callback(harness.simulator.callback_body(event.id, revision), {})
        for revision in ("1.0", "1.1")
    ]
    assert told[0] == told[1] is not None
    assert told[0].transaction_guid == "TX1"
    assert told[0].receipt == Receipt(receipt.processor_uri, ReceiptStatus.SUCCEEDED)


@pytest.mark.parametrize(
    "body",
    [
        b'{"events": []}',
        b'{"events": {}}',
        b'{"events": [1]}',
        b'{"events": [{"id": "EV00000000000000000000"}, {"id": "EV00000000000000000000"}]}',
        b'{"id": "EV../../cards/CCaaaaaaaaaaaaaaaaaaaaaa"}',
        b'{"id": "EV00000000000000000000?x=y"}',
        b'{"id": "WD00000000000000000000"}',
        b'{"href": "https://evil.example/events/EV00000000000000000000"}',
    ],
)
def test_a_callback_that_names_no_event_is_not_asked_about(body: bytes) -> None:
    with speaking_to(say(500)) as (processor, wire), pytest.raises(InvalidCallbackPayload):
        processor.read_callback(body, {})
    assert wire.connections == 0


EVENT = "EV1e718d249aac11e4b9bb02d08005b466"
OURS = {"billy.transaction_guid": "TX1"}


def an_event(kind: str, resource: dict[str, Any], **fields: Any) -> dict[str, Any]:
    entity = {kind: [resource], "links": {}}
    return {"events": [{"id": EVENT, "occurred_at": "2015-01-12T22:43:42.029409Z", "entity": entity, **fields}]}


@pytest.mark.parametrize(
    "event",
    [
        an_event("card_holds", {"id": "HLaaaaaaaaaaaaaaaaaaaaaa", "href": "/card_holds/HL1", "meta": OURS}),
        an_event("cards", {"href": CARD, "meta": OURS}),
        an_event("customers", {"href": CUSTOMER, "meta": OURS}),
        an_event("debits", a_debit(meta={})),
        an_event("debits", a_debit(meta={"billy.transaction_guid": 5})),
        an_event("reversals", {"id": "RVaaaaaaaaaaaaaaaaaaaaaa", "meta": {}, "links": {}}),
        an_event("reversals", {"id": "RVaaaaaaaaaaaaaaaaaaaaaa", "meta": OURS, "links": {"credit": None}}),
        {"events": [{"id": EVENT, "entity": {}}]},
        {"events": [{"id": EVENT}]},
    ],
)
def test_an_event_about_what_billy_did_not_make_means_nothing(event: dict[str, Any]) -> None:
    with speaking_to(say(200, event)) as (processor, wire):
        assert processor.read_callback(envelope_of(EVENT), {}) is None
    assert [request.line for request in wire.requests] == [f"GET /events/{EVENT} HTTP/1.1"]


def test_the_resource_is_asked_for_and_not_taken_from_the_event() -> None:
    event = an_event("debits", a_debit(status="pending", amount=5))
    with speaking_to(say(200, event), say(200, made(status="failed"))) as (processor, wire):
        callback = processor.read_callback(envelope_of(EVENT), {})
    assert callback is not None
    assert callback.receipt.status is ReceiptStatus.FAILED
    assert callback.event_id == EVENT
    assert callback.occurred_at.isoformat() == "2015-01-12T22:43:42.029409+00:00"
    assert wire.requests[1].line == f"GET {DEBIT_URI} HTTP/1.1"


def test_a_transaction_guid_that_is_none_means_nothing() -> None:
    odd = {"billy.transaction_guid": "TX1\0; DROP TABLE"}
    with speaking_to(say(200, an_event("debits", a_debit(meta=odd))), say(200, made(meta=odd))) as (processor, _):
        assert processor.read_callback(envelope_of(EVENT), {}) is None


def test_a_reversal_is_news_about_its_credit() -> None:
    credit = "/credits/CRaaaaaaaaaaaaaaaaaaaaaa"
    event = an_event("reversals", {"meta": OURS, "links": {"credit": credit.rpartition("/")[2]}})
    with speaking_to(say(200, event), say(200, {"credits": [a_debit(href=credit)]})) as (processor, wire):
        callback = processor.read_callback(envelope_of(EVENT), {})
    assert callback is not None
    assert callback.receipt == Receipt(credit, ReceiptStatus.SUCCEEDED)
    assert wire.requests[1].line == f"GET {credit} HTTP/1.1"


@pytest.mark.parametrize("occurred_at", [None, "yesterday", "2015-01-12T22:43:42", 5])
def test_an_event_without_a_time_is_delivered_again_later(occurred_at: Any) -> None:
    event = an_event("debits", a_debit(), occurred_at=occurred_at)
    with speaking_to(say(200, event), say(200, made())) as (processor, _), pytest.raises(Unavailable):
        processor.read_callback(envelope_of(EVENT), {})


# --- secrets ---


def test_neither_key_nor_callback_url_is_told_to_anybody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = "https://billy.example.com/v1/companies/CP1/callbacks/secret-of-the-callback/"
    acts = [
        say(400, an_error("request", f'Invalid field [url] - "{url}" must not')),
        say(401, an_error("authentication-required")),
        say(500, an_error("x", f"Basic {KEY}")),
        raw(b"garbage\r\n"),
    ]
    told = []
    for act in acts:
        with speaking_to(act) as (processor, _):
            for call in (partial(processor.register_callback, url), partial(processor.submit, CHARGE)):
                with pytest.raises(ProcessorError) as raised:
                    call()
                if call.func == processor.register_callback:
                    told += [f"{raised.value} {raised.value!r} {vars(raised.value)}"]
            told += [repr(processor), str(processor), repr(processor._balanced)]
    everything = " ".join([*told, caplog.text])
    for secret in (KEY, "YWstdGVzdC1kby1ub3QtdGVsbDo=", "secret-of-the-callback"):
        assert secret not in everything


# --- options ---


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://api.balancedpayments.com"},
        {"base_url": "https://user:password@api.balancedpayments.com"},
        {"base_url": "https://api.balancedpayments.com/v1"},
        {"base_url": "https://api.balancedpayments.com?x"},
        {"base_url": ""},
        {"connect_timeout": "0"},
        {"read_timeout": "-1"},
        {"pool_size": "0"},
        {"user_agent": "two\r\nlines"},
        {"marketplace": "x"},
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        BalancedOptions.model_validate(options)


def test_the_service_itself_is_the_default() -> None:
    assert BalancedOptions().base_url == "https://api.balancedpayments.com"


def test_the_user_agent_is_the_operators() -> None:
    with Wire.open(say(201, made())) as wire:
        balanced = Balanced(BalancedOptions(base_url=wire.url + "/", user_agent="Ann's shop"), call_deadline=5)
        balanced(KEY).submit(CHARGE)
        balanced.http.close()
    assert wire.requests[0].header("User-Agent") == "Ann's shop"
    assert wire.requests[0].line.startswith(f"POST {CARD}/debits ")


def test_a_customer_of_nobody_is_no_customer(harness: BalancedHarness) -> None:
    with pytest.raises(InvalidCustomer):
        harness.company.validate_customer("/customers/CU" + secrets.token_hex(11))
