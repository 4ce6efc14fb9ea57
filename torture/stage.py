"""Where cases are played: worlds are made and ended here, and their processes are."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import signal
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from torture.acts import settle
from torture.audit import Record, Verdict, audit, is_overpaid_and_says_so
from torture.case import Case, Found, Tally
from torture.postgres import Server
from torture.processes import Child
from torture.scenes import Scene, empty
from torture.watch import Doom
from torture.world import World


class Databases(Protocol):
    """A PostgreSQL server."""

    def create(self, database: str, *, template: str = ...) -> str:
        """A new database, a copy of ``template``; returns its URL."""

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""


class Stage:
    """A world with its processes. Leaving the block ends them."""

    def __init__(self, theater: Theater, case: Case, world: World, rng: random.Random) -> None:
        self.theater = theater
        self.case = case
        self.world = world
        self.rng = rng
        self.tally = Tally(cases=1)
        self._children: list[Child] = []

    def start(self, target: Callable[..., None], *arguments: Any, doom: Doom | None = None) -> Child:
        """Begin something in a process of its own."""
        name = f"{len(self._children):02d}-{target.__name__}"
        child = Child(self.world, name, target, *arguments, doom=doom)
        self._children.append(child)
        return child

    def do(self, target: Callable[..., None], *arguments: Any, codes: tuple[int, ...] = (0,)) -> Child:
        """Do something in a process of its own; it has to end with one of the exit codes."""
        child = self.start(target, *arguments)
        code = child.wait()
        assert code in codes, f"{target.__name__} exited {code}:\n{child.output}"
        return child

    def await_lease(self) -> None:
        """Wait until every lease that was written before now is over, and everything sent is settled."""
        settings = self.world.settings()
        time.sleep((settings.lease + settings.settle_time).total_seconds() + 0.1)

    def settle(self) -> None:
        """Runs until nothing is open."""
        self.do(settle)

    def audit(
        self, records: Sequence[Record] | None = None, *, may_fail: bool = False, may_double: bool = False
    ) -> Verdict:
        """Compare the books with the ledger, count what is wrong, and raise Found if anything is.

        ``records``: the ledger's, if it is not the sandbox's.
        ``may_double``: the one double charge that is documented (a process that is suspended between its
        check and its send, and a processor without idempotency). Even then the books have to show it.
        """
        verdict = audit(self.world, records, may_fail=may_fail)
        self.tally.charges += verdict.charges
        if may_double and verdict.doubled and is_overpaid_and_says_so(self.world, verdict):
            self.tally.overpaid += len(verdict.doubled)
            return verdict
        self.tally.doubled += len(verdict.doubled)
        self.tally.lost += len(verdict.lost)
        self.tally.violations += len(verdict.violations)
        if verdict.is_bad:
            raise Found(str(verdict))
        return verdict

    def evidence(self) -> str:
        """What the processes printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.world.path.glob("*.log")))

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in self._children:
            child.end()


class Theater:
    """Makes the worlds. What a scene builds is built once and copied; servers are started when they are needed."""

    def __init__(self, directory: Path, **servers: Databases) -> None:
        """``postgresql``: a server to use instead of one of our own."""
        self._directory = directory
        self._servers: dict[str, Databases] = dict(servers)
        self._own = contextlib.ExitStack()
        self._name = f"torture_{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count()
        self._templates: dict[Any, World] = {}
        self._lock = threading.Lock()
        self._building: dict[Any, threading.Lock] = defaultdict(threading.Lock)

    def server(self, kind: str) -> Any:
        """The server for a kind of database."""
        with self._lock_of(kind):
            if kind not in self._servers:
                self._servers[kind] = self._own.enter_context(Server.started())
            return self._servers[kind]

    @contextmanager
    def stage(self, case: Case, seed: int) -> Iterator[Stage]:
        """The stage for a case, with its scene set."""
        template = self._template(case.database, case.scene, case.arguments)
        with self._world(case.database, template, case.options) as world:
            rng = random.Random(f"{seed}/{case.name}")  # noqa: S311  # repeatable is the point
            with Stage(self, case, world, rng) as stage:
                yield stage

    @contextmanager
    def backed_up(self, stage: Stage) -> Iterator[Callable[[], None]]:
        """A back-up of a stage's database as it is now, and how to restore it. Nobody may use it meanwhile."""
        if not stage.world.is_postgresql:
            backup = stage.world.path / "backup"
            _copy_database(stage.world.path, backup)
            yield lambda: _copy_database(backup, stage.world.path)
            return
        server = self.server(stage.case.database)
        name = stage.world.path.name
        backup_name = f"{name}_backup"

        def restore() -> None:
            server.drop(name)
            server.create(name, template=backup_name)

        server.create(backup_name, template=name)
        try:
            yield restore
        finally:
            server.drop(backup_name)

    def close(self) -> None:
        """Drop the templates, stop the servers."""
        for (kind, *_), world in self._templates.items():
            if world.is_postgresql:
                self.server(kind).drop(world.path.name)
        self._own.close()

    @contextmanager
    def _world(self, kind: str, template: World | None, options: Mapping[str, str]) -> Iterator[World]:
        world = self._make(kind, template, options)
        try:
            yield world
        finally:
            if world.is_postgresql:
                self.server(kind).drop(world.path.name)
            shutil.rmtree(world.path)

    def _make(self, kind: str, template: World | None, options: Mapping[str, str]) -> World:
        path = self._directory / f"{self._name}_{next(self._numbers)}"
        path.mkdir()
        # SQLite's logs too: a process that was killed, or just left, has not merged them.
        for file in (*template.path.glob("*.sqlite*"), template.path / "facts.json") if template else ():
            if file.exists():
                shutil.copyfile(file, path / file.name)
        url = f"sqlite:///{path / 'billy.sqlite'}"
        if kind != "sqlite":
            url = self.server(kind).create(path.name, template=template.path.name if template else "template0")
        return World.make(path, url, options)

    def _template(self, kind: str, scene: Scene, arguments: tuple[Any, ...] = ()) -> World:
        key = (kind, scene, arguments)
        with self._lock_of(key):
            if key not in self._templates:
                base = None if scene is empty else self._template(kind, empty)
                world = self._make(kind, base, {})
                with Stage(self, Case(f"scene/{kind}", scene, _no_play), world, random.Random(0)) as stage:  # noqa: S311  # as above
                    stage.do(scene, *arguments)
                self._templates[key] = world
            return self._templates[key]


    def _lock_of(self, key: object) -> threading.Lock:
        with self._lock:
            return self._building[key]


def _no_play(stage: Stage) -> None:
    """Scenes are set, not played."""


def _copy_database(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for file in target.glob("billy.sqlite*"):
        file.unlink()
    for file in source.glob("billy.sqlite*"):
        shutil.copyfile(file, target / file.name)


def play(theater: Theater, case: Case, seed: int) -> tuple[Tally, str | None]:
    """Play a case; returns what it came to, and what was wrong."""
    with theater.stage(case, seed) as stage:
        try:
            case.play(stage)
        except Found as found:
            stage.tally.failed += 1
            return stage.tally, f"{found}\n{stage.evidence()}"
        except Exception as error:  # a case that cannot go on is a failure of the case, and not the end of the others
            stage.tally.failed += 1
            return stage.tally, f"{type(error).__name__}: {error}"
        return stage.tally, None


def resume(child: Child) -> None:
    """Wake a suspended process."""
    child.signal(signal.SIGCONT)
