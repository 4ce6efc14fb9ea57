"""Processes of a case: forked from a clean one that has everything imported, and doomed if need be."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

from billy.log import set_up_logging
from torture.watch import Doom, Point, Watch
from torture.world import World

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "torture.warm"])

# Threads that look at one process at once (to begin another looks at all) would take its exit code from each other.
_looking = threading.Lock()

PATIENCE = 90.0
"""Seconds after which a process that should have ended is an error."""


class Child:
    """A process at work in a world. What it prints, and the points that it reached, are kept in files."""

    def __init__(
        self, world: World, name: str, target: Callable[..., None], *arguments: Any, doom: Doom | None
    ) -> None:
        self.doom = doom
        self._output = world.path / f"{name}.log"
        self._journal = world.path / f"{name}.points"
        self._journal.touch()
        self._process = _context.Process(
            target=_main, args=(world, self._output, self._journal, doom, target, arguments), daemon=True
        )
        with _looking:
            self._process.start()

    @property
    def output(self) -> str:
        """All that it printed."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def points(self) -> list[Point]:
        """Where it came by."""
        return [Point.parse(line) for line in self._journal.read_text().splitlines()]

    @property
    def has_met_its_doom(self) -> bool:
        """Whether it came to where something was to happen to it."""
        return self.doom is not None and self.doom.point in self.points

    @property
    def is_alive(self) -> bool:
        """Whether it goes on, or may."""
        with _looking:
            return self._process.is_alive()

    def await_doom(self, *, seconds: float = PATIENCE) -> bool:
        """Wait until it came to its point, or ended, or for so long; returns whether it came there."""
        give_up = time.monotonic() + seconds
        while self.is_alive and not self.has_met_its_doom and time.monotonic() < give_up:
            time.sleep(0.02)
        time.sleep(0.4)  # from the journal to the deed
        return self.has_met_its_doom

    def await_points(self) -> None:
        """Wait until it has come somewhere at all."""
        give_up = time.monotonic() + PATIENCE
        while self.is_alive and not self.points and time.monotonic() < give_up:
            time.sleep(0.02)

    def wait(self, *, seconds: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code, or the negative signal."""
        self.idle(seconds)
        with _looking:
            code = self._process.exitcode
        if code is None:
            self.signal(signal.SIGKILL)
            raise AssertionError(f"a process did not end within {seconds:.0f} s:\n{self.output}")
        return code

    def idle(self, seconds: float) -> None:
        """Give it so long to end."""
        connection.wait([self._process.sentinel], seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.is_alive and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def end(self) -> None:
        """Whatever it is doing."""
        self.signal(signal.SIGKILL)
        self.idle(10)
        with _looking:
            self._process.join(1)
            self._process.close()


def _main(
    world: World,
    output: Path,
    journal: Path,
    doom: Doom | None,
    target: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    log = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    settings = world.settings()
    set_up_logging(settings)
    stall = settings.lease.total_seconds() + 0.5
    Watch(journal, doom, stall=stall).install()
    target(world, *arguments)
