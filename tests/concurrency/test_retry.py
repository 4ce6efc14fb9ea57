"""``billy retry`` against runs and other operators, at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from billy import recording
from billy.billing_run import run
from billy.errors import InvalidOperationError
from billy.models import AuditEntry, Invoice, InvoiceStatus, SubmitStatus, Transaction

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.ini(
        {"billy.sandbox.latency": "0.02", "billy.sandbox.idempotent": "false", "billy.run.batch_size": "4"}
    ),
]

NUMBER = 40
OPERATORS = 3


@pytest.fixture
def waiting(make, clock, session, bystander):
    """Charges that were declined once and wait for tomorrow: their keys."""
    company = make.company()
    waits = {
        "submit_status": SubmitStatus.RETRYING,
        "attempt": 1,
        "refusal_count": 1,
        "next_attempt_at": clock.now + timedelta(days=1),
    }
    for _ in range(NUMBER):
        make.invoice(company, funding_instrument_uri="/cards/ok", charge=waits)
    own = Transaction.company_guid == company.guid
    with session.begin():
        return session.execute(select(Transaction.company_guid, Transaction.guid).where(own)).all()


def retry(sessions, clock, key, actor):
    with sessions.begin() as session:
        return recording.retry(session, session.get_one(Transaction, tuple(key)), clock.now, actor=actor)


def test_operators_and_runs_at_once_charge_each_once(waiting, sessions, settings, submitter, clock, sandbox):
    answers: Counter = Counter()

    def operator(actor: str) -> None:
        for key in waiting if actor != "operator-1" else reversed(waiting):
            try:
                answers[retry(sessions, clock, key, actor)] += 1
            except InvalidOperationError as refused:
                answers[type(refused).__name__] += 1

    def runs() -> None:
        while not all(each.done() for each in operators):
            run(sessions, settings, submitter, clock.now, concurrency=2)

    with ThreadPoolExecutor(OPERATORS + 2) as pool:
        operators = [pool.submit(operator, f"operator-{number}") for number in range(OPERATORS)]
        running = [pool.submit(runs) for _ in range(2)]
        for each in [*operators, *running]:
            each.result()
    run(sessions, settings, submitter, clock.now)

    assert answers[True] == NUMBER
    assert answers.total() == NUMBER * OPERATORS
    assert Counter(send.transaction_guid for send in sandbox.sends()) == Counter(key.guid for key in waiting)
    with sessions() as session:
        audited = session.scalars(select(AuditEntry.subject_guid).where(AuditEntry.action == "retry")).all()
        assert Counter(audited) == Counter(key.guid for key in waiting)
        paid = select(Invoice.status, Invoice.overpaid).where(Invoice.company_guid == waiting[0].company_guid)
        assert Counter(map(tuple, session.execute(paid))) == {(InvoiceStatus.SETTLED, False): NUMBER}


def test_a_second_operator_waits_and_finds_it_due(waiting, sessions, clock):
    key, done = waiting[0], threading.Event()
    with sessions.begin() as session:
        first = recording.retry(session, session.get_one(Transaction, tuple(key)), clock.now, actor="first")
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(retry, sessions, clock, key, "second")
            second.add_done_callback(lambda _: done.set())
            assert not done.wait(0.3), "it did not wait for the first one's lock"
            session.commit()
            assert (first, second.result(timeout=10)) == (True, False)


def test_a_run_does_not_wait_for_an_operator(waiting, sessions, settings, submitter, clock, sandbox):
    with sessions.begin() as session:
        recording.retry(session, session.get_one(Transaction, tuple(waiting[0])), clock.now, actor="slow")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(run, sessions, settings, submitter, clock.now).result(timeout=20).submitted == 0
    assert run(sessions, settings, submitter, clock.now).succeeded == 1
