"""Events on their way to callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import urllib3

from billy.testing import courier
from billy.testing.balanced_simulator.store import Company, Event, Record, Store

_HEADERS = {"Content-Type": "application/json", "User-Agent": "balanced/hooker/1.0"}


@dataclass(frozen=True)
class Delivery:
    """One try."""

    event: str
    type: str
    url: str
    attempt: int
    status: int | None
    """The receiver's answer; None if there was none."""


class Courier(courier.Courier):
    """It remembers its tries."""

    def __init__(self, store: Store, *, retry_delay: float, timeout: float) -> None:
        super().__init__(retry_delay=retry_delay, timeout=timeout)
        self.store = store
        self.deliveries: list[Delivery] = []

    def tell(self, company: Company, event: Event, callback: Record) -> None:
        """Have an event delivered to a callback."""
        event.deliveries[callback.id] = "pending"
        self.send(_Letter(self, company, event, callback))


@dataclass(frozen=True)
class _Letter:
    courier: Courier
    company: Company
    event: Event
    callback: Record

    def is_wanted(self) -> bool:
        with self.courier.store.lock:
            return self.callback.id in self.company.records  # not deleted meanwhile

    def knock(self, pool: urllib3.PoolManager) -> int | None:
        callback = self.callback.fields
        method = callback["method"].upper()
        body = None if method == "GET" else orjson.dumps(callback_body(self.event, callback["revision"]))
        return pool.request(method, callback["url"], body=body, headers=_HEADERS, redirect=False).status

    def note(self, attempt: int, status: int | None, state: str) -> None:
        delivery = Delivery(self.event.id, self.event.fields["type"], self.callback.fields["url"], attempt, status)
        with self.courier.store.lock:
            self.courier.deliveries.append(delivery)
            self.event.deliveries[self.callback.id] = state


def callback_body(event: Event, revision: str) -> dict[str, Any]:
    """What is delivered: the envelope, or in revision 1.0 the event alone."""
    legacy_uri = f"/v1/events/{event.id}"
    if revision == "1.0":
        [entity] = (value[0] for name, value in event.fields["entity"].items() if name != "links")
        return {"id": event.id, "uri": legacy_uri, **event.fields, "entity": entity}
    return {"events": [{**event.shown(), "uri": legacy_uri}], "links": {}}
