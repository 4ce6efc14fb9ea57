"""What the contract suite needs of an adapter's test bed, and the test bed of each adapter.

A new adapter adds a class like ``BalancedHarness`` and a line to ``HARNESSES``, or one from outside Billy to the
fixture in ``conftest.py``; then it has the whole of
``test_contract.py`` to pass before it needs any test of its own.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import urllib3

from billy.errors import Unavailable
from billy.processors.balanced import Balanced, BalancedOptions
from billy.processors.base import Processor, ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import Sandbox, SandboxOptions
from billy.processors.stripe import Stripe, StripeOptions
from billy.testing.balanced_simulator import BalancedSimulator
from billy.testing.stripe_simulator import StripeSimulator


class Kind(StrEnum):
    """How an instrument behaves when it is debited or credited."""

    SUCCEEDS = "succeeds"
    PENDING = "is pending until an event says how it ended"
    FAILS = "makes a record that failed"
    DECLINED = "is refused, another day may do"
    DECLINED_TWICE = "is refused twice, then succeeds"
    STOLEN = "is refused for good"
    UNREACHABLE = "does not reach the processor"
    SLOW_DOWN = "is asked to slow down"
    LOST_BEFORE = "is lost on the way to the processor, the first time"
    LOST_AFTER = "charges, and the answer is lost"
    TOO_SLOW = "charges, and takes longer than the deadline"
    UNKNOWN = "does not exist"
    DEBIT_ONLY = "cannot be credited"
    REFUND_PENDING = "succeeds, and its refunds are pending"
    REFUND_LOST = "succeeds, and the answers to its refunds are lost after they were made"


@dataclass(frozen=True)
class Kept:
    """What the processor's record says of where it came from."""

    amount: int
    key: str
    transaction_guid: str
    appears_on_statement_as: str | None
    description: str


class Harness(Protocol):
    """An adapter with a processor behind it that misbehaves on demand."""

    call_deadline: float
    """Seconds; short, so that the suite can wait for it."""
    idempotent: bool
    """Whether the processor itself answers a repeated key with the same record."""
    secret: str
    """The processor key of ``company``."""
    company: Processor
    other: Processor
    """Another company's."""
    revoked: Processor
    """One whose processor key the processor refuses."""

    unknown_customer: str
    """A URI that could be a customer's, and is not."""

    takes_back: bool
    """Whether a success can turn into a failure; elsewhere a bank's late no is a dispute."""
    yes: ReceiptStatus
    """What a submission gets that nothing speaks against: pending where every success is told later."""
    calls_back: bool
    """Whether the processor has callbacks; elsewhere an event changes a record, and Billy has to ask."""

    def instrument(self, kind: Kind, purpose: SubmissionType = SubmissionType.DEBIT) -> str | None:
        """The URI of an instrument of ``company`` that behaves so; None where the processor has no such thing."""

    def their_instrument(self) -> str:
        """One of ``other`` that succeeds."""

    def moved(self, submission: Submission) -> int:
        """How many records of the submission's key the processor has that did not fail."""

    def kept(self, processor_uri: str) -> Kept:
        """What the processor's record says."""

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        """Change a record at the processor; the body and headers of the callback that tells it."""

    def event_id(self, body: bytes) -> str:
        """The id that a callback's body tells."""

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        """A true callback to ``company`` that concerns none of our transactions."""

    def callback_urls(self) -> list[str]:
        """Where the processor calls ``company`` back."""

    def down(self) -> AbstractContextManager[None]:
        """The processor cannot be reached during the block."""

    def hanging(self) -> AbstractContextManager[None] | None:
        """The processor takes calls and does not answer them during the block; None where none is waited for."""

    def without_idempotency(self) -> Harness | None:
        """The same with a processor that charges again for a repeated key; None where it cannot."""

    def close(self) -> None:
        """Stop what was started."""


