"""The points of a process at which something can happen to it: before and after each commit and each call.

Nothing in the product knows of this. A commit is named after the function of Billy that it belongs to (the
``work`` of ``persist``), a call after the adapter's method, so the points are found by watching a process
once, and new ones are found by themselves.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from billy.db import persist
from billy.settings import Settings


class When(StrEnum):
    """On which side of it."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th time that a process comes to a commit or a call."""

    name: str
    when: When
    number: int

    def __str__(self) -> str:
        return f"{self.name}:{self.when}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """From its text."""
        name, when, number = text.rsplit(":", 2)
        return cls(name, When(when), int(number))

    @property
    def is_commit(self) -> bool:
        """Commits have the name of a function, calls that of an adapter's method."""
        return "." in self.name


class Action(StrEnum):
    """What happens there."""

    KILL = "kill"
    STOP = "stop"
    """Suspended, until somebody sends SIGCONT."""
    STALL = "stall"
    """This thread sleeps past the lease; the others go on."""
    CUT = "cut"
    """The connection to the database is cut: before a commit, or when it has happened but nobody was told."""


@dataclass(frozen=True, slots=True)
class Doom:
    """What happens to a process, and where."""

    action: Action
    point: Point

    @classmethod
    def at(cls, action: Action, name: str, when: When, number: int = 1) -> Doom:
        """At a point that is known beforehand."""
        return cls(action, Point(name, when, number))


class Watch:
    """Notes every point that this process reaches in a journal, and does there what it has to."""

    def __init__(self, journal: Path, doom: Doom | None, *, stall: float) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._doom = doom
        self._stall = stall
        self._reached: Counter[tuple[str, When]] = Counter()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Watch this process from now on."""
        commit, make_factory = DefaultDialect.do_commit, Settings.make_processor_factory

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            name = _committing()
            self._reach(name, When.BEFORE, lambda: _cut(connection))
            commit(dialect, connection)
            self._reach(name, When.AFTER, lambda: _cut_and_notice(connection))

        def make_processor_factory(settings: Settings) -> _WatchedFactory:
            return _WatchedFactory(make_factory(settings), self)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]  # in a process that is ours to torture
        Settings.make_processor_factory = make_processor_factory  # type: ignore[method-assign, assignment]  # as above

    def call(self, name: str, method: Callable[[], Any]) -> Any:
        """Call a processor's adapter."""
        self._reach(name, When.BEFORE)
        try:
            return method()
        finally:
            self._reach(name, When.AFTER)

    def _reach(self, name: str, when: When, cut: Callable[[], None] = lambda: None) -> None:
        with self._lock:
            self._reached[name, when] += 1
            point = Point(name, when, self._reached[name, when])
            os.write(self._journal, f"{point}\n".encode())
        if self._doom is None or self._doom.point != point:
            return
        match self._doom.action:
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.STOP:
                # What other threads have begun may end: to be suspended there is another case.
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(0.05)  # the signal may reach another thread first
            case Action.STALL:
                time.sleep(self._stall)
            case Action.CUT:
                cut()


class _WatchedFactory:
    """A factory of such adapters."""

    def __init__(self, factory: Any, watch: Watch) -> None:
        self.name = factory.name
        self._factory = factory
        self._watch = watch

    def __call__(self, processor_key: str) -> _Watched:
        return _Watched(self._factory(processor_key), self._watch)


class _Watched:
    """An adapter whose calls are points."""

    def __init__(self, adapter: Any, watch: Watch) -> None:
        self._adapter = adapter
        self._watch = watch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._adapter, name)
        return lambda *arguments, **options: self._watch.call(name, lambda: method(*arguments, **options))


def _committing() -> str:
    """Which function of Billy commits: the work that ``persist`` was given, or whoever else is nearest."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module.startswith("billy."):
            name = frame.f_code.co_qualname
            if frame.f_code is persist.__code__:
                work = frame.f_locals["work"]
                module, name = work.__module__, work.__qualname__
            return f"{module.removeprefix('billy.')}.{name.replace('.<locals>', '')}"
        frame = frame.f_back
    return "torture.itself"


def _cut(connection: Any) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _cut_and_notice(connection: Any) -> None:
    _cut(connection)
    connection.cursor().execute("SELECT 1")  # raises what a commit raises whose answer is lost
