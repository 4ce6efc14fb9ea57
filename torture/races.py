"""Programs that cancel, pay, refund and delete through the API, while runs go on in four processes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from billy.processors.base import ReceiptStatus
from billy.processors.sandbox import Sandbox
from tests.support.client import Client
from torture.acts import bill, check, client
from torture.case import DATABASES, Case
from torture.scenes import crowd, subscription
from torture.shoppers import in_threads
from torture.stage import Stage
from torture.world import World

RUNS = 4

CARDS = ("ok", "ok", "ok", "pending", "declined-twice", "lost-after-charge", "lost-before-charge", "fails", "stolen")

DELIVERY_SECONDS = 60
"""For so long an event may have to wait for the answer that it overtook."""

NOBODY = "IV1111111111111111111111"

OPTIONS = {
    # Nothing is broken here, so nothing may be 503: a crowd before SQLite's one writer has to be waited for.
    "billy.api.request_deadline": "60s",
    "billy.sandbox.latency": "0.02",
    # Here a process that is merely slow, on a busy machine, must not pass for one that was suspended.
    "billy.transaction.call_deadline": "2s",
    "billy.transaction.lease": "6s",
    "billy.transaction.settle_time": "1s",
}


def cases(seconds: float) -> Iterator[Case]:
    """PostgreSQL is where it matters."""
    for database in DATABASES:
        lasts = seconds / (10 if database == "postgresql" else 20)
        yield Case(f"races/{database}", crowd, partial(_race, lasts), (20,), OPTIONS)


def _race(seconds: float, stage: Stage) -> None:
    runs = [stage.start(bill, "--every", "0.2", "--concurrency", "4") for _ in range(RUNS)]
    meddling = stage.start(meddle, seconds, stage.rng.random())
    code = meddling.wait(seconds=seconds + 90)
    assert code == 0, f"the API did not answer as it should:\n{meddling.output}"
    stage.tally.faults += int(meddling.output.split()[-1])
    for each in runs:
        each.signal(signal.SIGTERM)
    for each in runs:
        code = each.wait()
        assert code == 0, f"a run exited {code}:\n{each.output}"
    stage.await_lease()
    stage.settle()
    stage.do(settle_pending)
    stage.audit(may_fail=True)


def meddle(world: World, seconds: float, seed: float) -> None:
    """Call the API for a while, from several threads; prints how often."""
    api, facts = client(world), world.facts
    calls = 0

    def shop(thread: int) -> None:
        nonlocal calls
        with world.sandbox() as sandbox:
            program = _Program(api, facts, random.Random(f"{seed}/{thread}"), sandbox)  # noqa: S311  # repeatable
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                program.act()
                calls += 1

    in_threads(shop)
    print(calls)  # it is what the case reads


class _Program:
    """Does anything that a company's program may do, to anything, at any time."""

    def __init__(self, api: Client, facts: dict[str, Any], rng: random.Random, sandbox: Sandbox) -> None:
        self._api, self._facts, self._rng, self._sandbox = api, facts, rng, sandbox
        self._customer = facts["customer"]
        self._acts = {
            self.subscribe: 5,
            self.order: 4,
            self.pay: 4,
            self.cancel: 3,
            self.refund: 3,
            self.cancel_subscription: 2,
            self.change_subscription: 2,
            self.say_how_it_ended: 4,
            self.move_out: 1,
        }

    def act(self) -> None:
        """One of them."""
        [act] = self._rng.choices(list(self._acts), list(self._acts.values()))
        act()

    def subscribe(self) -> None:
        self._call("POST", "/v1/subscriptions", subscription(self._customer, self._facts["plan"], self._card()))

    def order(self) -> None:
        card = {"funding_instrument_uri": f"/cards/{self._card()}"} if self._rng.random() < 0.7 else {}
        self._call("POST", "/v1/invoices", {"customer_guid": self._customer, "amount": 1000, **card})

    def pay(self) -> None:
        self._call("PUT", f"/v1/invoices/{self._any('invoices')}", {"funding_instrument_uri": f"/cards/{self._card()}"})

    def cancel(self) -> None:
        self._call("POST", f"/v1/invoices/{self._any('invoices')}/cancel", {})

    def refund(self) -> None:
        amount = self._rng.choice((1, 400, 1000))
        self._call("POST", f"/v1/invoices/{self._any('invoices')}/refund", {"amount": amount})

    def cancel_subscription(self) -> None:
        path = f"/v1/subscriptions/{self._any('subscriptions')}/cancel"
        self._call("POST", path, {"open_invoices": self._rng.choice(("true", "false"))})

    def change_subscription(self) -> None:
        change = {"funding_instrument_uri": f"/cards/{self._card()}", "open_invoices": "true"}
        self._call("PUT", f"/v1/subscriptions/{self._any('subscriptions')}", change)

    def move_out(self) -> None:
        """This customer is deleted, and the next one comes."""
        gone, self._customer = self._customer, self._api.post("/v1/customers").json["guid"]
        self._call("DELETE", f"/v1/customers/{gone}", None)

    def say_how_it_ended(self) -> None:
        """A pending record ends, well or not, and the processor tells; now and then a bank takes money back."""
        records = [record for record in self._sandbox.records() if record.status is ReceiptStatus.PENDING]
        if records:
            how = self._rng.choice((ReceiptStatus.SUCCEEDED, ReceiptStatus.SUCCEEDED, ReceiptStatus.FAILED))
            body = self._sandbox.settle(self._rng.choice(records).uri, how)
            for _ in range(self._rng.randint(1, 2)):
                self._deliver(body)

    def _deliver(self, event: bytes) -> None:
        # As a processor does: again, until it is taken.
        give_up_at = time.monotonic() + DELIVERY_SECONDS
        while True:
            late = time.monotonic() > give_up_at
            answer = self._api.app.post(self._facts["callback_path"], event, status="*")
            if check(answer, (200,) if late else (200, 409)) == 200:
                return
            time.sleep(0.2)

    def _call(self, method: str, path: str, params: dict[str, Any] | None) -> None:
        # Each may come at a moment that forbids it, or before there is anything; nothing else may happen.
        check(self._api.request(method, path, params, status="*"), (200, 400, 404, 409))  # type: ignore[arg-type]  # WebTest's

    def _any(self, noun: str) -> str:
        items = self._api.get(f"/v1/{noun}", {"limit": 30}).json["items"]
        return str(self._rng.choice(items)["guid"]) if items else NOBODY

    def _card(self) -> str:
        return self._rng.choice(CARDS)


def settle_pending(world: World) -> None:
    """Whatever is pending still, succeeds."""
    api, path = client(world), world.facts["callback_path"]
    with world.sandbox() as sandbox:
        for record in sandbox.records():
            if record.status is ReceiptStatus.PENDING:
                check(api.app.post(path, sandbox.settle(record.uri, ReceiptStatus.SUCCEEDED), status="*"), (200,))
