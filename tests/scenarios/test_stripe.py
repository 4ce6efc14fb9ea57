"""Billy with Stripe: signed callbacks, disputes, and companies of other processors on the same server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select, update

from billy.billing_run import run
from billy.models import Company, Dispute, DisputeState, Invoice, Subscription, Transaction, TransactionEvent
from billy.submission import Processors, Submitter
from billy.testing.stripe_simulator import StripeSimulator
from billy.verification import violations
from tests.scenarios.conftest import invoices_of, subscribe, transactions_of
from tests.support.site import Site


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator.started(retry_delay=0.05) as simulator:
        yield simulator


@pytest.fixture
def site() -> Iterator[Site]:
    with Site.open() as site:
        yield site


@pytest.fixture
def ini(ini, simulator, site):
    return {
        **ini,
        "billy.processors": "stripe",
        "billy.stripe.base_url": simulator.url,
        "billy.callback_base_url": site.url,
    }


@pytest.fixture
def key(simulator):
    return simulator.new_key()


@pytest.fixture
def company(api, app, site, bystander, key):
    site.app = app.app  # what Stripe calls is heard
    return api.company(processor_key=key, processor="stripe")


@pytest.fixture
def charge_to(simulator, key, company):
    """An invoice of 10.00 that is charged at once to an instrument that behaves so."""

    def charge_to(behavior):
        customer = company.post("/v1/customers").json
        method = simulator.payment_method(key, behavior)
        order = {"customer_guid": customer["guid"], "amount": 1000, "funding_instrument_uri": method}
        return company.post("/v1/invoices", order).json

    return charge_to


def charge_of(company, invoice):
    [charge] = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    return charge


def status_of(company, invoice):
    return company.get(f"/v1/invoices/{invoice['guid']}").json["status"]


def statuses(simulator):
    return [delivery.status for delivery in simulator.deliveries()]


def test_a_bank_debit_ends_by_a_signed_callback_of_which_nobody_asks_stripe(simulator, company, charge_to):
    invoice = charge_to("pending")
    charge = charge_of(company, invoice)
    assert (charge["status"], charge["processor_uri"][:3]) == ("pending", "pi_")
    simulator.wait_for_callbacks()
    simulator.settle(charge["processor_uri"], "succeeded")
    simulator.wait_for_callbacks()
    assert charge_of(company, invoice)["status"] == "succeeded"
    assert status_of(company, invoice) == "settled"
    assert set(statuses(simulator)) == {200}
    assert not any(each.path.startswith("/v1/events") for each in simulator.requests())


def test_the_signing_secret_is_kept_encrypted(simulator, company, session, vault):
    record = session.get_one(Company, company.guid)
    [endpoint] = simulator.ledger("webhook_endpoint")
    assert endpoint["secret"] not in record.sealed_callback_secret
    assert vault.open(record.sealed_callback_secret) == endpoint["secret"]


def test_a_callback_with_the_right_url_and_no_signature_is_refused(api, simulator, company, charge_to):
    charge = charge_of(company, charge_to("pending"))
    simulator.wait_for_callbacks()
    [endpoint] = simulator.ledger("webhook_endpoint")
    event = next(each for each in simulator.ledger("event") if each["type"] == "payment_intent.processing")
    path = endpoint["url"][endpoint["url"].index("/v1") :]
    answer = api.anonymous.post(
        path, body=simulator.body_of(event["id"]), headers={"Content-Type": "application/json"}, status=400
    )
    assert answer.json["error_class"] == "InvalidCallbackPayload"
    assert charge_of(company, {"guid": charge["invoice_guid"]}) == charge


def test_without_the_secret_the_event_is_asked_for(simulator, company, charge_to, sessions):
    with sessions.begin() as session:
        session.execute(update(Company).where(Company.guid == company.guid).values(sealed_callback_secret=None))
    charge = charge_of(company, charge_to("pending"))
    simulator.settle(charge["processor_uri"], "succeeded")
    simulator.wait_for_callbacks()
    assert charge_of(company, {"guid": charge["invoice_guid"]})["status"] == "succeeded"
    assert any(each.path.startswith("/v1/events") for each in simulator.requests())


def test_a_callback_that_could_not_be_registered_is_by_a_run_and_its_secret_kept(
    api, app, site, simulator, key, settings, sessions, vault, sandbox, clock, bystander
):
    site.app = app.app
    with simulator.down():
        company = api.company(processor_key=key, processor="stripe")
    run(sessions, settings, Submitter(settings, Processors.load(settings, vault, sandbox)), clock.now)
    with sessions() as session:
        record = session.get_one(Company, company.guid)
    [endpoint] = simulator.ledger("webhook_endpoint")
    assert record.callback_registered_at == clock.now
    assert vault.open(record.sealed_callback_secret) == endpoint["secret"]


def test_a_decline_is_a_failure_with_its_decline_code_and_a_canceled_payment(simulator, company, charge_to):
    invoice = charge_to("stolen")
    simulator.wait_for_callbacks()
    charge = charge_of(company, invoice)
    assert (status_of(company, invoice), charge["submit_status"]) == ("failed", "failed")
    assert [(each["error_code"], each["error_number"]) for each in charge["failures"]] == [("stolen_card", 402)]
    assert [intent["status"] for intent in simulator.ledger("payment_intent")] == ["canceled"]


def test_a_dispute_changes_no_status_and_while_it_is_open_there_is_no_refund(
    simulator, company, charge_to, sessions
):
    invoice = charge_to("succeeds")
    before = charge_of(company, invoice)
    for state, answer in [("warning_needs_response", None), ("needs_response", 409), ("won", 200)]:
        simulator.dispute(before["processor_uri"], state)
        simulator.wait_for_callbacks()
        if answer is not None:
            company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 100}, status=answer)
    refund, charge = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    assert (charge["submit_status"], charge["status"]) == ("done", "succeeded")
    assert (refund["transaction_type"], refund["status"]) == ("refund", "succeeded")
    with sessions() as session:
        [dispute] = session.scalars(select(Dispute))
        assert (dispute.transaction_guid, dispute.state) == (charge["guid"], DisputeState.WON)
        assert list(violations(session)) == []


def test_a_refund_while_the_bank_only_asks_is_made(simulator, company, charge_to):
    invoice = charge_to("succeeds")
    simulator.dispute(charge_of(company, invoice)["processor_uri"], "warning_needs_response")
    simulator.wait_for_callbacks()
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 100})
    assert [each["amount"] for each in simulator.ledger("refund")] == [100]


def test_a_dispute_that_was_lost_is_reported(simulator, company, charge_to, sessions):
    invoice = charge_to("succeeds")
    charge = charge_of(company, invoice)
    for state in ("needs_response", "lost"):
        simulator.dispute(charge["processor_uri"], state)
        simulator.wait_for_callbacks()
    with sessions() as session:
        [violation] = violations(session)
    assert (violation.invariant, violation.company_guid, violation.guid) == (
        "no_dispute_is_lost", company.guid, charge["guid"],
    )  # fmt: skip
    assert status_of(company, invoice) == "settled"
    simulator.dispute(charge["processor_uri"], "won")  # the bank thought better of it
    simulator.wait_for_callbacks()


def test_a_payout_to_a_card_is_refused_before_an_invoice_is_filed(simulator, company, key):
    plan = company.post("/v1/plans", {"plan_type": "credit", "amount": 500, "frequency": "monthly"}).json
    customer = company.post("/v1/customers").json
    order = {
        "plan_guid": plan["guid"],
        "customer_guid": customer["guid"],
        "funding_instrument_uri": simulator.payment_method(key, "succeeds"),
    }
    answer = company.post("/v1/subscriptions", order, status=400)
    assert "connected accounts alone" in answer.json["error_message"]
    assert company.get("/v1/invoices").json["items"] == []


def test_a_payout_to_a_connected_account_is_a_transfer(simulator, company, key):
    plan = company.post("/v1/plans", {"plan_type": "credit", "amount": 500, "frequency": "monthly"}).json
    customer = company.post("/v1/customers").json
    account = simulator.connected_account(key)
    order = {"plan_guid": plan["guid"], "customer_guid": customer["guid"], "funding_instrument_uri": account}
    subscription = company.post("/v1/subscriptions", order).json
    [invoice] = invoices_of(company, subscription)
    assert invoice["status"] == "settled"
    assert [(each["destination"], each["amount"]) for each in simulator.ledger("transfer")] == [(account, 500)]


def test_one_server_serves_companies_of_two_processors(
    api, app, site, simulator, company, key, settings, sessions, vault, sandbox, clock
):
    other = api.company(processor="sandbox")
    stripes = subscribe(company, card=simulator.payment_method(key, "succeeds"))
    sandboxes = subscribe(other, card="/cards/ok")
    clock.move(months=1)
    summary = run(sessions, settings, Submitter(settings, Processors.load(settings, vault, sandbox)), clock.now)
    assert (summary.succeeded, summary.errors) == (2, 0)
    assert len(simulator.ledger("payment_intent")) == 2
    assert {each["processor_uri"][:3] for each in transactions_of(company, stripes)} == {"pi_"}
    assert {each["processor_uri"][:8] for each in transactions_of(other, sandboxes)} == {"/debits/"}


def test_a_company_whose_processor_is_not_enabled_any_more_is_parked_and_nothing_is_sent(
    simulator, company, key, settings, sessions, vault, sandbox, clock
):
    subscribe(company, card=simulator.payment_method(key, "succeeds"))
    clock.move(months=1)
    without = Submitter(settings, Processors(sandbox, vault))
    assert run(sessions, settings, without, clock.now).succeeded == 0
    with sessions() as session:
        assert session.get_one(Company, company.guid).parked_count == 1
    assert sandbox.records() == []
    assert len(simulator.ledger("payment_intent")) == 1


def test_a_period_that_is_filed_again_after_a_restored_back_up_finds_the_payment_that_it_had(
    simulator, company, key, settings, sessions, vault, sandbox, clock
):
    subscription = subscribe(company, card=simulator.payment_method(key, "succeeds"))
    submitter = Submitter(settings, Processors.load(settings, vault, sandbox))
    period = clock.move(months=1)
    assert run(sessions, settings, submitter, clock.now).succeeded == 1
    simulator.wait_for_callbacks()
    newest = transactions_of(company, subscription)[-1]
    with sessions.begin() as session:  # back to before that run
        session.execute(delete(TransactionEvent).where(TransactionEvent.transaction_guid == newest["guid"]))
        session.execute(delete(Transaction).where(Transaction.guid == newest["guid"]))
        session.execute(delete(Invoice).where(Invoice.guid == newest["invoice_guid"]))
        before = {"next_invoice_at": period, "invoice_count": 1}
        session.execute(update(Subscription).where(Subscription.guid == subscription["guid"]).values(**before))

    clock.move(days=3)
    assert run(sessions, settings, submitter, clock.now).succeeded == 0  # Stripe knows the key with other metadata
    clock.move(minutes=1)
    assert run(sessions, settings, submitter, clock.now).succeeded == 1
    again = transactions_of(company, subscription)[-1]
    assert again["guid"] != newest["guid"]
    assert (again["processor_uri"], again["status"]) == (newest["processor_uri"], "succeeded")
    assert len(simulator.ledger("payment_intent")) == 2
