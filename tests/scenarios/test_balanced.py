"""Billy with Balanced: which requests a charge is, and what its callbacks do, over real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import urllib3

from billy.billing_run import run
from billy.models import Company
from billy.submission import Processors, Submitter
from billy.testing.balanced_simulator import BalancedSimulator, Chaos
from tests.scenarios.conftest import at, invoices_of, subscribe, transactions_of
from tests.support.site import Site

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def simulator() -> Iterator[BalancedSimulator]:
    with BalancedSimulator.started(retry_delay=0.05) as simulator:
        yield simulator


@pytest.fixture
def site() -> Iterator[Site]:
    with Site.open() as site:
        yield site


@pytest.fixture
def ini(ini, simulator, site):
    return {
        **ini,
        "billy.processor_factory": "billy.processors.balanced.Balanced",
        "billy.balanced.base_url": simulator.url,
        "billy.callback_base_url": site.url,
    }


@pytest.fixture
def key(simulator):
    """The company's key at Balanced."""
    return simulator.new_key()


@pytest.fixture
def company(api, site, bystander, key):
    site.app = answering(200)  # what Balanced calls is heard by nobody
    return api.company(processor_key=key)


@pytest.fixture
def called_back(site, app):
    """Balanced's callbacks do arrive."""
    site.app = app.app


def answering(status):
    """A web server that is not Billy's."""

    def answer(environ, start_response):
        start_response(f"{status} Whatever", [("Content-Length", "0")])
        return [b""]

    return answer


@pytest.fixture
def ask(simulator, key):
    """What the company's own program asks of Balanced."""

    def ask(method, path, body=None, *, key=key):
        headers = urllib3.make_headers(basic_auth=f"{key}:")
        answer = urllib3.request(method, simulator.url + path, json=body, headers=headers, retries=False)
        assert answer.status in (200, 201), answer.data
        return answer.json()

    return ask


@pytest.fixture
def card(ask):
    """The URI of a card that pays."""
    return new_card(ask)


def new_card(ask, number="4111111111111111"):
    card = {"number": number, "expiration_month": 12, "expiration_year": 2039, "name": "Ann"}
    return ask("POST", "/cards", card)["cards"][0]["href"]


@pytest.fixture
def bank_account(ask):
    """The URI of a bank account whose debits take days."""
    account = {"name": "Ann", "account_number": "9900000000", "routing_number": "021000021"}
    uri = ask("POST", "/bank_accounts", account)["bank_accounts"][0]["href"]
    verification = ask("POST", f"{uri}/verifications", {})["bank_account_verifications"][0]["href"]
    ask("PUT", verification, {"amount_1": 1, "amount_2": 1})
    return uri


@pytest.fixture
def seen(simulator):
    """What Balanced was asked since the last time."""

    def seen():
        told = [f"{each.method} {each.path}" for each in simulator.requests()]
        simulator.forget_requests()
        return [re.sub("[A-Z]{2}[0-9A-Za-z]{16,}", "…", line) for line in told]

    return seen


@pytest.fixture
def bill_afresh(sessions, settings, vault, clock):
    """A run of the scheduler as a new process would do it: nothing is remembered but what is in the database."""

    def bill():
        factory = settings.make_processor_factory()
        summary = run(sessions, settings, Submitter(settings, Processors(factory, vault)), clock.now)
        factory.http.close()
        return summary

    return bill


def charge_to(company, instrument, *, customer=None, **params):
    """An invoice of 10.00 that is charged at once."""
    customer = customer or company.post("/v1/customers").json
    order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": instrument, **params}
    return company.post("/v1/invoices", order).json


def charge_of(company, invoice):
    [charge] = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    return charge


def status_of(company, invoice):
    return company.get(f"/v1/invoices/{invoice['guid']}").json["status"]


# --- which requests a charge is ---


def test_a_customer_is_one_request(company, seen):
    seen()
    customer = company.post("/v1/customers").json
    assert seen() == ["POST /customers"]
    assert customer["processor_uri"].startswith("/customers/CU")