class SandboxHarness:
    """The sandbox, with its ledger in memory or in a file."""

    call_deadline = 0.6
    takes_back = True
    yes = ReceiptStatus.SUCCEEDED
    calls_back = True
    secret = "sk_sandbox_do_not_tell"
    unknown_customer = "/customers/not-found"

    _names = {
        Kind.SUCCEEDS: "ok",
        Kind.PENDING: "pending",
        Kind.FAILS: "fails",
        Kind.DECLINED: "declined",
        Kind.DECLINED_TWICE: "declined-twice",
        Kind.STOLEN: "stolen",
        Kind.UNREACHABLE: "unreachable",
        Kind.SLOW_DOWN: "slow-down",
        Kind.LOST_BEFORE: "lost-before-charge",
        Kind.LOST_AFTER: "lost-after-charge",
        Kind.TOO_SLOW: "slow",
        Kind.UNKNOWN: "not-found",
        Kind.DEBIT_ONLY: "debit-only",
        Kind.REFUND_PENDING: "refund-pending",
        Kind.REFUND_LOST: "refund-lost-after-charge",
    }

    def __init__(self, ledger: str, *, idempotent: bool = True) -> None:
        self._ledger = ledger
        self.idempotent = idempotent
        options = SandboxOptions(ledger=ledger, idempotent=idempotent, slow=60)
        self.sandbox = Sandbox(options, call_deadline=self.call_deadline)
        # Typed as the protocol, so that mypy compares the two.
        self.company: Processor = self.sandbox(self.secret)
        self.other: Processor = self.sandbox("sk_another_company")
        self.revoked: Processor = self.sandbox("revoked")

    def instrument(self, kind: Kind, purpose: SubmissionType = SubmissionType.DEBIT) -> str | None:
        return f"/cards/{self._names[kind]}"

    def their_instrument(self) -> str:
        return "/cards/ok"

    def moved(self, submission: Submission) -> int:
        records = self.sandbox.records(submission.transaction_guid)
        return sum(r.submission_key == submission.key and r.status is not ReceiptStatus.FAILED for r in records)

    def kept(self, processor_uri: str) -> Kept:
        (record,) = (record for record in self.sandbox.records() if record.uri == processor_uri)
        return Kept(
            amount=record.amount,
            key=record.submission_key,
            transaction_guid=record.transaction_guid,
            appears_on_statement_as=record.appears_on_statement_as,
            description=record.description,
        )

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        return self.sandbox.settle(processor_uri, status), {"Content-Type": "application/json"}

    def event_id(self, body: bytes) -> str:
        return str(json.loads(body)["id"])

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        return self.sandbox.announce(self.secret), {"Content-Type": "application/json"}

    def callback_urls(self) -> list[str]:
        return self.sandbox.callbacks(self.secret)

    @contextmanager
    def down(self) -> Iterator[None]:
        self.sandbox.fault = Unavailable("The processor cannot be reached")
        yield
        self.sandbox.fault = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        if self._ledger == ":memory:":
            with self.sandbox._ledger._lock:
                yield
        else:
            connection = sqlite3.connect(self._ledger)
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.close()

    def without_idempotency(self) -> SandboxHarness:
        return SandboxHarness(self._ledger, idempotent=False)

    def close(self) -> None:
        """Its ledger ends with it."""


