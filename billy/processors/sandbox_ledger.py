"""The sandbox's ledger: an SQLite database in a file that processes share, or in memory.

It stands apart from the rules of the sandbox, because sharing a file between threads, processes and
forks is a matter of its own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from billy.errors import ConfigurationError, Unavailable
from billy.processors.base import ReceiptStatus, SubmissionType


class Outcome(StrEnum):
    """What became of a send, as the processor sees it; whether its answer arrived is another matter."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"
    DECLINED = "declined"
    DECLINED_FOR_GOOD = "declined for good"
    TURNED_AWAY = "turned away"
    """Too many requests, or a revoked key: not looked at."""
    LOST = "lost"
    """It never came in."""


@dataclass(frozen=True, slots=True)
class Send:
    """One submission on its way to the processor."""

    sent_at: datetime
    company: str
    """A hash of the processor key."""
    submission_key: str
    transaction_guid: str
    type: SubmissionType
    amount: int
    instrument: str | None
    charge_uri: str | None
    outcome: Outcome
    processor_uri: str | None
    """The record that it made, or found."""
    replayed: bool
    """The key was known: this repeats the answer of an earlier send, and did nothing."""


@dataclass(frozen=True, slots=True)
class Record:
    """A debit, credit or refund in the processor's books."""

    uri: str
    made_at: datetime
    company: str
    """A hash of the processor key."""
    submission_key: str
    transaction_guid: str
    type: SubmissionType
    status: ReceiptStatus
    amount: int
    customer_uri: str | None
    instrument: str | None
    charge_uri: str | None
    """The debit that a refund gives back."""
    appears_on_statement_as: str | None
    description: str
    refunded: int
    """What its refunds give back, succeeded and pending ones together."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS sends (
    id INTEGER PRIMARY KEY, sent_at TEXT, company TEXT, submission_key TEXT, transaction_guid TEXT, type TEXT,
    amount INTEGER, instrument TEXT, charge_uri TEXT, outcome TEXT, processor_uri TEXT, replayed INTEGER
);
CREATE INDEX IF NOT EXISTS sends_of_transaction ON sends (transaction_guid);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY, uri TEXT UNIQUE, made_at TEXT, company TEXT, submission_key TEXT, transaction_guid TEXT,
    type TEXT, status TEXT, amount INTEGER, customer_uri TEXT, instrument TEXT, charge_uri TEXT,
    appears_on_statement_as TEXT, description TEXT
);
CREATE INDEX IF NOT EXISTS records_of_key ON records (company, submission_key);
CREATE INDEX IF NOT EXISTS records_of_transaction ON records (transaction_guid);
CREATE INDEX IF NOT EXISTS records_of_charge ON records (charge_uri) WHERE charge_uri IS NOT NULL;
CREATE TABLE IF NOT EXISTS customers (uri TEXT PRIMARY KEY, company TEXT, guid TEXT);
CREATE TABLE IF NOT EXISTS callbacks (company TEXT, url TEXT, PRIMARY KEY (company, url));
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, company TEXT, processor_uri TEXT, occurred_at TEXT);
"""

RECORDS = """(
    SELECT *, (
        SELECT coalesce(sum(amount), 0) FROM records AS refund
        WHERE refund.charge_uri = records.uri AND refund.status <> 'failed'
    ) AS refunded
    FROM records
)"""


_READ: dict[str, Callable[[Any], object]] = {
    "sent_at": datetime.fromisoformat,
    "made_at": datetime.fromisoformat,
    "type": SubmissionType,
    "status": ReceiptStatus,
    "outcome": Outcome,
    "replayed": bool,
}


def select(db: sqlite3.Connection, of: type[Any], table: str, transaction_guid: str | None) -> list[Any]:
    """All rows of a table, or those of a transaction, oldest first, as the dataclass ``of``."""
    names = [field.name for field in fields(of)]
    where, values = ("", ()) if transaction_guid is None else (" WHERE transaction_guid = ?", (transaction_guid,))
    statement = f"SELECT {', '.join(names)} FROM {table}{where} ORDER BY id"  # noqa: S608  # all constants
    rows = db.execute(statement, values).fetchall()
    readers = [_READ.get(name, lambda value: value) for name in names]
    return [of(*(read(value) for read, value in zip(readers, row, strict=True))) for row in rows]


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte; the rest says why


class Ledger:
    """A SQLite database, in a file or in memory, behind one connection of this process and one lock.

    There is one writer at a time in any case, and threads that wait for a lock are served sooner than
    threads that poll a busy file.
    """

    def __init__(self, path: str, *, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._lock = threading.Lock()
        try:
            self._connection: sqlite3.Connection | None = self._connect()
        except sqlite3.Error as error:
            raise ConfigurationError(f"billy.sandbox.ledger: cannot use {path}: {error}") from error
        _ledgers.add(self)

    @contextmanager
    def reading(self, *, begin: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement. Unavailable when others keep the ledger for too long."""
        if not self._lock.acquire(timeout=self._patience):
            raise Unavailable("The sandbox's ledger is busy")
        try:
            db = self._connection = self._connection or self._connect()
            if begin:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if begin:
                db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            # Waiting for a lock ended before anything was written. Any other error is a bug of ours.
            if _is_busy(error):
                raise Unavailable("The sandbox's ledger is busy") from error
            raise
        finally:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._lock.release()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection, in a transaction that ends with the block, well or not at all."""
        return self.reading(begin=True)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def before_fork(self) -> None:
        """Wait for the other threads and leave the file alone.

        SQLite's file locks stay with the parent, but the child would believe that it has them, even on a
        connection of its own, and the next process to close the file would delete the log under it.
        """
        self._lock.acquire()
        if self._path != ":memory:":
            self.close()

    def after_fork(self, *, child: bool) -> None:
        """Go on; a child's memory is empty."""
        if child and self._path == ":memory:":
            self.close()
        self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        # A killed process loses nothing; only a power failure could, and it is not real money.
        db.execute("PRAGMA synchronous=OFF")
        give_up = time.monotonic() + self._patience
        while True:
            try:
                db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError:
                # Two processes that make the file at once: SQLite refuses one of them without waiting.
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
        db.executescript(_SCHEMA)
        return db


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()
_forking: list[Ledger] = []


def _before_fork() -> None:
    _forking[:] = _ledgers
    for ledger in _forking:
        ledger.before_fork()


def _after_fork(*, child: bool) -> None:
    for ledger in _forking:
        ledger.after_fork(child=child)
    _forking.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
