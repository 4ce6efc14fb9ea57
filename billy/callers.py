"""The threads of a run that call processors, and nothing else: the database is the run's own thread's."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from billy.recording import Claim, Outcome
from billy.submission import Submitter

RECORD_AFTER = 0.2
"""Seconds that an answer may wait to be recorded together with others."""


class Callers:
    """Threads that perform claims. Not a ThreadPoolExecutor: a future for each call costs more than the claim."""

    def __init__(self, submitter: Submitter, number: int) -> None:
        self._submitter = submitter
        self._claims: SimpleQueue[Claim | None] = SimpleQueue()
        self._answered: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self._came_in: list[Outcome] = []
        self._crash: BaseException | None = None
        self._threads = [
            # With what each line of the log shall have: the run. A context is entered by one thread at a time.
            threading.Thread(target=contextvars.copy_context().run, args=(self._call,), name=f"submit-{each}")
            for each in range(number)
        ]
        self.unrecorded = 0
        """Claims that were taken and whose outcome ``answers`` has not returned yet."""

    def _call(self) -> None:
        while (claim := self._claims.get()) is not None:
            try:
                self._answered.put(self._submitter.perform(claim))
            except BaseException as crash:  # the end of the process: for the thread that can end it
                self._answered.put(crash)

    @property
    def waiting(self) -> int:
        """Claims that no thread has begun."""
        return self._claims.qsize()

    def take(self, claims: Sequence[Claim]) -> None:
        """Have claims performed."""
        self.unrecorded += len(claims)
        for claim in claims:
            self._claims.put(claim)

    def answers(self, *, most: int, unless_short: bool) -> list[Outcome]:
        """Outcomes that are worth being recorded together: as many as that, or all, or some that waited long enough.

        Nothing yet, ``unless_short``, where the threads run short of claims first. What ended a thread is raised
        here, after the outcomes before it.
        """
        if self._crash is not None:
            raise self._crash
        until = time.monotonic() + RECORD_AFTER
        while len(self._came_in) < min(most, self.unrecorded):
            if unless_short and self.waiting <= len(self._threads):
                return []
            try:
                outcome = self._answered.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            if isinstance(outcome, BaseException):
                self._crash = outcome
                break
            self._came_in.append(outcome)
        outcomes, self._came_in = self._came_in, []
        self.unrecorded -= len(outcomes)
        return outcomes

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # Where nothing can be recorded any more, nothing more is sent: what was claimed is looked up later.
        with contextlib.suppress(Empty):
            while True:
                self._claims.get_nowait()
        for _ in self._threads:
            self._claims.put(None)
        for thread in self._threads:
            thread.join()