class BalancedHarness:
    """The adapter to Balanced, over sockets, with the simulator behind them."""

    call_deadline = 0.6
    idempotent = False
    takes_back = True
    yes = ReceiptStatus.SUCCEEDED
    calls_back = True
    unknown_customer = "/customers/CUdoesnotexist00000000"

    _behaviors = {
        Kind.SUCCEEDS: "succeeds",
        Kind.FAILS: "fails",
        Kind.DECLINED: "declined",
        Kind.DECLINED_TWICE: "declined-twice",
        Kind.STOLEN: "card-not-valid",
        Kind.SLOW_DOWN: "slow-down",
        Kind.LOST_BEFORE: "lost-before",
        Kind.LOST_AFTER: "lost-after",
        Kind.TOO_SLOW: "slow",
        Kind.REFUND_PENDING: "refund-pending",
        Kind.REFUND_LOST: "refund-lost-after",
    }

    def __init__(self) -> None:
        self.simulator = BalancedSimulator()
        self.simulator.start()
        options = BalancedOptions(base_url=self.simulator.url)
        self.balanced = Balanced(options, call_deadline=self.call_deadline)
        self.secret, self.others_secret = self.simulator.new_key(), self.simulator.new_key()
        self.company: Processor = self.balanced(self.secret)
        self.other: Processor = self.balanced(self.others_secret)
        self.revoked: Processor = self.balanced("ak-test-revoked")

    def instrument(self, kind: Kind, purpose: SubmissionType = SubmissionType.DEBIT) -> str | None:
        if kind is Kind.UNKNOWN:
            return "/cards/CCdoesnotexist00000000"
        if kind is Kind.DEBIT_ONLY:
            return self.card("4111111111111111")
        if kind is Kind.PENDING:
            return self.bank_account()
        if kind not in self._behaviors:
            return None  # it is away for all instruments, or for none
        uri = self.card("4342561111111118")  # the one that can be credited
        self.simulator.behave(uri, self._behaviors[kind])
        return uri

    def their_instrument(self) -> str:
        return self.card("4342561111111118", key=self.others_secret)

    def card(self, number: str, *, key: str | None = None) -> str:
        """The URI of a new card."""
        card = {"number": number, "expiration_month": 12, "expiration_year": 2039, "cvv": "123", "name": "Ann"}
        return str(self.ask("POST", "/cards", card, key=key)["cards"][0]["href"])

    def bank_account(self, number: str = "9900000000") -> str:
        """The URI of a new bank account that was verified; by default one whose debits take days."""
        account = {"name": "Ann", "account_number": number, "routing_number": "021000021"}
        uri = str(self.ask("POST", "/bank_accounts", account)["bank_accounts"][0]["href"])
        verification = self.ask("POST", f"{uri}/verifications", {})["bank_account_verifications"][0]["href"]
        self.ask("PUT", verification, {"amount_1": 1, "amount_2": 1})
        return uri

    def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> dict[str, Any]:
        """What a company's own program asks of Balanced; with an empty key, what a browser asks without one."""
        credentials = base64.b64encode(f"{self.secret if key is None else key}:".encode()).decode()
        headers = {} if key == "" else {"Authorization": f"Basic {credentials}"}
        response = urllib3.request(method, self.simulator.url + path, json=body, headers=headers, retries=False)
        assert response.status in (200, 201), response.data
        answer: dict[str, Any] = response.json()
        return answer

    def moved(self, submission: Submission) -> int:
        keys = [
            entry.meta.get("billy.submission_key") for entry in self.simulator.ledger() if entry.status != "failed"
        ]
        return keys.count(submission.key)

    def kept(self, processor_uri: str) -> Kept:
        (entry,) = (entry for entry in self.simulator.ledger() if entry.href == processor_uri)
        # Without one of ours, statements show the marketplace's.
        statement = entry.appears_on_statement_as if entry.appears_on_statement_as != "BAL*example.com" else None
        return Kept(
            amount=entry.amount,
            key=entry.meta["billy.submission_key"],
            transaction_guid=entry.meta["billy.transaction_guid"],
            appears_on_statement_as=statement and statement.removeprefix("BAL*"),
            description=entry.description or "",
        )

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        event = self.simulator.settle(processor_uri, status)
        return self.simulator.callback_body(event.id), {"Content-Type": "application/json"}

    def event_id(self, body: bytes) -> str:
        return str(json.loads(body)["events"][0]["id"])

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        self.card("4111111111111111")
        [*_, event] = self.simulator.events(self.secret)
        assert event["type"].startswith("card.")
        return self.simulator.callback_body(event["id"]), {"Content-Type": "application/json"}

    def callback_urls(self) -> list[str]:
        return self.simulator.callback_urls(self.secret)

    def down(self) -> AbstractContextManager[None]:
        return self.simulator.down()

    def hanging(self) -> AbstractContextManager[None]:
        return self.simulator.hanging()

    def without_idempotency(self) -> BalancedHarness:
        return self  # it has none

    def close(self) -> None:
        self.balanced.http.close()
        self.simulator.stop()


