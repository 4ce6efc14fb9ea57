"""Delivers events to callbacks over HTTP, again and again if need be."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from dataclasses import dataclass
from typing import Any

import orjson
import urllib3

from billy.testing.balanced_simulator.store import Company, Event, Record, Store

RETRIES = 10
"""Each after twice the delay of the one before: with a first delay of ten minutes about a week in all."""

_WORKERS = 4
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


@dataclass(frozen=True)
class _Job:
    company: Company
    event: Event
    callback: Record
    attempt: int = 1


class Courier:
    """A queue and a few threads, which begin with the first event that somebody wants to hear of.

    So events may overtake each other, as they may on the way from a real service.
    """

    def __init__(self, store: Store, *, retry_delay: float, timeout: float) -> None:
        self._store = store
        self._retry_delay = retry_delay
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=_WORKERS)
        self._queue: list[tuple[float, int, _Job]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._under_way = 0
        self._stopping = False
        self._workers: list[threading.Thread] = []
        self.deliveries: list[Delivery] = []

    def send(self, company: Company, event: Event, callback: Record) -> None:
        """Have it delivered, soon."""
        event.deliveries[callback.id] = "pending"
        self._enqueue(_Job(company, event, callback), 0)

    def wait(self, timeout: float) -> None:
        """Until all is delivered or given up; TimeoutError if that takes longer."""
        with self._changed:
            if not self._changed.wait_for(lambda: not (self._queue or self._under_way), timeout):
                raise TimeoutError(f"{len(self._queue) + self._under_way} callbacks are still to be delivered")

    def stop(self) -> None:
        """Deliver nothing more; returns when the last one under way has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        self._pool.clear()

    def _enqueue(self, job: _Job, delay: float) -> None:
        with self._changed:
            if self._stopping:
                return
            heapq.heappush(self._queue, (time.monotonic() + delay, next(self._numbers), job))
            if len(self._workers) < _WORKERS:
                worker = threading.Thread(target=self._work, name="balanced-courier", daemon=True)
                self._workers.append(worker)
                worker.start()
            self._changed.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._deliver(job)
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._stopping:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._queue)[2]
                self._changed.wait(wait)
        return None

    def _deliver(self, job: _Job) -> None:
        with self._store.lock:
            if job.callback.id not in job.company.records:
                return  # deleted meanwhile
        status = self._knock(job)
        done = status is not None and 200 <= status < 210
        given_up = not done and job.attempt > RETRIES
        with self._store.lock:
            self.deliveries.append(
                Delivery(job.event.id, job.event.fields["type"], job.callback.fields["url"], job.attempt, status)
            )
            job.event.deliveries[job.callback.id] = "succeeded" if done else "failed" if given_up else "retrying"
        if not done and not given_up:
            again = _Job(job.company, job.event, job.callback, job.attempt + 1)
            self._enqueue(again, self._retry_delay * 2 ** (job.attempt - 1))

    def _knock(self, job: _Job) -> int | None:
        callback = job.callback.fields
        method = callback["method"].upper()
        body = None if method == "GET" else orjson.dumps(callback_body(job.event, callback["revision"]))
        try:
            response = self._pool.request(method, callback["url"], body=body, headers=_HEADERS, redirect=False)
        except (urllib3.exceptions.HTTPError, ValueError):  # ValueError: a URL that only looks like one
            return None
        return response.status


def callback_body(event: Event, revision: str) -> dict[str, Any]:
    """What is delivered: the envelope, or in revision 1.0 the event alone."""
    legacy_uri = f"/v1/events/{event.id}"
    if revision == "1.0":
        [entity] = (value[0] for name, value in event.fields["entity"].items() if name != "links")
        return {"id": event.id, "uri": legacy_uri, **event.fields, "entity": entity}
    return {"events": [{**event.shown(), "uri": legacy_uri}], "links": {}}
