"""What the contract suite needs of an adapter's test bed, and the test bed of each adapter.

A new adapter adds a class like ``SandboxHarness`` and a line to ``HARNESSES``; then it has the whole of
``test_contract.py`` to pass before it needs any test of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from billy.errors import Unavailable
from billy.processors.base import Processor, ReceiptStatus, Submission
from billy.processors.sandbox import Sandbox, SandboxOptions


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

    def instrument(self, kind: Kind) -> str | None:
        """The URI of an instrument that behaves so; None where the processor has no such thing."""

    def moved(self, submission: Submission) -> int:
        """How many records of the submission's key the processor has that did not fail."""

    def kept(self, processor_uri: str) -> Kept:
        """What the processor's record says."""

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        """Change a record at the processor; the body and headers of the callback that tells it."""

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        """A true callback to ``company`` that concerns none of our transactions."""

    def callback_urls(self) -> list[str]:
        """Where the processor calls ``company`` back."""

    def down(self) -> AbstractContextManager[None]:
        """The processor cannot be reached during the block."""

    def hanging(self) -> AbstractContextManager[None]:
        """The processor takes calls and does not answer them during the block."""

    def without_idempotency(self) -> Harness:
        """The same with a processor that charges again for a repeated key."""


class SandboxHarness:
    """The sandbox, with its ledger in memory or in a file."""

    call_deadline = 0.6
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

    def instrument(self, kind: Kind) -> str | None:
        return f"/cards/{self._names[kind]}"

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


HARNESSES: dict[str, Callable[[Path], Harness]] = {
    "sandbox in memory": lambda directory: SandboxHarness(":memory:"),
    "sandbox in a file": lambda directory: SandboxHarness(str(directory / "ledger.sqlite")),
}
