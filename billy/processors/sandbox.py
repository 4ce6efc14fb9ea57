"""A payment processor without a network, whose ledger shows what Billy really did.

A mock would only say what a test told it to. The sandbox keeps books instead: every *send* is a row,
every record of money has its own, refunds are checked against their charge, a key is replayed, an
answer can be lost after the charge. So a double charge, a missing look-up or a lost refund is seen in
the ledger, also after the process that caused it was killed, if the ledger is a file.

The last segment of an instrument's URI says how it behaves. Any other URI that begins with ``/``
succeeds, whatever its kind (``/cards/…``, ``/bank_accounts/…``, ``/v1/marketplaces/…/cards/CC…``):

=============================  =====================================================================================
instrument                     submitting to it
=============================  =====================================================================================
``/cards/ok``                  succeeds, like every name that is not in this table
``/cards/pending``             is pending until ``Sandbox.settle`` says how it ended
``/cards/fails``               makes a record that failed
``/cards/declined``            is refused softly, always (``insufficient-funds``)
``/cards/declined-twice``      is refused softly twice for each transaction, then succeeds
``/cards/stolen``              is refused for good (``card-stolen``)
``/cards/unreachable``         does not reach the processor: nothing is sent
``/cards/slow-down``           is turned away for 5 seconds (HTTP's 429)
``/cards/revoked-key``         is turned away because of the processor key (HTTP's 401)
``/cards/lost-before-charge``  loses the request: the outcome is unknown, nothing is charged; the next send works
``/cards/lost-after-charge``   charges and loses the answer: the outcome is unknown, a look-up finds the charge
``/cards/slow``                takes ``billy.sandbox.slow`` seconds; past the call's deadline the answer is lost
``/cards/bug``                 raises a TypeError before anything is sent, as a broken adapter might
``/cards/not-found``           is unknown: refused when it is validated, and for good when submitted
``/cards/debit-only``          can be debited; as the target of a credit it is unknown
=============================  =====================================================================================

A refund has no instrument of its own: with ``refund-`` before any of these names, as in
``/cards/refund-pending``, the debit succeeds and its refunds behave as the table says.

``/customers/not-found`` is a customer that the processor does not know. The processor key ``revoked``
is refused by every call, and with ``unreachable`` no call arrives.
"""

from __future__ import annotations

import copy
import hashlib
import re
import secrets
import sqlite3
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

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
from billy.processors import sandbox_ledger
from billy.processors.base import Callback, Receipt, ReceiptStatus, Record, Submission, SubmissionType
from billy.processors.sandbox_ledger import RECORDS, Ledger, Outcome, Send, select


class SandboxOptions(BaseModel):
    """The options ``billy.sandbox.…``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ledger: str = Field(
        default=":memory:", min_length=1, description="A file that processes share, or :memory: for each process's own."
    )
    idempotent: bool = Field(
        default=True, description="Whether a repeated submission key is replayed, not charged again."
    )
    slow: float = Field(default=3.0, ge=0, description="Seconds that a slow instrument takes.")
    latency: float = Field(default=0.0, ge=0, description="Seconds that every submission takes.")


class Magic(StrEnum):
    """The names that make an instrument misbehave; the module's docstring tells how."""

    PENDING = "pending"
    FAILS = "fails"
    DECLINED = "declined"
    DECLINED_TWICE = "declined-twice"
    STOLEN = "stolen"
    UNREACHABLE = "unreachable"
    SLOW_DOWN = "slow-down"
    REVOKED_KEY = "revoked-key"
    LOST_BEFORE_CHARGE = "lost-before-charge"
    LOST_AFTER_CHARGE = "lost-after-charge"
    SLOW = "slow"
    BUG = "bug"
    NOT_FOUND = "not-found"
    DEBIT_ONLY = "debit-only"


