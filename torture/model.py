"""Any story at all over the real API, with a simple model of what has to hold after each step.

Commands, runs, lost answers, processes that die in the middle of a call, outages, jumps of the clock and
callbacks, in any order. On SQLite, where leases use the clock that is moved here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from webtest import TestApp

from billy import clock
from billy.app import make_app
from billy.billing_run import run
from billy.errors import Unavailable
from billy.models.lifecycle import INVOICE, SUBMISSION, TRANSACTION, Lifecycle
from billy.processors.base import Receipt, ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import Record, Sandbox, SandboxOptions
from billy.secrets import Vault
from billy.submission import Processors, Submitter
from billy.verification import violations
from torture.acts import check
from torture.audit import compare, took_money, undone
from torture.case import Case
from torture.scenes import company, crowd, empty, paid_with
from torture.stage import Stage
from torture.watch import When
from torture.world import World

START = datetime(2026, 1, 31, 12, tzinfo=UTC)

CARDS = (
    "ok",
    "pending",
    "declined",
    "declined-twice",
    "stolen",
    "fails",
    "lost-before-charge",
    "lost-after-charge",
    "refund-pending",
    "refund-fails",
    "refund-lost-after-charge",
)

OPTIONS = {"billy.transaction.maximum_retry": "2", "billy.run.batch_size": "3"}

UNPAID = ("staged", "processing", "failed")

NOT_HERE = {"leases_are_taken_up"}
"""The clock jumps, and no run comes by: an operator is told, and it is no mistake."""

STORIES = 20

cards = st.sampled_from(CARDS)
number = st.integers(0, 1_000_000)


class Died(BaseException):
    """The process is killed. Nobody catches it, and what was not committed is gone."""


class Mortal:
    """A factory of adapters that may die in the middle of a submission."""

    name = Sandbox.name

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.dies: When | None = None

    def __call__(self, processor_key: str) -> Any:
        """The adapter for one company."""
        return _Mortal(self, self.sandbox(processor_key))


class _Mortal:
    def __init__(self, factory: Mortal, adapter: Any) -> None:
        self._factory = factory
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def submit(self, submission: Submission) -> Receipt:
        dies, self._factory.dies = self._factory.dies, None
        if dies is When.BEFORE:
            raise Died
        receipt: Receipt = self._adapter.submit(submission)
        if dies is When.AFTER:
            raise Died
        return receipt


@cache
def _migrated() -> bytes:
    """A database file with the schema and no rows."""
    with tempfile.TemporaryDirectory(prefix="billy-model-") as directory:
        empty(World.make(Path(directory), f"sqlite:///{directory}/billy.sqlite", {}))
        return Path(directory, "billy.sqlite").read_bytes()


class Story(RuleBasedStateMachine):
    """A company with one plan, its customers and all that happens to them."""

    charges_made = 0
    """In all stories."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="billy-story-"))
        (self.directory / "billy.sqlite").write_bytes(_migrated())
        self.world = World.make(self.directory, f"sqlite:///{self.directory}/billy.sqlite", OPTIONS)
        self.now = START
        self.real_clock, clock.utc_now = clock.utc_now, lambda: self.now
        self.sandbox = Sandbox(SandboxOptions(idempotent=False), call_deadline=1)
        self.processor = Mortal(self.sandbox)
        settings = self.world.settings()
        self.wsgi = make_app(settings, processor_factory=self.processor)  # type: ignore[arg-type]  # as good as one
        self.submitter = Submitter(settings, Processors(self.processor, Vault(settings.secret_keys)))  # type: ignore[arg-type]
        self.settings = settings
        self.sessions = self.wsgi.registry["billy.sessions"]
        self.invoices: dict[str, str] = {}
        """Their statuses after the last step."""
        self.subscriptions: list[str] = []
        self.events = 0
        """How many events of a life cycle the present step may come to for one record."""
        self.seen: dict[tuple[str, str, str], Any] = {}
        self.periods: dict[str, int] = {}
        self.undelivered: list[str] = []
        """The processor's events that Billy did not take yet."""
        self.last_callback: str | None = None

    @initialize(some=st.lists(cards, min_size=2, max_size=4))
    def register(self, some: list[str]) -> None:
        """A company, with something going on already."""
        self.api, self.facts = company(self.world, TestApp(self.wsgi))
        self.customers = [self.facts["customer"]]
        for card in some:
            self.subscribe(0, card, 0)
            self.order(0, card, 1000)

    def teardown(self) -> None:
        """However it went: once everything is well again, it all comes to rest, and nothing was lost."""
        try:
            if hasattr(self, "api"):
                self.come_to_rest()
        finally:
            clock.utc_now = self.real_clock
            self.wsgi.registry["billy.engine"].dispose()
            shutil.rmtree(self.directory)

    def come_to_rest(self) -> None:
        self.sandbox.fault, self.processor.dies = None, None
        for _ in range(20):
            self.now += timedelta(minutes=5)
            self.bill()
            with self.sessions() as session:
                if not any(undone(session)):
                    break
        self.deliver()
        assert self.undelivered == []
        self.check_everything()
        with self.sessions() as session:
            verdict = compare(self.sandbox.records(), session, may_fail=True)
        assert not verdict.is_bad, str(verdict)
        type(self).charges_made += verdict.charges

    # -- what may happen -----------------------------------------------------------------------------

    @rule(which=number, card=cards, days=st.integers(0, 2))
    def subscribe(self, which: int, card: str, days: int) -> None:
        order = {"customer_guid": self.pick(self.customers, which), "plan_guid": self.facts["plan"], **paid_with(card)}
        if days:
            order["started_at"] = (self.now + timedelta(days=days)).isoformat()
        self.call("POST", "/v1/subscriptions", order)

    @rule(which=number, card=st.none() | cards, amount=st.sampled_from((0, 1, 1000)))
    def order(self, which: int, card: str | None, amount: int) -> None:
        order = {"customer_guid": self.pick(self.customers, which), "amount": amount, **maybe_paid_with(card)}
        self.call("POST", "/v1/invoices", order)

    @precondition(lambda self: self.that_are(*UNPAID))
    @rule(which=number, card=cards)
    def pay(self, which: int, card: str) -> None:
        self.call("PUT", f"/v1/invoices/{self.pick(self.that_are(*UNPAID), which)}", paid_with(card))

    @precondition(lambda self: self.that_are(*UNPAID))
    @rule(which=number)
    def cancel_invoice(self, which: int) -> None:
        self.call("POST", f"/v1/invoices/{self.pick(self.that_are(*UNPAID), which)}/cancel", {})

    @precondition(lambda self: self.that_are("settled"))
    @rule(which=number, amount=st.sampled_from((1, 400, 1000)))
    def refund(self, which: int, amount: int) -> None:
        self.call("POST", f"/v1/invoices/{self.pick(self.that_are('settled'), which)}/refund", {"amount": amount})

    @precondition(lambda self: self.invoices)
    @rule(which=number, card=cards, does=st.sampled_from(("PUT", "cancel", "refund")))
    def do_anything_to_any_invoice(self, which: int, card: str, does: str) -> None:
        path = f"/v1/invoices/{self.pick(list(self.invoices), which)}"
        if does == "PUT":
            self.call("PUT", path, paid_with(card))
        else:
            self.call("POST", f"{path}/{does}", {"amount": 1})

    @precondition(lambda self: self.subscriptions)
    @rule(which=number, open_invoices=st.booleans())
    def cancel_subscription(self, which: int, open_invoices: bool) -> None:
        guid = self.pick(self.subscriptions, which)
        self.call("POST", f"/v1/subscriptions/{guid}/cancel", {"open_invoices": str(open_invoices).lower()})

    @precondition(lambda self: self.subscriptions)
    @rule(which=number, card=cards)
    def change_subscription(self, which: int, card: str) -> None:
        guid = self.pick(self.subscriptions, which)
        self.call("PUT", f"/v1/subscriptions/{guid}", {"open_invoices": "true", **paid_with(card)})

    @rule(which=number)
    def delete_customer(self, which: int) -> None:
        """And another one comes."""
        if (created := self.call("POST", "/v1/customers", {})) is not None:
            self.customers.append(created["guid"])
        self.call("DELETE", f"/v1/customers/{self.pick(self.customers, which)}", None)

    @rule()
    def bill(self) -> None:
        self.events = 2  # filed: charged, and paid or not
        try:
            run(self.sessions, self.settings, self.submitter, self.now, concurrency=1)
        except Died:
            return
        for subscription in self.items("subscriptions"):
            begun = (self.now - datetime.fromisoformat(subscription["started_at"])) // timedelta(days=1) + 1
            if not subscription["canceled"]:
                assert subscription["invoice_count"] == max(begun, 0), f"{begun} periods have begun: {subscription}"

    @rule(time=st.sampled_from((timedelta(minutes=1), timedelta(hours=1), timedelta(hours=25), timedelta(days=3))))
    def time_passes(self, time: timedelta) -> None:
        self.now += time

    @rule(when=st.sampled_from(When))
    def the_next_call_kills(self, when: When) -> None:
        self.processor.dies = when

    @rule(is_away=st.booleans())
    def an_outage(self, is_away: bool) -> None:
        self.sandbox.fault = Unavailable("The processor cannot be reached") if is_away else None

    @precondition(lambda self: any(record.status is ReceiptStatus.PENDING for record in self.sandbox.records()))
    @rule(which=number, has_succeeded=st.booleans())
    def a_pending_record_ends(self, which: int, has_succeeded: bool) -> None:
        pending = [record for record in self.sandbox.records() if record.status is ReceiptStatus.PENDING]
        self.tell(self.pick(pending, which), ReceiptStatus.SUCCEEDED if has_succeeded else ReceiptStatus.FAILED)

    @precondition(lambda self: any(is_paid(record) for record in self.sandbox.records()))
    @rule(which=number)
    def a_bank_takes_it_back(self, which: int) -> None:
        paid = [record for record in self.sandbox.records() if is_paid(record)]
        self.tell(self.pick(paid, which), ReceiptStatus.FAILED)

    @precondition(lambda self: self.undelivered)
    @rule()
    def the_processor_tells_again(self) -> None:
        self.deliver()

    @precondition(lambda self: self.last_callback is not None and self.sandbox.fault is None)
    @rule()
    def a_callback_comes_again(self) -> None:
        answer = self.api.app.post(self.facts["callback_path"], self.last_callback)
        assert answer.json == {"code": "ignore"}

    # -- what holds after each step ------------------------------------------------------------------

    @invariant()
    def check_everything(self) -> None:
        if not hasattr(self, "api"):
            return
        invoices, transactions = self.items("invoices"), self.items("transactions")
        self.invoices = {invoice["guid"]: invoice["status"] for invoice in invoices}
        self.money_is_taken_once(invoices, transactions)
        self.each_period_has_one_invoice(invoices)
        for invoice in invoices:
            self.moved_as_the_table_says(INVOICE, invoice, "status")
        for transaction in transactions:
            self.moved_as_the_table_says(SUBMISSION, transaction, "submit_status")
            self.moved_as_the_table_says(TRANSACTION, transaction, "status")
        self.events = 0
        with self.sessions() as session:
            assert [each for each in violations(session) if each.invariant not in NOT_HERE] == []

    def money_is_taken_once(self, invoices: list[Any], transactions: list[Any]) -> None:
        invoice_of = {transaction["guid"]: transaction["invoice_guid"] for transaction in transactions}
        taken: dict[str, int] = dict.fromkeys(invoice_of.values(), 0)
        for record in self.sandbox.records():
            if took_money(record):
                taken[invoice_of[record.transaction_guid]] += record.amount
                assert record.refunded <= record.amount, f"more is given back than was taken: {record}"
        for invoice in invoices:
            money = taken.get(invoice["guid"], 0)
            assert money in (0, invoice["effective_amount"]) or invoice["overpaid"], f"took {money} for {invoice}"

    def each_period_has_one_invoice(self, invoices: list[Any]) -> None:
        filed = defaultdict(list)
        for invoice in invoices:
            if invoice["invoice_type"] == "subscription":
                filed[invoice["subscription_guid"]].append(datetime.fromisoformat(invoice["scheduled_at"]))
        subscriptions = self.items("subscriptions")
        self.subscriptions = [subscription["guid"] for subscription in subscriptions]
        for subscription in subscriptions:
            started_at = datetime.fromisoformat(subscription["started_at"])
            periods = sorted(filed[subscription["guid"]])
            expected = [started_at + timedelta(days=day) for day in range(subscription["invoice_count"])]
            assert periods == expected, f"periods {periods} of {subscription}"
            assert not periods or periods[-1] <= self.now, f"billed before it began: {subscription}"

    def moved_as_the_table_says(self, lifecycle: Lifecycle[Any, Any], record: Any, column: str) -> None:
        key, state = (lifecycle.name, record["guid"], column), record[column]
        before = self.seen.get(key, lifecycle.initial)
        went = f"{lifecycle.name} went from {before} to {state}: {record}"
        assert state in reachable(lifecycle, before, self.events), went
        self.seen[key] = next(known for known in lifecycle.states if known == state)

    # -- how -----------------------------------------------------------------------------------------

    def call(self, method: str, path: str, params: dict[str, Any] | None) -> Any:
        """The answer, or None where it was refused or the process died."""
        self.events = 2  # the same
        excuses = (200, 400, 409, 503) if self.sandbox.fault else (200, 400, 409)
        try:
            answer = self.api.request(method, path, params, status="*")  # type: ignore[arg-type]  # WebTest's
        except Died:
            return None
        return answer.json if check(answer, excuses) == 200 else None

    def tell(self, record: Record, status: ReceiptStatus) -> None:
        """The processor's record changes, and it tells until it is heard."""
        self.undelivered.append(self.sandbox.settle(record.uri, status).decode())
        self.deliver()

    def deliver(self) -> None:
        """All that was not taken yet: a failure is not, while the answer of its submission is not in."""
        self.sandbox.fault = None
        self.events += len(self.undelivered)  # paid, or not
        for event in tuple(self.undelivered):
            if check(self.api.app.post(self.facts["callback_path"], event, status="*"), (200, 409)) == 200:
                self.undelivered.remove(event)
                self.last_callback = event

    def items(self, noun: str) -> list[Any]:
        return list(self.api.get(f"/v1/{noun}", {"limit": 1000}).json["items"])

    def that_are(self, *statuses: str) -> list[str]:
        return [guid for guid, status in self.invoices.items() if status in statuses]

    @staticmethod
    def pick(things: list[Any], which: int) -> Any:
        return things[which % len(things)]


