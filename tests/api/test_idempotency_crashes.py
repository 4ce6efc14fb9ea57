"""A process that dies in the middle of a request with an idempotency key: the next one makes up for it, once.

It is let die before and after each of the request's commits and of its calls to the processor, one after the other. The
sandbox's idempotency is off, so that a second send would really charge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from billy import guid
from billy.models import IdempotencyKey
from billy.processors.sandbox import SandboxProcessor
from tests.api.requests import REQUESTS, Sent, stored
from tests.support.client import Api, Client

pytestmark = pytest.mark.ini({"billy.sandbox.idempotent": "false"})

KEY = "a-key"
CALLS = ("create_customer", "validate_customer", "validate_funding_instrument", "submit", "register_callback")

each_request = pytest.mark.parametrize("name", REQUESTS)


class Death(BaseException):
    """The end of a process, which nothing catches."""


class Process:
    """One that may die at a step of what it does."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.dies_at: int | None = None
        """Twice the number of the step; one more is after it."""

    def step(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any, **options: Any) -> Any:
            number = 2 * len(self.steps)
            self.steps.append(name)
            if self.dies_at == number:
                raise Death
            done = act(*arguments, **options)
            if self.dies_at == number + 1:
                raise Death
            return done

        return acting


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Process]:
    """Send a request, in a process that dies at one of its steps."""

    def run(send: Sent, *, dies_at: int | None) -> Process:
        process = Process()
        process.dies_at = dies_at
        with monkeypatch.context() as patch:
            patch.setattr(Session, "commit", process.step("commit", Session.commit))
            for call in CALLS:
                patch.setattr(SandboxProcessor, call, process.step(call, getattr(SandboxProcessor, call)))
            if dies_at is None:
                send(KEY)
            else:
                with pytest.raises(Death):
                    send(KEY)
        return process

    return run


@pytest.fixture
def lease_out(sessions: Any) -> Callable[[], IdempotencyKey | None]:
    """Let the dead one's lease run out; its key."""

    def run_out() -> IdempotencyKey | None:
        with sessions.begin() as session:
            session.execute(update(IdempotencyKey).values(leased_until=datetime(2000, 1, 1, tzinfo=UTC)))
            return session.scalar(select(IdempotencyKey))

    return run_out


def sizes(engine: Any) -> Counter[str]:
    return Counter({name: len(rows) for name, rows in stored(engine).items() if name != "billing_run"})


@pytest.fixture
def made(
    engine: Any, company: Client, process: Any, sandbox: Any, bill: Any
) -> Callable[[str], tuple[list[str], Counter[str], int]]:
    """The steps of a request whose process lives, the rows that it makes, and the sends that come of it."""

    def count(name: str) -> tuple[list[str], Counter[str], int]:
        send = REQUESTS[name](company)
        before, sends = sizes(engine), len(sandbox.sends())
        steps = process(send, dies_at=None).steps
        bill()
        return steps, sizes(engine) - before, len(sandbox.sends()) - sends

    return count


STEPS = {
    "create_company": ["commit", "commit", "register_callback", "commit"],
    "create_customer": ["commit", "commit", "create_customer", "commit"],
    "create_subscription": [
        *("commit", "commit", "validate_funding_instrument", "commit", "submit", "commit", "commit"),
    ],
    "create_invoice": ["commit", "commit", "validate_funding_instrument", "commit", "submit", "commit", "commit"],
    "change_invoice": ["commit", "commit", "validate_funding_instrument", "commit", "submit", "commit", "commit"],
    "change_subscription": ["commit", "commit", "validate_funding_instrument", "commit"],
    "refund_invoice": ["commit", "commit", "submit", "commit", "commit"],
}
"""Of the others: the claim, and the effect with its answer."""


@each_request
def test_wherever_its_process_dies_the_next_request_makes_up_for_it_once(
    name: str,
    company: Client,
    process: Any,
    made: Any,
    lease_out: Any,
    end_leases: Any,
    bill: Any,
    engine: Any,
    sandbox: Any,
    api: Api,
    sessions: Any,
) -> None:
    steps, rows, sends = made(name)
    assert steps == STEPS.get(name, ["commit", "commit"]), "not all that may go wrong is tried"
    for dies_at in range(2 * len(steps)):
        with sessions.begin() as session:
            session.query(IdempotencyKey).delete()
        send = REQUESTS[name](company)
        before, sent_before = sizes(engine), len(sandbox.sends())
        process(send, dies_at=dies_at)

        key = lease_out()
        answer = send(KEY)
        again = send(KEY)
        assert again.body == answer.body
        assert again.headers["Idempotent-Replayed"] == "true"
        if key is not None and name.startswith("create_"):
            assert answer.json["guid"][2:] == key.new_guid, "the guid was not the one that the key fixed"
        end_leases()
        bill()

        more = sizes(engine) - before
        if name == "create_company":
            api.client(answer.json["api_key"]).get("/v1/plans")
            more["api_key"] = min(more["api_key"], rows["api_key"])  # one that nobody has seen, and is closed
        assert more == rows, f"died at {dies_at} of {steps}"
        assert len(sandbox.sends()) - sent_before == sends, f"died at {dies_at} of {steps}"
        assert all(sandbox.charged(transaction["guid"]) == 1 for transaction in charges(company, name, answer.json))