class Sandbox:
    """The simulated payment service, and the factory of adapters to it.

    Threads and processes may share it. With the ledger in memory each process has its own, and a forked
    child starts with an empty one.
    """

    name: ClassVar[str] = "sandbox"
    options: ClassVar[type[BaseModel]] = SandboxOptions

    fault: Exception | None = None
    """While set, every call that this process makes raises it and does nothing: an outage, a revoked key."""

    def __init__(self, options: SandboxOptions, *, call_deadline: float) -> None:
        self.settings = options
        self.call_deadline = call_deadline
        # A submission may sleep for half the deadline before it waits: for a refund's charge, for the lock,
        # for the file.
        self._ledger = Ledger(options.ledger, patience=call_deadline / 6)
        weakref.finalize(self, self._ledger.close)

    def __call__(self, processor_key: str) -> SandboxProcessor:
        """The adapter for one company."""
        return SandboxProcessor(self, self._ledger, processor_key)

    def __repr__(self) -> str:
        return f"<Sandbox ledger={self.settings.ledger!r} idempotent={self.settings.idempotent}>"

    def sends(self, transaction_guid: str | None = None) -> list[Send]:
        """Every send, or a transaction's, oldest first."""
        with self._ledger.reading() as db:
            return select(db, Send, "sends", transaction_guid)

    def records(self, transaction_guid: str | None = None) -> list[sandbox_ledger.Record]:
        """The processor's books, or what a transaction left in them, oldest first."""
        with self._ledger.reading() as db:
            return select(db, sandbox_ledger.Record, RECORDS, transaction_guid)

    def charges(self, transaction_guid: str | None = None) -> list[sandbox_ledger.Record]:
        """The debits and credits among the records."""
        return [record for record in self.records(transaction_guid) if record.type is not SubmissionType.REFUND]

    def charged(self, transaction_guid: str) -> int:
        """How often a transaction moved money, or may yet: more than once is a double charge."""
        return sum(record.status is not ReceiptStatus.FAILED for record in self.records(transaction_guid))

    def callbacks(self, processor_key: str) -> list[str]:
        """The URLs that a company registered."""
        with self._ledger.reading() as db:
            rows = db.execute("SELECT url FROM callbacks WHERE company = ?", (_company(processor_key),)).fetchall()
        return [url for (url,) in rows]

    def settle(self, processor_uri: str, status: ReceiptStatus) -> bytes:
        """Say how a pending record ended, or that a bank took back a succeeded one.

        Returns the body of the callback, for the caller to deliver: the sandbox has no network.
        """
        with self._ledger.writing() as db:
            row = db.execute(
                "UPDATE records SET status = ? WHERE uri = ? RETURNING company", (status, processor_uri)
            ).fetchone()
            if row is None:
                raise KeyError(processor_uri)
            return _announce(db, row[0], processor_uri)

    def announce(self, processor_key: str) -> bytes:
        """The body of a callback for an event that concerns no transaction."""
        with self._ledger.writing() as db:
            return _announce(db, _company(processor_key), None)


