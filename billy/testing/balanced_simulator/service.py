"""The service without HTTP: what it remembers, and what only its owner may do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from billy import clock
from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.courier import Courier, Delivery, callback_body
from billy.testing.balanced_simulator.envelope import envelope
from billy.testing.balanced_simulator.events import publish
from billy.testing.balanced_simulator.magic import magic_named
from billy.testing.balanced_simulator.resources.accounts import Marketplaces
from billy.testing.balanced_simulator.resources.base import Call
from billy.testing.balanced_simulator.resources.debits import dispute
from billy.testing.balanced_simulator.resources.money import TYPES, settle
from billy.testing.balanced_simulator.store import Company, Event, Record, Store
from billy.testing.chaos import Chaos
from billy.testing.http_app import Misbehaving, Received

PLENTY = 100_000_000_00
"""Cents in the escrow of a marketplace that is made for a test."""

SUBMISSION_KEY = "billy.submission_key"


@dataclass(frozen=True)
class Entry:
    """One record that moves money, or would have."""

    number: int
    """Its place in the order of creation."""
    marketplace: str
    type: str
    """``debits``, ``credits``, ``refunds`` or ``reversals``."""
    href: str
    amount: int
    status: str
    meta: dict[str, str]
    appears_on_statement_as: str | None
    description: str | None
    links: dict[str, str | None]
    created_at: str


class Service(Misbehaving):
    """A processor, and the hands that a real one would not let anybody have."""

    def __init__(
        self,
        *,
        chaos: Chaos | None = None,
        slow: float = 30.0,
        retry_delay: float = 600.0,
        callback_timeout: float = 10.0,
    ) -> None:
        """``slow`` is how long a slow card takes, ``retry_delay`` how long a callback waits for its first retry.

        All are in seconds; ``callback_timeout`` is for connecting and for each read.
        """
        super().__init__(chaos=chaos, slow=slow)
        self.store = Store()
        self.courier = Courier(self.store, retry_delay=retry_delay, timeout=callback_timeout)

    def new_key(self, *, in_escrow: int = PLENTY) -> str:
        """The secret of a new company that has a marketplace, with so many cents to pay out."""
        with self.store.lock:
            company = self.store.new_company()
            call = self._call(company)
            secret: str = self.store.new_key(company, call.now).fields["secret"]
            marketplace = Marketplaces().create(call, Body({}))
            marketplace.change(call.now, in_escrow=in_escrow)
        return secret

    def marketplace_of(self, key: str) -> str:
        """The id of the key's marketplace; KeyError for a key that does not exist (any more)."""
        marketplace = self.store.by_key[key].marketplace
        return "" if marketplace is None else marketplace.id

    def revoke(self, key: str) -> None:
        """End a key: 401 from now on. KeyError if it does not exist (any more)."""
        with self.store.lock:
            self.store.revoke(key)

    def settle(self, reference: str, status: str) -> Event:
        """Say how a debit, credit, refund or reversal ended, by id or href; also that it was taken back.

        ``status`` is succeeded, failed or, for a debit, disputed. The event is returned, and delivered to
        whoever registered a callback. KeyError if there is no such record, ValueError if it cannot end so.
        """
        with self.store.lock:
            company, record = self._find(reference)
            if record.type not in TYPES or status not in ("succeeded", "failed", "disputed"):
                raise ValueError(f"{record.href} cannot end as {status}")
            call = self._call(company)
            if status == "disputed":
                if record.type != "debits":
                    raise ValueError(f"{record.href} cannot be disputed")
                dispute(call, record)
            else:
                settle(company, record, status, call.now)
                call.announce(f"{record.type.removesuffix('s')}.{status}", record)
            return publish(call, self.courier)[-1]

    def behave(self, reference: str, behavior: str) -> None:
        """Make a card or a bank account, by id or href, behave as ``magic.magic_named`` says.

        KeyError if there is no such instrument, ValueError for another name.
        """
        with self.store.lock:
            if (record := self.store.unclaimed.get(_id(reference))) is None:
                _, record = self._find(reference)
            if record.type not in ("cards", "bank_accounts"):
                raise ValueError(f"{record.href} is neither a card nor a bank account")
            record.magic = replace(magic_named(behavior), can_credit=record.fields["can_credit"])
            record.tries = 0

    def ledger(self, *, key: str | None = None) -> list[Entry]:
        """Every debit, credit, refund and reversal of all companies or of a key's, oldest first."""
        with self.store.lock:
            companies = self.store.companies if key is None else [self.store.by_key[key]]
            entries = [
                _entry(company, record) for company in companies for type in TYPES for record in company.by_type[type]
            ]
        return sorted(entries, key=lambda entry: entry.number)

    def callback_urls(self, key: str) -> list[str]:
        """Where a company is called back, oldest first."""
        with self.store.lock:
            return [record.fields["url"] for record in self.store.by_key[key].by_type["callbacks"]]

    def callback_body(self, event: str, revision: str = "1.1") -> bytes:
        """What a callback of that revision is sent for an event, by id or href; KeyError if there is none."""
        with self.store.lock:
            _, record = self._find(event)
            if not isinstance(record, Event):
                raise KeyError(event)
            return orjson.dumps(callback_body(record, revision))

    def events(self, key: str) -> list[dict[str, Any]]:
        """A company's events as the service shows them, oldest first."""
        with self.store.lock:
            shown: list[dict[str, Any]] = envelope("events", self.store.by_key[key].by_type["events"])["events"]
        return shown

    def deliveries(self) -> list[Delivery]:
        """Every try to deliver a callback, oldest first."""
        with self.store.lock:
            return list(self.courier.deliveries)

    def wait_for_callbacks(self, timeout: float = 10) -> None:
        """Until every event is delivered or given up; TimeoutError if that takes longer."""
        self.courier.wait(timeout)

    def _call(self, company: Company) -> Call:
        return Call(self.store, company, clock.utc_now())

    def _find(self, reference: str) -> tuple[Company, Record]:
        company = self.store.owner_of(_id(reference))
        return company, company.find(_id(reference))


def by_submission_key(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """How many records have each ``meta.billy.submission_key``, and how many of them did not fail."""
    total, unfailed = Counter[str](), Counter[str]()
    for entry in entries:
        if (key := entry.meta.get(SUBMISSION_KEY)) is not None:
            total[key] += 1
            unfailed[key] += entry.status != "failed"
    return {key: {"total": total[key], "not_failed": unfailed[key]} for key in total}


def as_json(entry: Entry | Received | Delivery) -> dict[str, Any]:
    """For the answers at ``/simulator``."""
    return asdict(entry)


def _entry(company: Company, record: Record) -> Entry:
    fields = record.fields
    return Entry(
        number=record.number,
        marketplace=company.marketplace.id if company.marketplace else "",
        type=record.type,
        href=record.href,
        amount=fields["amount"],
        status=fields["status"],
        meta=dict(fields["meta"]),
        appears_on_statement_as=fields.get("appears_on_statement_as"),
        description=fields["description"],
        links=dict(record.links),
        created_at=fields["created_at"],
    )


def _id(reference: str) -> str:
    return reference.rpartition("/")[2]