def charges(company: Client, name: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """What was submitted by the request."""
    if name not in ("create_subscription", "create_invoice", "change_invoice", "refund_invoice"):
        return []
    noun = "subscriptions" if name == "create_subscription" else "invoices"
    [newest, *_] = company.get(f"/v1/{noun}/{record['guid']}/transactions").json["items"]
    assert newest["status"] == "succeeded"
    return [newest]


@pytest.mark.parametrize("name", ["create_invoice", "create_subscription", "change_invoice", "refund_invoice"])
def test_what_was_in_doubt_when_it_died_is_answered_as_it_stands_and_looked_up_by_a_run(
    name: str, company: Client, process: Any, lease_out: Any, end_leases: Any, bill: Any, sandbox: Any
) -> None:
    send = REQUESTS[name](company)
    sends = len(sandbox.sends())
    process(send, dies_at=2 * STEPS[name].index("submit") + 1)
    assert len(sandbox.sends()) == sends + 1
    lease_out()
    answer = send(KEY)
    assert len(sandbox.sends()) == sends + 1
    if name.endswith("_invoice") and name != "refund_invoice":
        assert answer.json["status"] == "processing"
    end_leases()
    bill()
    [transaction] = charges(company, name, answer.json)
    assert sandbox.charged(transaction["guid"]) == 1
    assert len(sandbox.sends()) == sends + 1
    assert send(KEY).body == answer.body, "the answer of a key does not change"


@pytest.mark.parametrize(
    ("bug", "status"), [(KeyError("a bug"), 500), (OperationalError("UPDATE", {}, Exception("away")), 503)]
)
def test_a_failure_after_the_charge_is_made_up_for_at_once_and_without_another(
    company: Client, sandbox: Any, monkeypatch: pytest.MonkeyPatch, bug: Exception, status: int
) -> None:
    def fail(*arguments: Any) -> None:
        raise bug

    send = REQUESTS["create_invoice"](company)
    with monkeypatch.context() as patch:
        patch.setattr("billy.submission.record", fail)
        patch.setattr("billy.db.time.sleep", lambda seconds: None)
        send(KEY, status=status)
    invoice = send(KEY).json
    assert invoice["status"] == "processing"
    assert len(company.get("/v1/invoices").json["items"]) == len(sandbox.sends()) == 1
    assert send(KEY).json == invoice


def test_the_processor_is_asked_twice_about_one_and_the_same_customer(
    company: Client, process: Any, lease_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    create = SandboxProcessor.create_customer

    def note(self: Any, guid: str, *, is_first_try: bool = False) -> str:
        asked.append((guid, is_first_try))
        return create(self, guid, is_first_try=is_first_try)

    monkeypatch.setattr(SandboxProcessor, "create_customer", note)
    send = REQUESTS["create_customer"](company)
    process(send, dies_at=2 * STEPS["create_customer"].index("create_customer") + 1)
    lease_out()
    guid = send(KEY).json["guid"]
    assert asked == [(guid, True), (guid, False)], "it has to look whether it has him already"


def test_an_api_key_that_died_with_its_process_opens_nothing(
    company: Client, process: Any, lease_out: Any, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    lost: list[str] = []

    def new_key() -> str:
        lost.append(guid.new_key())
        return lost[-1]

    monkeypatch.setattr("billy.models.company.new_key", new_key)
    send = REQUESTS["create_company"](company)
    process(send, dies_at=2 * STEPS["create_company"].index("register_callback"))
    lease_out()
    registered = send(KEY).json
    *unseen, shown = lost
    assert registered["api_key"] == shown
    assert len(unseen) == 2  # a callback key and an API key
    for key in unseen:
        api.client(key).get("/v1/plans", status=401)
    api.client(shown).get("/v1/plans")
    assert send(KEY).json == registered


@pytest.mark.postgresql
@pytest.mark.parametrize("dies_at", [3, 6, 7, 8, 9])
def test_of_many_who_make_up_for_it_at_once_one_does(
    company: Client, process: Any, lease_out: Any, end_leases: Any, bill: Any, sandbox: Any, dies_at: int
) -> None:
    send = REQUESTS["create_invoice"](company)
    process(send, dies_at=dies_at)
    lease_out()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: send(KEY, status="*"), range(4)))
    done = [answer for answer in answers if answer.status_int == 200 and "Idempotent-Replayed" not in answer.headers]
    [one] = done
    others = [answer for answer in answers if answer is not one]
    assert all(answer.status_int == 409 or answer.body == one.body for answer in others)
    end_leases()
    bill()
    [transaction] = charges(company, "create_invoice", one.json)
    assert sandbox.charged(transaction["guid"]) == len(sandbox.sends()) == 1


@pytest.mark.parametrize("name", ["create_invoice", "create_company"])
def test_of_two_who_make_up_for_it_one_has_to_wait(
    name: str, company: Client, process: Any, lease_out: Any, sessions: Any
) -> None:
    send = REQUESTS[name](company)
    process(send, dies_at=3)
    lease_out()
    process(send, dies_at=1)  # the second, right after its claim
    assert send(KEY, status=409).json["error_class"] == "IdempotencyKeyInUse"
    lease_out()
    send(KEY)