def test_a_first_charge_is_three_requests_and_a_renewal_by_a_new_process_is_one(
    company, card, seen, clock, bill_afresh, simulator
):
    clock.now = at("2013-06-01")
    customer = company.post("/v1/customers").json
    plan = company.post("/v1/plans", {"plan_type": "debit", "frequency": "monthly", "amount": 1000}).json
    seen()
    subscription = company.post(
        "/v1/subscriptions",
        {"plan_guid": plan["guid"], "customer_guid": customer["guid"], "funding_instrument_uri": card},
    ).json
    assert seen() == ["GET /cards/…", "PUT /cards/…", "POST /cards/…/debits"]

    clock.now = at("2013-07-01")
    assert bill_afresh().succeeded == 1
    assert seen() == ["POST /cards/…/debits"]
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled"] * 2
    assert [entry.amount for entry in simulator.ledger()] == [1000] * 2
    # The debits are the customer's, as Balanced sees it.
    assert {entry.links["customer"] for entry in simulator.ledger()} == {customer["processor_uri"].split("/")[-1]}


def test_a_first_charge_by_the_scheduler_is_one_request(company, card, seen, clock, bill_afresh):
    clock.now = at("2013-06-01")
    subscribe(company, card=card, started_at="2013-06-15")
    assert seen()[-2:] == ["GET /cards/…", "PUT /cards/…"]
    clock.now = at("2013-06-15")
    assert bill_afresh().succeeded == 1
    assert seen() == ["POST /cards/…/debits"]


def test_a_charge_to_what_the_customer_has_paid_with_is_one_request(company, card, seen):
    customer = company.post("/v1/customers").json
    charge_to(company, card, customer=customer)
    seen()
    assert charge_to(company, card, customer=customer)["status"] == "settled"
    assert seen() == ["POST /cards/…/debits"]


def test_a_retry_after_a_lost_answer_looks_up_and_charges_nothing(
    company, ask, seen, clock, bill_afresh, simulator
):
    uri = new_card(ask, "4999990000000098")  # its answer is lost, the first time
    invoice = charge_to(company, uri)
    assert seen()[-1] == "POST /cards/…/debits"
    assert charge_of(company, invoice)["submit_status"] == "retrying"
    clock.move(minutes=5)
    assert bill_afresh().succeeded == 1
    assert seen() == ["GET /debits"]
    assert status_of(company, invoice) == "settled"
    assert len(simulator.ledger()) == 1


def test_a_refund_is_one_request(company, card, seen, simulator):
    invoice = charge_to(company, card)
    seen()
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 300})
    assert seen() == ["POST /debits/…/refunds"]
    assert [(entry.type, entry.amount) for entry in simulator.ledger()] == [("debits", 1000), ("refunds", 300)]


def test_a_customer_whom_balanced_could_not_be_told_of_is_made_with_his_first_instrument(
    company, card, seen, simulator
):
    with simulator.down():
        customer = company.post("/v1/customers").json
    assert customer["processor_uri"] is None
    seen()
    assert charge_to(company, card, customer=customer)["status"] == "settled"
    assert seen() == ["GET /customers", "POST /customers", "GET /cards/…", "PUT /cards/…", "POST /cards/…/debits"]
    assert company.get(f"/v1/customers/{customer['guid']}").json["processor_uri"].startswith("/customers/CU")


def test_a_charge_that_an_older_billy_filed_finds_its_customer_and_its_instrument_a_place(
    company, card, seen, sessions, make, bill_afresh, simulator
):
    with sessions() as session:
        ours = session.get_one(Company, company.guid)
    customer = make.customer(ours, processor_uri=None)
    subscription = make.subscription(ours, customer=customer, funding_instrument_uri=card)
    seen()
    assert bill_afresh().succeeded == 1
    assert seen() == ["GET /customers", "POST /customers", "GET /cards/…", "PUT /cards/…", "POST /cards/…/debits"]
    [transaction] = transactions_of(company, {"guid": subscription.guid})
    assert transaction["status"] == "succeeded"
    [entry] = simulator.ledger()
    uri = company.get(f"/v1/customers/{customer.guid}").json["processor_uri"]
    assert entry.links["customer"] == uri.split("/")[-1]


def test_another_customers_card_is_refused_before_an_invoice_is_filed(company, card):
    charge_to(company, card)
    other = company.post("/v1/customers").json
    order = {"customer_guid": other["guid"], "amount": 1000, "funding_instrument_uri": card}
    answer = company.post("/v1/invoices", order, status=400).json
    assert answer["error_class"] == "InvalidFundingInstrument"
    assert company.get(f"/v1/customers/{other['guid']}/invoices").json["items"] == []


def test_a_declined_card_tells_balanceds_code_and_is_tried_again(company, ask, clock, bill, simulator):
    invoice = charge_to(company, new_card(ask, "4444444444444448"))
    transaction = charge_of(company, invoice)
    [failure] = transaction["failures"]
    assert (failure["error_code"], failure["error_number"]) == ("card-declined", 402)
    assert "Account Frozen" in failure["error_message"]
    assert transaction["submit_status"] == "retrying"
    clock.move(hours=2)
    assert bill().declined == 1
    keys = [entry.meta["billy.submission_key"] for entry in simulator.ledger()]
    assert len(set(keys)) == 2, "a retry after a refusal must be a new submission, or a look-up would find the old one"