class SandboxProcessor:
    """The adapter for one company; see ``billy.processors.base.Processor``."""

    def __init__(self, sandbox: Sandbox, ledger: Ledger, processor_key: str) -> None:
        self._sandbox = sandbox
        self._ledger = ledger
        self.company = _company(processor_key)
        """How the ledger calls the company: a hash of the processor key."""
        self._revoked = processor_key == "revoked"
        self._unreachable = processor_key == "unreachable"

    def __repr__(self) -> str:
        return f"<SandboxProcessor company={self.company}>"

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        """The URI of the customer's record, made unless it exists."""
        self._call()
        uri = f"/customers/CU{_digest(self.company, customer_guid)}"
        with self._ledger.writing() as db:
            db.execute("INSERT OR IGNORE INTO customers VALUES (?, ?, ?)", (uri, self.company, customer_guid))
        return uri

    def validate_customer(self, uri: str) -> None:
        """Accept any URI but ``…/not-found`` and those made for other companies."""
        self._call()
        _check_format(uri, "customer")
        with self._ledger.reading() as db:
            if not self._knows_customer(db, uri):
                raise InvalidCustomer(f"The processor has no customer {uri}")

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        """Accept any URI that the module's table does not call unknown; it may be many customers'."""
        self._call()
        _check_format(uri, "funding instrument")
        if _is_unusable(_magic(uri), purpose):
            raise InvalidFundingInstrument(f"The processor has no funding instrument {uri} that takes a {purpose}")
        with self._ledger.reading() as db:
            if not self._knows_customer(db, customer_uri):
                raise InvalidFundingInstrument(f"The processor has no customer {customer_uri} to debit or credit")

    def register_callback(self, url: str) -> None:
        """Note the URL; nothing is ever sent to it."""
        self._call()
        with self._ledger.writing() as db:
            db.execute("INSERT OR IGNORE INTO callbacks VALUES (?, ?)", (self.company, url))

    def read_callback(self, body: bytes, headers: Mapping[str, str], *, secret: str | None = None) -> Callback | None:
        """What ``Sandbox.settle`` announced, with the record as it stands now."""
        self._call()
        try:
            event_id = orjson.loads(body)["id"]
        except (ValueError, TypeError, KeyError):
            event_id = None
        if not isinstance(event_id, str):
            raise InvalidCallbackPayload('A callback is a JSON object with the id of an event, {"id": "…"}')
        with self._ledger.reading() as db:
            row = db.execute(
                "SELECT processor_uri, occurred_at, transaction_guid, status FROM events"
                " LEFT JOIN records ON uri = processor_uri WHERE events.id = ? AND events.company = ?",
                (event_id, self.company),
            ).fetchone()
        if row is None:
            raise InvalidCallbackPayload("The processor has no such event")
        processor_uri, occurred_at, transaction_guid, status = row
        if processor_uri is None:
            return None
        receipt = _receipt(processor_uri, status)
        return Callback(event_id, transaction_guid, datetime.fromisoformat(occurred_at), receipt)

    def look_up(self, submission: Submission) -> Receipt | None:
        """The record of the submission's key; the oldest that did not fail, if there are several."""
        self._call()
        with self._ledger.reading() as db:
            found = _preferred(self._made(db, submission))
        return None if found is None else _receipt(found[0], found[1])

    def find_records(self, submission: Submission, processor_uri: str | None) -> Sequence[Record]:
        """The records of the submission's key, and the one at ``processor_uri``."""
        self._call()
        with self._ledger.reading() as db:
            rows = db.execute(
                "SELECT uri, status, amount FROM records"
                " WHERE company = ? AND type = ? AND (submission_key = ? OR uri = ?) ORDER BY id",
                (self.company, submission.type.value, submission.key, processor_uri),
            ).fetchall()
        return [Record(_receipt(uri, status), amount) for uri, status, amount in rows]

    def submit(self, submission: Submission) -> Receipt:
        """Behave as the instrument says, and enter the send in the ledger."""
        started = time.monotonic()
        _check(submission)
        magic = self._behavior(submission)
        if self._revoked:
            magic = Magic.REVOKED_KEY
        self._reach()
        if magic is Magic.UNREACHABLE:
            raise Unavailable("The processor cannot be reached")
        if magic is Magic.BUG:
            raise TypeError("This instrument shows how Billy takes a bug in an adapter")

        # The sleep is split, so that a process that is killed in it may or may not have charged.
        settings, deadline = self._sandbox.settings, self._sandbox.call_deadline
        takes = settings.latency + (settings.slow if magic is Magic.SLOW else 0)
        _sleep_until(started + min(takes, deadline) / 2)
        with self._ledger.writing() as db:
            now = clock.utc_now().isoformat()
            outcome, answer, replayed = self._act(db, submission, magic, now)
            db.execute(
                "INSERT INTO sends VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    now,
                    self.company,
                    submission.key,
                    submission.transaction_guid,
                    submission.type.value,  # the driver takes long to adapt an enum
                    submission.amount,
                    submission.funding_instrument_uri,
                    submission.charge_uri,
                    outcome.value,
                    answer.processor_uri if isinstance(answer, Receipt) else None,
                    replayed,
                ),
            )
        _sleep_until(started + min(takes, deadline))

        if takes > deadline or (magic is Magic.LOST_AFTER_CHARGE and not replayed):
            raise OutcomeUnknown("The processor's answer was lost")
        if isinstance(answer, Receipt):
            return answer
        raise answer

    def _reach(self) -> None:
        if self._sandbox.fault is not None:
            raise copy.copy(self._sandbox.fault)  # one instance would gather the tracebacks of all threads
        if self._unreachable:
            raise Unavailable("The processor cannot be reached")

    def _call(self) -> None:
        self._reach()
        if self._revoked:
            raise Misconfigured("The processor refuses the company's key")

    def _behavior(self, submission: Submission) -> Magic | None:
        if submission.funding_instrument_uri is not None:
            return _magic(submission.funding_instrument_uri)
        with self._ledger.reading() as db:
            row = db.execute("SELECT instrument FROM records WHERE uri = ?", (submission.charge_uri,)).fetchone()
        return None if row is None else _magic(row[0], prefix="refund-")

    def _act(
        self, db: sqlite3.Connection, submission: Submission, magic: Magic | None, now: str
    ) -> tuple[Outcome, Receipt | ProcessorError, bool]:
        """What the processor makes of a send, its answer, and whether that is a replay."""
        if magic is Magic.SLOW_DOWN:
            return Outcome.TURNED_AWAY, Unavailable("The processor asks to slow down", retry_after=5), False
        if magic is Magic.REVOKED_KEY:
            return Outcome.TURNED_AWAY, Misconfigured("The processor refuses the company's key"), False
        idempotent = self._sandbox.settings.idempotent
        made = self._made(db, submission)
        if idempotent and (found := _preferred(made)):
            uri, status, *values = found
            if tuple(values) != _money(submission):
                raise ValueError(f"The submission key {submission.key} was used for other values before")
            return Outcome(status), _receipt(uri, status), True
        if magic is Magic.LOST_BEFORE_CHARGE and not self._sent(db, submission, Outcome.LOST):
            return Outcome.LOST, OutcomeUnknown("The processor's answer was lost"), False
        if magic in (Magic.DECLINED, Magic.DECLINED_TWICE):
            keys = self._sent(db, submission, Outcome.DECLINED)
            # As at a real processor a repeated key repeats the answer: only a new one reaches the bank.
            replayed = idempotent and submission.key in keys
            if replayed or magic is Magic.DECLINED or len(keys) < 2:
                return Outcome.DECLINED, Refused("Insufficient funds", code="insufficient-funds", number=402), replayed
        if refused := self._refuse_for_good(db, submission, magic):
            return Outcome.DECLINED_FOR_GOOD, refused, False
        status = _STATUS_OF.get(magic, ReceiptStatus.SUCCEEDED)
        uri = self._record(db, submission, status, now, number=len(made))
        return Outcome(status), _receipt(uri, status), False

    def _refuse_for_good(self, db: sqlite3.Connection, submission: Submission, magic: Magic | None) -> Refused | None:
        if submission.type is SubmissionType.REFUND:
            row = db.execute(
                f"SELECT status, amount, refunded FROM {RECORDS}"  # noqa: S608  # a constant
                " WHERE uri = ? AND company = ? AND type = ?",
                (submission.charge_uri, self.company, SubmissionType.DEBIT),
            ).fetchone()
            if row is None:
                return Refused("There is no such charge", code="charge-not-found", number=404, hard=True)
            status, amount, refunded = row
            if status != ReceiptStatus.SUCCEEDED:
                return Refused(f"The charge is {status}", code="charge-not-succeeded", number=409, hard=True)
            if refunded + submission.amount > amount:
                text = f"Of the charge's {amount} cents {refunded} are refunded already"
                return Refused(text, code="refund-exceeds-charge", number=409, hard=True)
        elif not self._knows_customer(db, submission.customer_uri or ""):
            return Refused("There is no such customer", code="customer-not-found", number=404, hard=True)
        if _is_unusable(magic, submission.type):
            return Refused("There is no such funding instrument", code="instrument-not-found", number=404, hard=True)
        if magic is Magic.STOLEN:
            return Refused("The card was reported stolen", code="card-stolen", number=402, hard=True)
        return None

    def _record(
        self, db: sqlite3.Connection, submission: Submission, status: ReceiptStatus, now: str, *, number: int
    ) -> str:
        kind = submission.type
        # Not a running number: that would begin anew with an emptied ledger, and name another record.
        uri = f"/{kind}s/{kind[:2].upper()}{_digest(self.company, submission.key, str(number))}"
        db.execute(
            "INSERT INTO records VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                uri,
                now,
                self.company,
                submission.key,
                submission.transaction_guid,
                submission.type.value,
                status.value,
                submission.amount,
                submission.customer_uri,
                submission.funding_instrument_uri,
                submission.charge_uri,
                submission.appears_on_statement_as,
                submission.description,
            ),
        )
        return uri

    def _made(self, db: sqlite3.Connection, submission: Submission) -> list[tuple[Any, ...]]:
        return db.execute(
            "SELECT uri, status, type, amount, instrument, charge_uri FROM records"
            " WHERE company = ? AND submission_key = ? ORDER BY id",
            (self.company, submission.key),
        ).fetchall()

    def _sent(self, db: sqlite3.Connection, submission: Submission, outcome: Outcome) -> list[str]:
        rows = db.execute(
            "SELECT submission_key FROM sends"
            " WHERE transaction_guid = ? AND company = ? AND outcome = ? AND NOT replayed",
            (submission.transaction_guid, self.company, outcome.value),
        )
        return [key for (key,) in rows]

    def _knows_customer(self, db: sqlite3.Connection, uri: str) -> bool:
        # Callers may bring customers of their own; only another company's is certainly not theirs.
        row = db.execute("SELECT company FROM customers WHERE uri = ?", (uri,)).fetchone()
        return _magic(uri) is not Magic.NOT_FOUND and (row is None or row[0] == self.company)