def maybe_paid_with(card: str | None) -> dict[str, str]:
    """With a card, or without."""
    return {} if card is None else paid_with(card)


def is_paid(record: Record) -> bool:
    """Whether it is a charge that a bank could take back."""
    return record.type is not SubmissionType.REFUND and record.status is ReceiptStatus.SUCCEEDED


@cache
def reachable(lifecycle: Lifecycle[Any, Any], state: Any, events: int) -> frozenset[Any]:
    """What so many events may make of a state, as the table allows them."""
    found = {state}
    for _ in range(events):
        found |= set(_next(lifecycle, found))
    return frozenset(found)


def _next(lifecycle: Lifecycle[Any, Any], states: set[Any]) -> Iterator[Any]:
    for state in states:
        for event in (*lifecycle.commands, *lifecycle.facts):
            if lifecycle.allows(event, state):
                yield lifecycle.after(event, state)


def cases(*, stories: int = STORIES) -> Iterator[Case]:
    """One: many stories."""
    yield Case("model/sqlite", crowd, partial(_play, stories), (0,))


def _play(number: int, stage: Stage) -> None:
    child = stage.start(tell_stories, number, stage.rng.getrandbits(64))
    code = child.wait(seconds=600)
    assert code == 0, child.output
    stage.tally.faults += number
    stage.tally.charges += int(child.output.split()[-1])


def tell_stories(world: World, number: int, seed: int) -> None:
    """Prints how often they charged."""
    settings = hypothesis.settings(
        max_examples=number,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # to make a bad story shorter can take minutes
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Story), settings=settings)
    print(Story.charges_made)