def test_a_declined_card_whose_answer_is_lost_is_tried_again_too(company, ask, clock, bill, simulator):
    uri = new_card(ask, "4444444444444448")
    customer = company.post("/v1/customers").json
    simulator.chaos = Chaos(deck=["drop-after"])
    invoice = charge_to(company, uri, customer=customer)
    assert charge_of(company, invoice)["failures"][0]["error_code"] == "outcome_unknown"
    clock.move(minutes=5)
    assert bill().declined == 1
    transaction = charge_of(company, invoice)
    assert transaction["submit_status"] == "retrying"
    assert [failure["error_code"] for failure in transaction["failures"]] == ["outcome_unknown", "card-declined"]


def test_that_balanced_tells_of_a_declined_card_too_does_not_end_the_retries(
    company, called_back, ask, clock, bill, simulator
):
    """A refusal leaves a failed debit that bears the transaction's guid, and an event about it."""
    uri = new_card(ask, "4999990000000049")  # declined twice
    invoice = charge_to(company, uri)
    simulator.wait_for_callbacks()
    assert "debit.failed" in {delivery.type for delivery in simulator.deliveries()}
    assert charge_of(company, invoice)["submit_status"] == "retrying"
    clock.move(hours=2)
    bill()
    clock.move(hours=7)
    assert bill().succeeded == 1
    simulator.wait_for_callbacks()
    charge = charge_of(company, invoice)
    assert (charge["submit_status"], charge["status"], charge["failure_count"]) == ("done", "succeeded", 2)
    assert status_of(company, invoice) == "settled"


# --- callbacks ---


def callback_url(simulator, key):
    [url] = simulator.callback_urls(key)
    return url


def deliver(company, simulator, key, body, *, status=200):
    path = urlsplit(callback_url(simulator, key)).path
    return company.app.post(path, body, headers=JSON, status=status).json


@pytest.fixture
def pending(company, bank_account):
    """An invoice whose debit takes days."""
    invoice = charge_to(company, bank_account)
    assert invoice["status"] == "processing"
    return invoice


@pytest.fixture
def debit(company, pending):
    """The URI of that debit."""
    return charge_of(company, pending)["processor_uri"]


def test_a_callback_is_registered_with_the_company_and_only_once(company, simulator, key, site, sessions, bill):
    assert callback_url(simulator, key).startswith(f"{site.url}/v1/companies/{company.guid}/callbacks/")
    with sessions.begin() as session:
        session.get_one(Company, company.guid).callback_registered_at = None  # as if that answer had been lost
    bill()
    assert callback_url(simulator, key)
    with sessions() as session:
        assert session.get_one(Company, company.guid).callback_registered_at is not None


def test_a_callback_that_could_not_be_registered_is_registered_by_a_run(api, simulator, bystander, bill):
    key = simulator.new_key()
    with simulator.down():
        company = api.company(processor_key=key)
    bill()
    assert f"/v1/companies/{company.guid}/callbacks/" in callback_url(simulator, key)


@pytest.mark.parametrize(("ended", "status"), [("succeeded", "settled"), ("failed", "failed")])
def test_balanced_calls_back_and_the_invoice_follows(company, called_back, pending, debit, simulator, ended, status):
    simulator.settle(debit, ended)
    simulator.wait_for_callbacks()
    assert status_of(company, pending) == status
    assert {delivery.status for delivery in simulator.deliveries()} == {200}


@pytest.mark.parametrize("revision", ["1.0", "1.1"])
def test_both_shapes_count_and_each_event_counts_once(company, pending, debit, simulator, key, revision):
    event = simulator.settle(debit, "succeeded")
    body = simulator.callback_body(event.id, revision)
    assert deliver(company, simulator, key, body) == {"code": "ok"}
    before = charge_of(company, pending)
    assert deliver(company, simulator, key, body) == {"code": "ignore"}
    assert charge_of(company, pending) == before
    assert status_of(company, pending) == "settled"


def test_what_a_forged_body_says_is_not_believed(company, pending, debit, simulator, key):
    event = simulator.settle(debit, "failed")
    real = json.loads(simulator.callback_body(event.id))
    [entity] = [value for name, value in real["events"][0]["entity"].items() if name == "debits"]
    entity[0] |= {"status": "succeeded", "amount": 1}
    assert deliver(company, simulator, key, json.dumps(real)) == {"code": "ok"}
    assert status_of(company, pending) == "failed"