class StripeHarness:
    """The adapter to Stripe, over sockets, with the simulator behind them."""

    call_deadline = 0.6
    idempotent = True
    takes_back = False
    yes = ReceiptStatus.SUCCEEDED
    calls_back = True
    unknown_customer = "cus_doesnotexist"

    _behaviors = {
        Kind.SUCCEEDS: "succeeds",
        Kind.PENDING: "pending",
        Kind.DECLINED: "declined",
        Kind.DECLINED_TWICE: "declined-twice",
        Kind.STOLEN: "stolen",
        Kind.SLOW_DOWN: "slow-down",
        Kind.LOST_BEFORE: "lost-before",
        Kind.LOST_AFTER: "lost-after",
        Kind.TOO_SLOW: "slow",
        Kind.DEBIT_ONLY: "succeeds",
        Kind.REFUND_PENDING: "refund-pending",
        Kind.REFUND_LOST: "refund-lost-after",
    }

    def __init__(self) -> None:
        self.simulator = StripeSimulator()
        self.simulator.start()
        options = StripeOptions(base_url=self.simulator.url, statement_suffix_length=18)
        self.stripe = Stripe(options, call_deadline=self.call_deadline)
        self.secret, self.others_secret = self.simulator.new_key(), self.simulator.new_key()
        self.company: Processor = self.stripe(self.secret)
        self.other: Processor = self.stripe(self.others_secret)
        self.revoked: Processor = self.stripe("sk_test_revoked")

    def instrument(self, kind: Kind, purpose: SubmissionType = SubmissionType.DEBIT) -> str | None:
        if purpose is SubmissionType.CREDIT and kind in (Kind.SUCCEEDS, Kind.UNKNOWN):
            return "acct_doesnotexist" if kind is Kind.UNKNOWN else self.simulator.connected_account(self.secret)
        if kind is Kind.UNKNOWN:
            return "pm_doesnotexist"
        # What failed at once is a refusal, and it is away for all instruments, or for none.
        behavior = self._behaviors.get(kind)
        return behavior and self.simulator.payment_method(self.secret, behavior)

    def their_instrument(self) -> str:
        return self.simulator.payment_method(self.others_secret, "succeeds")

    def moved(self, submission: Submission) -> int:
        keys = [
            record["metadata"]["billy.submission_key"]
            for record in self.simulator.ledger()
            if record.get("status", "succeeded") in ("succeeded", "processing", "pending")
        ]
        return keys.count(submission.key)

    def kept(self, processor_uri: str) -> Kept:
        record = self.simulator.record(processor_uri)
        return Kept(
            amount=record["amount"],
            key=record["metadata"]["billy.submission_key"],
            transaction_guid=record["metadata"]["billy.transaction_guid"],
            appears_on_statement_as=record.get("statement_descriptor_suffix"),
            description=record.get("description", ""),
        )

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        event = self.simulator.settle(processor_uri, status)
        return self.simulator.body_of(event), {"Content-Type": "application/json"}

    def event_id(self, body: bytes) -> str:
        return str(json.loads(body)["id"])

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        method = self.simulator.payment_method(self.secret, "succeeds")
        event = self.simulator.announce(method, "payment_method.attached")
        return self.simulator.body_of(event), {"Content-Type": "application/json"}

    def callback_urls(self) -> list[str]:
        return self.simulator.callback_urls(self.secret)

    def down(self) -> AbstractContextManager[None]:
        return self.simulator.down()

    def hanging(self) -> AbstractContextManager[None]:
        return self.simulator.hanging()

    def without_idempotency(self) -> StripeHarness:
        self.simulator.idempotent = False
        return self

    def close(self) -> None:
        self.stripe.http.close()
        self.simulator.stop()


HARNESSES: dict[str, Callable[[Path], Harness]] = {
    "sandbox in memory": lambda directory: SandboxHarness(":memory:"),
    "sandbox in a file": lambda directory: SandboxHarness(str(directory / "ledger.sqlite")),
    "balanced": lambda directory: BalancedHarness(),
    "stripe": lambda directory: StripeHarness(),
}
