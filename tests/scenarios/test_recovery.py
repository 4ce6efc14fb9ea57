"""A database that was restored from yesterday's back-up, in one process; tests/operations does it for real.

The ledger forgives nothing: without a look-up each of these would be charged twice.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from billy import recording, recovery
from billy.errors import InvalidOperationError, MoneyMoving, Refused
from billy.models import AuditEntry, Base, Company, Recovery, Transaction
from billy.models.recovery import EARLY_TRIES, lost_keys
from billy.models.retry import RetryPolicy
from billy.models.subscription import file_missed
from billy.processors.base import ReceiptStatus, SubmissionType
from billy.processors.sandbox import SandboxProcessor
from billy.recording import Silence
from billy.statements import claim_due, database_now, due_subscriptions, insert_filed
from tests.support.bystander import make_bystander, snapshot

from .conftest import invoices_of, subscribe, transactions_of

HOUR = timedelta(hours=1)

# Nobody is sending any more, so that what is not found is conclusive at once.
pytestmark = pytest.mark.ini(
    {
        "billy.sandbox.idempotent": "false",
        "billy.transaction.call_deadline": "0.05s",
        "billy.transaction.lease": "0.15s",
        "billy.transaction.settle_time": "0s",
    }
)


@pytest.fixture
def company(api):
    """The story's company. A recovery is everybody's, so no other one may be left out of it."""
    return api.company()


@pytest.fixture
def backup(engine):
    """Takes a back-up of all rows; returns what restores it."""

    def take():
        tables = Base.metadata.sorted_tables
        with engine.connect() as connection:
            kept = {table: connection.execute(table.select()).mappings().all() for table in tables}

        def restore():
            with engine.begin() as connection:
                for table in reversed(tables):
                    if table is Transaction.__table__:  # refunds refer to charges
                        connection.execute(delete(Transaction).where(Transaction.refund_of_guid.is_not(None)))
                    connection.execute(table.delete())
                for table in tables:
                    if kept[table]:
                        connection.execute(table.insert(), [dict(row) for row in kept[table]])

        return restore

    return take


@pytest.fixture
def recover(sessions, settings, clock, backup):
    """``billy recover --since`` the time of the back-up."""

    def recover(since, **options):
        with sessions.begin() as session:
            return recovery.recover(session, settings, since, clock.now, actor="operator@host", **options)

    return recover


@pytest.fixture
def settle(bill, clock):
    """Runs, until the last send of the lost time is long past and nothing is due."""

    def settle():
        for _ in range(20):
            summary = bill()
            clock.move(minutes=1)
            time.sleep(0.05)
            if not (summary.submitted or summary.filed):
                return
        raise AssertionError(f"it does not come to rest: {summary}")

    return settle


def charged(sandbox):
    """Debits that moved money, by what they are for: a period of a subscription, or a transaction."""
    alive = [each for each in sandbox.charges() if each.status is not ReceiptStatus.FAILED]
    return sorted(each.submission_key.rpartition("-")[0] for each in alive)


def booked(session: Session) -> set[str]:
    return set(session.scalars(select(Transaction.processor_uri).where(Transaction.processor_uri.is_not(None))))


def order(company, card, **params):
    customer = company.post("/v1/customers").json
    invoice = {"customer_guid": customer["guid"], "amount": 700, "funding_instrument_uri": card}
    return company.post("/v1/invoices", {**invoice, **params}).json


def test_a_period_that_is_filed_again_is_found_and_not_charged_again(
    company, sandbox, session, bill, settle, backup, recover, clock
):
    subscription = subscribe(company)
    clock.move(months=1, hours=-1)
    bill()
    since, restore = clock.now, backup()
    clock.move(hours=2)
    assert bill().succeeded == 1
    restore()

    found = recover(since)
    settle()
    assert (found.charges, found.refunds, found.subscriptions, found.companies) == (0, 0, 1, 1)
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled", "settled"]
    assert len(sandbox.charges()) == 2
    assert booked(session) == {each.uri for each in sandbox.charges()}


def test_without_it_the_period_is_charged_again(company, sandbox, settle, backup, clock, bill):
    subscribe(company)
    clock.move(months=1, hours=-1)
    restore = backup()
    clock.move(hours=2)
    bill()
    restore()
    settle()
    assert len(sandbox.charges()) == 3


def test_a_period_that_was_not_charged_is_charged_after_the_look_up(
    company, sandbox, settle, backup, recover, clock, bill
):
    subscription = subscribe(company)
    bill()
    since = clock.now
    clock.move(months=1)
    recover(since)
    settle()
    assert [invoice["status"] for invoice in invoices_of(company, subscription)] == ["settled", "settled"]
    assert len(sandbox.charges()) == 2


def test_a_period_that_begins_after_the_recovery_is_charged_at_once(company, sandbox, backup, recover, clock, bill):
    subscribe(company)
    bill()
    recover(clock.now)
    clock.move(months=1)
    assert bill().succeeded == 1


def test_a_retry_that_succeeded_under_a_later_key_is_found(
    company, sandbox, session, bill, settle, backup, recover, clock
):
    invoice = order(company, "/cards/declined-twice")
    bill()
    since, restore = clock.now, backup()
    for hours in (2, 10):
        clock.move(hours=hours)
        bill()
    [charge] = sandbox.charges()
    assert charge.submission_key.endswith("-3")
    restore()

    recover(since)
    settle()
    assert company.get(f"/v1/invoices/{invoice['guid']}").json["status"] == "settled"
    assert [each.uri for each in sandbox.charges()] == [charge.uri]
    [booked] = company.get(f"/v1/invoices/{invoice['guid']}/transactions").json["items"]
    assert booked["processor_uri"] == charge.uri
    assert session.scalar(select(Transaction.submission_key)) == charge.submission_key


def test_a_retry_that_an_operator_had_made_at_once_is_found_too(
    company, sandbox, sessions, bill, settle, backup, recover, clock, session
):
    subscription, bystander = subscribe(company, card="/cards/declined-twice"), subscribe(company)
    since, restore = clock.now, backup()
    [declined] = transactions_of(company, subscription)
    for _ in range(2):  # hours before the next try is due
        clock.move(minutes=1)
        with sessions.begin() as operators:
            transaction = operators.get_one(Transaction, (company.guid, declined["guid"]))
            assert recording.retry(operators, transaction, clock.now, actor="operator@host")
        bill()
    charges = charged(sandbox)
    assert len(charges) == 2
    restore()
    recover(since)
    settle()
    clock.move(days=7)
    bill()
    assert charged(sandbox) == charges
    assert [each["status"] for each in invoices_of(company, subscription)] == ["settled"]
    assert len(transactions_of(company, bystander)) == 1


def test_a_period_that_was_paid_with_another_card_is_found(company, sandbox, bill, settle, backup, recover, clock):
    subscription = subscribe(company, card="/cards/declined")
    bill()
    since, restore = clock.now, backup()
    clock.move(minutes=10)
    [invoice] = invoices_of(company, subscription)
    company.put(f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"})
    [charge] = sandbox.charges()
    restore()

    recover(since)
    settle()
    [invoice] = invoices_of(company, subscription)
    assert invoice["status"] == "settled"
    [transaction] = transactions_of(company, subscription)
    assert transaction["processor_uri"] == charge.uri


@pytest.mark.parametrize("how", ["invoice", "subscription"])
def test_a_customer_who_pays_again_what_he_paid_in_the_lost_time_is_not_charged_again(
    company, sandbox, bill, settle, backup, recover, clock, how
):
    subscription = subscribe(company, card="/cards/stolen")
    since, restore = clock.now, backup()
    [invoice] = invoices_of(company, subscription)
    assert invoice["status"] == "failed"
    path, change = {
        "invoice": (f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"}),
        "subscription": (
            f"/v1/subscriptions/{subscription['guid']}",
            {"funding_instrument_uri": "/cards/ok", "open_invoices": "true"},
        ),
    }[how]
    company.put(path, change)
    bill()
    [charge] = sandbox.charges()
    restore()
    recover(since)
    clock.move(minutes=5)
    company.put(path, change)
    settle()
    assert [each.uri for each in sandbox.charges()] == [charge.uri]
    assert invoices_of(company, subscription)[0]["status"] == "settled"


def test_what_is_paid_again_is_looked_up_from_the_period_on_and_not_from_today(
    company, sandbox, settle, backup, recover, clock, monkeypatch
):
    subscription, bystander = subscribe(company, card="/cards/stolen"), subscribe(company)
    [others] = sandbox.charges()
    since, restore = clock.now, backup()
    [invoice] = invoices_of(company, subscription)
    path, change = f"/v1/invoices/{invoice['guid']}", {"funding_instrument_uri": "/cards/ok"}
    clock.move(hours=2)
    paid_at = clock.now
    company.put(path, change)
    charges = sandbox.charges()
    restore()
    recover(since)
    clock.move(days=2)
    real = SandboxProcessor.look_up

    def look_up(self, submission):  # as Stripe's does: it lists what was made since
        return None if submission.not_before > paid_at else real(self, submission)

    monkeypatch.setattr(SandboxProcessor, "look_up", look_up)
    assert company.put(path, change).json["status"] == "settled"
    settle()
    assert sandbox.charges() == charges
    assert [each["processor_uri"] for each in transactions_of(company, bystander)] == [others.uri]


def test_after_a_recovery_a_refund_of_a_period_is_still_made_at_once(company, sandbox, recover, clock):
    subscription, bystander = subscribe(company), subscribe(company)
    recover(clock.now)
    clock.move(days=1)
    [invoice] = invoices_of(company, subscription)
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 300})
    [made] = [each for each in sandbox.records() if each.type is SubmissionType.REFUND]
    assert made.amount == 300
    assert [each["submit_status"] for each in transactions_of(company, subscription)] == ["done", "done"]
    assert [each["transaction_type"] for each in transactions_of(company, bystander)] == ["debit"]


def test_a_declined_card_is_not_tried_sooner_than_it_would_have_been(company, sandbox, bill, settle, recover, clock):
    order(company, "/cards/declined")
    recover(clock.now)
    before = clock.now
    settle()
    assert len(sandbox.sends()) == 1
    clock.now = before + timedelta(minutes=50)
    bill()
    assert len(sandbox.sends()) == 1
    clock.now = before + 2 * HOUR
    bill()
    assert len(sandbox.sends()) == 2


def test_a_refund_that_was_made_is_found(company, sandbox, bill, settle, backup, recover, clock, session):
    invoice = order(company, "/cards/refund-unreachable")
    company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 300})
    bill()
    since, restore = clock.now, backup()
    # The processor is reached again.
    submission_key = session.scalar(select(Transaction.submission_key).where(Transaction.refund_of_guid.is_not(None)))
    session.rollback()
    with sandbox._ledger.writing() as db:
        db.execute("UPDATE records SET instrument = '/cards/ok'")
    clock.move(hours=1)
    assert bill().succeeded == 1
    restore()
    found = recover(since)
    settle()
    assert (found.charges, found.refunds) == (0, 1)
    made = [each for each in sandbox.records() if each.type is SubmissionType.REFUND]
    assert [each.submission_key for each in made] == [submission_key]


def test_money_of_another_amount_waits_for_a_person(company, sandbox, bill, settle, backup, recover, clock, session):
    subscription = subscribe(company, amount=1000)
    clock.move(months=1, hours=-1)
    bill()
    since, restore = clock.now, backup()
    company.put(f"/v1/subscriptions/{subscription['guid']}", {"amount": 2000})
    clock.move(hours=2)
    bill()
    restore()
    recover(since)
    bill()
    assert len(sandbox.charges()) == 2
    charge = transactions_of(company, subscription)[-1]
    assert (charge["submit_status"], charge["status"]) == ("retrying", None)
    assert "of 2000 cents" in charge["failures"][-1]["error_message"]


def test_it_refuses_while_something_is_claimed(company, sessions, recover, clock, settings):
    order(company, "/cards/unreachable")
    clock.move(hours=1)
    with sessions.begin() as session:
        assert claim_due(session, clock.now, limit=1, lease=HOUR, deadline=settings.call_deadline)
    with pytest.raises(MoneyMoving, match=r"stop every server and scheduler .* in 3[56]\d\d s"):
        recover(clock.now)
    with sessions.begin() as session:
        assert session.scalars(select(Recovery)).all() == []
        session.execute(update(Transaction).values(leased_until=None))


def test_a_lease_of_the_back_up_that_is_over_is_no_hindrance(company, sessions, recover, clock, settings, session):
    order(company, "/cards/unreachable")
    clock.move(hours=1)
    with sessions.begin() as claiming:
        assert claim_due(claiming, clock.now, limit=1, lease=HOUR, deadline=settings.call_deadline)
        claiming.execute(update(Transaction).values(leased_until=database_now(claiming) - HOUR))
    assert recover(clock.now).charges == 1
    assert session.scalar(select(Transaction.leased_until)) is None


def test_a_time_that_cannot_be_the_back_ups_is_refused(company, recover, bill, clock):
    bill()
    with pytest.raises(InvalidOperationError, match="has not come yet"):
        recover(clock.now + HOUR)
    since = clock.move(hours=2)
    with pytest.raises(InvalidOperationError, match=r"the newest run in these books is of 2026-01-15T12:00:00\+00:00"):
        recover(since)


def test_closed_records_are_left_alone(company, make, engine, recover, clock):
    bystander = make_bystander(make)
    before = snapshot(engine, bystander)
    recover(clock.now)
    after = snapshot(engine, bystander)
    [entry] = after.pop("audit_entry")
    assert before.pop("audit_entry") == []
    pairs = zip(before["transaction"], after["transaction"], strict=True)
    [(was, now)] = [(was, now) for was, now in pairs if was != now]
    changed = {name for name in was if was[name] != now[name]}
    assert changed == {"in_doubt", "lost_since", "last_send_at", "next_attempt_at"}
    assert {**before, "transaction": []} == {**after, "transaction": []}
    assert (entry["action"], entry["subject_guid"]) == ("recover", bystander.company.guid)
    assert "1 charges, 0 refunds" in entry["detail"]


def test_twice_is_once(company, sandbox, settle, backup, recover, clock, bill, session):
    order(company, "/cards/declined-twice")
    since, restore = clock.now, backup()
    for hours in (2, 10):
        clock.move(hours=hours)
        bill()
    restore()
    first = recover(since)
    clock.move(minutes=1)
    assert recover(since) == first
    assert session.scalar(select(Transaction.lost_since)) == since
    session.rollback()
    settle()
    assert len(sandbox.charges()) == 1
    assert len(session.scalars(select(Recovery)).all()) == 2


def test_a_dry_run_counts_and_changes_nothing(company, recover, engine, sessions, clock, session):
    order(company, "/cards/declined")
    own = session.get_one(Company, company.guid)
    session.rollback()
    before = _rows(engine)
    assert recover(clock.now, dry_run=True).charges == 1
    assert _rows(engine) == before
    recover(clock.now)
    assert _rows(engine) != before
    assert session.scalars(select(AuditEntry.subject_guid)).all() == [own.guid]


def _rows(engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {table.name: connection.execute(table.select()).all() for table in Base.metadata.sorted_tables}


@pytest.mark.parametrize("is_conclusive", [True, False])
def test_that_a_key_was_refused_says_nothing_while_the_next_one_may_be_on_its_way(
    company, recover, clock, monkeypatch, submitter, sessions, is_conclusive
):
    order(company, "/cards/declined")
    recover(clock.now)
    with sessions.begin() as session:
        [claim] = submitter.claim_due(session, clock.now, 1)
    claim = replace(claim, is_conclusive=is_conclusive)
    first = claim.submission.key

    def look_up(processor, submission):
        if submission.key == first:
            raise Refused("Insufficient funds", code="insufficient-funds")

    monkeypatch.setattr(SandboxProcessor, "look_up", look_up)
    outcome = submitter.perform(claim)
    assert isinstance(outcome.answer, Refused) if is_conclusive else outcome.answer is Silence.NOT_FOUND
    with sessions.begin() as session:
        submitter.record(session, [outcome], clock.now)


def test_look_ups_end_with_their_claim_and_begin_anew_with_the_next(
    company, recover, clock, submitter, sessions, session, settle, sandbox
):
    order(company, "/cards/declined")
    recover(clock.now)
    with sessions.begin() as claiming:
        [claim] = submitter.claim_due(claiming, clock.now, 1)
    outcome = submitter.perform(replace(claim, send_before=0))
    assert outcome.answer is Silence.NOT_SENT
    with sessions.begin() as recording:
        submitter.record(recording, [outcome], clock.now)
    transaction = session.scalars(select(Transaction)).one()
    assert (transaction.in_doubt, transaction.lost_since, transaction.leased_until) == (True, clock.now, None)
    session.rollback()
    settle()
    assert len(sandbox.sends()) == 1


POLICY = RetryPolicy(maximum_retry=10, after_refusal=(HOUR, 6 * HOUR, 24 * HOUR), after_silence=(HOUR,))


@pytest.mark.parametrize(
    ("lost", "refusals", "tries"),
    [
        (timedelta(0), 0, 1 + EARLY_TRIES),
        (timedelta(minutes=53), 0, 1 + EARLY_TRIES),
        (timedelta(minutes=54), 0, 2 + EARLY_TRIES),  # the jitter may have made the hour shorter
        (timedelta(hours=24), 0, 3 + EARLY_TRIES),
        (timedelta(hours=24), 2, 2 + EARLY_TRIES),
        (timedelta(days=365), 0, 11),
        (timedelta(hours=24), 9, 2),
        (timedelta(days=365), 10, 1),
    ],
)
def test_as_many_keys_are_looked_up_as_may_have_been_sent(lost, refusals, tries):
    keys = lost_keys("TX1-4", lost, POLICY, refusals)
    assert keys == [f"TX1-{4 + number}" for number in range(tries)]


def test_of_the_tries_that_came_early_those_with_the_longest_pauses_did():
    policy = replace(POLICY, after_refusal=(20 * HOUR, 10 * HOUR, 10 * HOUR, 100 * HOUR))
    assert [policy.most_tries_within(24 * HOUR, 0, early=early) for early in (0, 1, 2, 20)] == [2, 4, 5, 11]


def test_a_periods_later_charges_are_looked_up_too():
    period = "SU1/20260101T000000.000000Z"
    own = [f"{period}/1-{number}" for number in range(2, 3 + EARLY_TRIES)]
    later = [f"{period}/{charge}-{number}" for charge in (2, 3) for number in range(1, 3 + EARLY_TRIES)]
    assert lost_keys(f"{period}/1-2", HOUR, POLICY, 1) == own + later


@pytest.mark.postgresql
def test_it_waits_for_a_run_that_is_filing_and_marks_what_that_filed(
    company, sessions, recover, clock, session, settings, sandbox, settle, bill
):
    """In two columns::

    a run                                   billy recover
    locks what is due
                                            waits for that
    files it, commits
                                            marks what was filed
    """
    subscription = subscribe(company)
    bill()
    since = clock.now
    clock.move(months=1)
    with ThreadPoolExecutor(1) as pool, sessions() as running:
        due = due_subscriptions(running, clock.now, limit=10)
        waiting = pool.submit(recover, since)
        _wait_for_a_lock(sessions)
        insert_filed(running, [(each, file_missed(each, clock.now)) for each in due], clock.now)
        running.commit()
        assert waiting.result(timeout=30).charges == 1
    [charge] = session.scalars(select(Transaction).where(Transaction.in_doubt))
    assert charge.subscription_guid == subscription["guid"]


def _wait_for_a_lock(sessions):
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        with sessions() as session:
            if session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ExclusiveLock'")):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")