_STATUS_OF: dict[Magic | None, ReceiptStatus] = {
    Magic.PENDING: ReceiptStatus.PENDING,
    Magic.FAILS: ReceiptStatus.FAILED,
}
_MAGIC = {magic.value: magic for magic in Magic}
_URI = re.compile(r"/[!-~]+\Z")


def _magic(uri: str, *, prefix: str = "") -> Magic | None:
    name = uri.rpartition("/")[2]
    return _MAGIC.get(name.removeprefix(prefix)) if name.startswith(prefix) else None


def _sleep_until(instant: float) -> None:
    # Not even sleep(0), which costs more than the rest of a submission.
    if (seconds := instant - time.monotonic()) > 0:
        time.sleep(seconds)


def _is_unusable(magic: Magic | None, purpose: SubmissionType) -> bool:
    return magic is Magic.NOT_FOUND or (magic is Magic.DEBIT_ONLY and purpose is SubmissionType.CREDIT)


def _check_format(uri: str, what: str) -> None:
    if _URI.match(uri) is None:
        raise InvalidURIFormat(f"A {what} is named by its URI, which begins with a slash, not by a bare id: {uri!r}")


def _check(submission: Submission) -> None:
    named = (submission.customer_uri, submission.funding_instrument_uri)
    is_refund = submission.type is SubmissionType.REFUND
    if submission.amount <= 0 or (submission.charge_uri is None if is_refund else None in named):
        raise ValueError(f"A {submission.type} of {submission.amount} cents lacks what it must name")


def _money(submission: Submission) -> tuple[object, ...]:
    return submission.type, submission.amount, submission.funding_instrument_uri, submission.charge_uri


def _preferred(made: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    unfailed = (row for row in made if row[1] != ReceiptStatus.FAILED)
    return next(unfailed, made[0] if made else None)


def _receipt(uri: str, status: str) -> Receipt:
    if status == ReceiptStatus.FAILED:
        return Receipt(uri, ReceiptStatus.FAILED, "The bank returned it", "returned")
    return Receipt(uri, ReceiptStatus(status))


def _announce(db: sqlite3.Connection, company: str, processor_uri: str | None) -> bytes:
    event_id = f"EV{secrets.token_hex(12)}"
    now = clock.utc_now().isoformat()
    db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (event_id, company, processor_uri, now))
    return orjson.dumps({"id": event_id})


def _company(processor_key: str) -> str:
    return _digest(processor_key)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


# --- the ledger ---
