"""What the service remembers: companies with their keys, marketplaces and records. All in memory.

One lock, the store's, is held while a request is acted on, and never while one waits or sends. A record's
values are replaced, never changed in place, so a shallow copy of a record is what an event may keep.
"""

from __future__ import annotations

import itertools
import secrets
import string
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from billy.testing.balanced_simulator.errors import not_found
from billy.testing.balanced_simulator.magic import ORDINARY, Magic

PREFIXES = {
    "api_keys": "AK",
    "bank_account_verifications": "BZ",
    "bank_accounts": "BA",
    "callbacks": "CB",
    "card_holds": "HL",
    "cards": "CC",
    "credits": "CR",
    "customers": "CU",
    "debits": "WD",
    "disputes": "DT",
    "events": "EV",
    "marketplaces": "TEST-MP",
    "refunds": "RF",
    "reversals": "RV",
}
PATHS = {**{type: type for type in PREFIXES}, "bank_account_verifications": "verifications"}
"""The first segment of each type's path."""

DELIVERY_STATES = ("failed", "pending", "retrying", "succeeded")

_NUMBERED = {"debits": "W", "credits": "CR", "refunds": "RF", "reversals": "RV", "card_holds": "HL"}
_BASE62 = string.digits + string.ascii_letters
_BASE36 = string.digits + string.ascii_uppercase


@dataclass(eq=False)
class Record:
    """One object of the service."""

    type: str
    id: str
    number: int
    """Its place in the order of creation, over all companies."""
    fields: dict[str, Any]
    """What it shows besides ``id``, ``href`` and ``links``."""
    links: dict[str, str | None]
    """Ids."""
    magic: Magic = ORDINARY
    tries: int = 0
    """How often its magic was met."""
    is_removed: bool = False
    """Unstored: gone from the lists, still found by its id."""

    @property
    def href(self) -> str:
        """Root-relative."""
        return f"/{PATHS[self.type]}/{self.id}"

    def change(self, now: datetime, **values: Any) -> None:
        """Set fields."""
        self.fields.update(values, updated_at=timestamp(now))

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {"id": self.id, "href": self.href, **self.fields, "links": dict(self.links)}


@dataclass(eq=False)
class Event(Record):
    """What happened to another record."""

    subject: str = ""
    """The other record's id."""
    deliveries: dict[str, str] = field(default_factory=dict)
    """By callback, in which of ``DELIVERY_STATES`` it is."""


@dataclass(eq=False)
class Company:
    """An account at the service: its keys, its marketplace once there is one, and all that belongs to it."""

    keys: set[str] = field(default_factory=set)
    records: dict[str, Record] = field(default_factory=dict)
    by_type: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))

    @property
    def marketplace(self) -> Record | None:
        """It has one at most."""
        return next(iter(self.by_type["marketplaces"]), None)

    def newest(self, type: str) -> Iterator[Record]:
        """All of a type that lists may show, newest first."""
        return (record for record in reversed(self.by_type[type]) if not record.is_removed)

    def find(self, id: str | None) -> Record:
        """By id; 404 for another company's as for none."""
        if id not in self.records:
            raise not_found()
        return self.records[id]

    def keep(self, record: Record) -> None:
        """Make it theirs."""
        self.records[record.id] = record
        self.by_type[record.type].append(record)

    def forget(self, record: Record) -> None:
        """Delete it, which leaves nothing behind."""
        del self.records[record.id]
        self.by_type[record.type].remove(record)


class Store:
    """All companies, and the cards and bank accounts that nobody has claimed yet."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.companies: list[Company] = []
        self.by_key: dict[str, Company] = {}
        self.unclaimed: dict[str, Record] = {}
        self._numbers = itertools.count(1)

    def make(
        self, type: str, now: datetime, fields: Mapping[str, Any], links: Mapping[str, str | None] | None = None
    ) -> Record:
        """A record that belongs to nobody yet."""
        shown = {"created_at": timestamp(now), "updated_at": timestamp(now), "meta": {}, **fields}
        if type in _NUMBERED:
            shown["transaction_number"] = _NUMBERED[type] + "-".join(_random(_BASE36, n) for n in (3, 3, 4))
        return Record(type, new_id(type), next(self._numbers), shown, dict(links or {}))

    def make_event(self, fields: dict[str, Any], *, subject: str) -> Event:
        """An event that belongs to nobody yet."""
        return Event("events", new_id("events"), next(self._numbers), fields, {}, subject=subject)

    def new_company(self) -> Company:
        """One without a key."""
        company = Company()
        self.companies.append(company)
        return company

    def new_key(self, company: Company, now: datetime) -> Record:
        """A key of the company; its secret is shown by this record."""
        secret = f"ak-test-{_random(_BASE62, 32)}"
        company.keys.add(secret)
        self.by_key[secret] = company
        record = self.make("api_keys", now, {"secret": secret})
        del record.fields["updated_at"]
        company.keep(record)
        return record

    def revoke(self, secret: str) -> None:
        """End a key; KeyError for one that does not exist (any more)."""
        company = self.by_key.pop(secret)
        company.keys.remove(secret)
        for record in list(company.by_type["api_keys"]):
            if record.fields["secret"] == secret:
                company.forget(record)

    def owner_of(self, id: str) -> Company:
        """The company whose record it is; KeyError if there is none."""
        for company in self.companies:
            if id in company.records:
                return company
        raise KeyError(id)


def timestamp(now: datetime) -> str:
    """``2015-01-12T22:43:36.866661Z``."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id(type: str) -> str:
    """Of the type's own shape."""
    return PREFIXES[type] + (uuid4().hex if type == "events" else _random(_BASE62, 22))


def _random(alphabet: str, length: int) -> str:
    number = secrets.randbits(length * 6 + 16)
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(digits)
