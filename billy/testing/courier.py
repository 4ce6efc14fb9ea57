"""Delivers what a simulated service has to tell over HTTP, again and again if need be."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import Protocol

import urllib3

RETRIES = 10
"""Each after twice the delay of the one before: with a first delay of ten minutes about a week in all."""

_WORKERS = 4


class Letter(Protocol):
    """Something to be delivered."""

    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""

    def knock(self, pool: urllib3.PoolManager) -> int | None:
        """Try; the status of the answer, or None if there was none."""

    def note(self, attempt: int, status: int | None, state: str) -> None:
        """Remember the try; ``state`` is succeeded, retrying or failed."""


class Courier:
    """A queue and a few threads, which begin with the first letter.

    So letters may overtake each other, as they may on the way from a real service.
    """

    def __init__(self, *, retry_delay: float, timeout: float) -> None:
        self._retry_delay = retry_delay
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=_WORKERS)
        self._queue: list[tuple[float, int, Letter, int]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._under_way = 0
        self._stopping = False
        self._workers: list[threading.Thread] = []

    def send(self, letter: Letter) -> None:
        """Have it delivered, soon."""
        self._enqueue(letter, 1, 0)

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

    def _enqueue(self, letter: Letter, attempt: int, delay: float) -> None:
        with self._changed:
            if self._stopping:
                return
            heapq.heappush(self._queue, (time.monotonic() + delay, next(self._numbers), letter, attempt))
            if len(self._workers) < _WORKERS:
                worker = threading.Thread(target=self._work, name="courier", daemon=True)
                self._workers.append(worker)
                worker.start()
            self._changed.notify()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            self._deliver(*taken)
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[Letter, int] | None:
        with self._changed:
            while not self._stopping:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._queue)[2:]
                self._changed.wait(wait)
        return None

    def _deliver(self, letter: Letter, attempt: int) -> None:
        if not letter.is_wanted():
            return
        try:
            status = letter.knock(self._pool)
        except (urllib3.exceptions.HTTPError, ValueError):  # ValueError: a URL that only looks like one
            status = None
        done = status is not None and 200 <= status < 210
        given_up = not done and attempt > RETRIES
        letter.note(attempt, status, "succeeded" if done else "failed" if given_up else "retrying")
        if not done and not given_up:
            self._enqueue(letter, attempt + 1, self._retry_delay * 2 ** (attempt - 1))