def test_a_forged_event_is_refused(company, pending, debit, simulator, key):
    before = charge_of(company, pending)
    forged = json.dumps({"events": [{"id": "EV1e718d249aac11e4b9bb02d08005b466", "type": "debit.succeeded"}]})
    answer = deliver(company, simulator, key, forged, status=400)
    assert answer["error_class"] == "InvalidCallbackPayload"
    assert charge_of(company, pending) == before


def test_an_event_of_another_marketplace_is_refused(api, company, pending, debit, simulator, key):
    others_key = simulator.new_key()
    api.company(processor_key=others_key)
    event = simulator.settle(debit, "succeeded")
    before = charge_of(company, pending)
    answer = deliver(company, simulator, others_key, simulator.callback_body(event.id), status=400)
    assert answer["error_class"] == "InvalidCallbackPayload"
    assert charge_of(company, pending) == before


def test_a_late_event_does_not_bring_back_how_things_stood(company, pending, debit, simulator, key):
    succeeded = simulator.settle(debit, "succeeded")
    failed = simulator.settle(debit, "failed")
    assert deliver(company, simulator, key, simulator.callback_body(failed.id)) == {"code": "ok"}
    assert deliver(company, simulator, key, simulator.callback_body(succeeded.id)) == {"code": "ok"}
    assert status_of(company, pending) == "failed"


def test_events_about_what_billy_did_not_make_are_ignored(company, card, ask, simulator, key):
    ask("POST", f"{card}/debits", {"amount": 500})
    events = simulator.events(key)
    assert {event["type"].split(".")[0] for event in events} >= {"card", "debit", "hold"}
    for event in events:
        assert deliver(company, simulator, key, simulator.callback_body(event["id"])) == {"code": "ignore"}
    assert company.get("/v1/transactions").json["items"] == []


def test_a_hold_that_shares_its_debits_meta_is_ignored(company, card, simulator, key):
    charge_to(company, card)
    holds = [event for event in simulator.events(key) if event["type"].startswith("hold.")]
    assert holds
    for event in holds:
        assert deliver(company, simulator, key, simulator.callback_body(event["id"])) == {"code": "ignore"}


def test_an_event_of_a_transaction_that_billy_does_not_have_is_ignored(company, card, ask, simulator, key):
    ask("POST", f"{card}/debits", {"amount": 500, "meta": {"billy.transaction_guid": "TX" + "1" * 22}})
    [event] = [event for event in simulator.events(key) if event["type"] == "debit.succeeded"]
    assert deliver(company, simulator, key, simulator.callback_body(event["id"])) == {"code": "ignore"}


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b'{"events": []}', b'{"events": [{"id": "WD1"}]}', b'{"id": 5}']
)
def test_a_malformed_callback_is_400(company, pending, debit, simulator, key, body):
    before = charge_of(company, pending)
    assert deliver(company, simulator, key, body, status=400)["error_class"] == "InvalidCallbackPayload"
    assert charge_of(company, pending) == before


def test_a_callback_that_billy_could_not_verify_is_delivered_again(company, pending, debit, simulator, site, app):
    """Billy is away when it is called; Balanced tries again, and the second time it counts."""
    calls = []

    def away_at_first(environ, start_response):
        calls.append(environ["PATH_INFO"])
        return (answering(503) if len(calls) == 1 else app.app)(environ, start_response)

    site.app = away_at_first
    simulator.settle(debit, "succeeded")
    simulator.wait_for_callbacks()
    assert len(calls) == 2
    assert status_of(company, pending) == "settled"


def test_while_balanced_cannot_be_asked_a_callback_is_503(company, pending, debit, simulator, key):
    event = simulator.settle(debit, "succeeded")
    body = simulator.callback_body(event.id)
    with simulator.down():
        deliver(company, simulator, key, body, status=503)
    assert deliver(company, simulator, key, body) == {"code": "ok"}
    assert status_of(company, pending) == "settled"


def test_a_callback_that_never_comes_is_made_up_for_by_a_run(company, pending, debit, simulator, clock, bill, seen):
    simulator.settle(debit, "succeeded")
    seen()
    clock.move(hours=7)
    summary = bill()
    assert (summary.asked, summary.repaired) == (1, 1)
    assert seen() == ["GET /debits"]
    assert status_of(company, pending) == "settled"
