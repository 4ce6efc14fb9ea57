"""SIGKILL before and after every commit and every call, in runs and in requests."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from torture.acts import REQUESTS, again, bill, request
from torture.case import DATABASES, Case
from torture.processes import Child
from torture.scenes import shop
from torture.stage import Stage, Theater
from torture.watch import Action, Doom, Point

RUN = "run"
ACTS = (RUN, *REQUESTS)

IDEMPOTENT = {"off": {}, "on": {"billy.sandbox.idempotent": "true"}}

Points = Mapping[tuple[str, str], Sequence[Point]]
"""The points of each act on each database, in the order in which it comes to them."""


def begin(stage: Stage, act: str, doom: Doom | None = None, statuses: Sequence[int] = (200, 503)) -> Child:
    """Begin an act, doomed or not; a request has to be answered with one of the statuses.

    Without any fault of Billy's it is 503 when the sandbox's ledger is too busy to be asked about a card.
    """
    if act == RUN:
        return stage.start(bill, "--concurrency", "2", doom=doom)
    return stage.start(request, act, *statuses, doom=doom)


def everywhere(theater: Theater, seed: int, *, only: str = "") -> Points:
    """All points of all acts on both databases; ``only`` those that cases with such names need."""
    acts = [(database, act) for database in DATABASES for act in ACTS if _is_needed(database, act, only)]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda each: _points_of(theater, each[0], each[1], seed), acts)
        return dict(zip(acts, found, strict=True))


def _is_needed(database: str, act: str, only: str) -> bool:
    kind = RUN if act == RUN else "requests"
    names = [f"crash/{database}/{kind}/", f"database/{database}/cut/{kind}/"]
    names += [f"time/{database}/suspended/"] if act == RUN else []
    return any(name.startswith(only) or only.startswith(name) for name in names)


def _points_of(theater: Theater, database: str, act: str, seed: int) -> list[Point]:
    """Every point that an act comes to when nothing happens to it."""
    with theater.stage(Case(f"watch/{database}/{act}", shop, go_over_it), seed) as stage:
        child = begin(stage, act, statuses=(200,))
        code = child.wait()
        assert code == 0, f"{act} exited {code}:\n{child.output}"
        assert child.points, f"{act} on {database} neither commits nor calls"
        return child.points


def cases(points: Points, idempotent: str, *, database: str, every: int = 1, first: int = 0) -> Iterator[Case]:
    """A case for each point of a run, and one for the n-th point of all the requests together."""
    for number, (kind, name, accidents) in enumerate(accidents_at(points, Action.KILL, database)):
        if number % every == first:
            name = f"crash/{database}/{kind}/idempotence-{idempotent}/{name}"
            yield Case(name, shop, partial(_crash, accidents), options=IDEMPOTENT[idempotent])


def accidents_at(
    points: Points, action: Action, database: str, *, commits_only: bool = False
) -> Iterator[tuple[str, str, dict[str, Doom]]]:
    """Of what kind, a name, and what happens to which act."""
    chosen = {
        act: [point for point in found if point.is_commit or not commits_only]
        for (where, act), found in points.items()
        if where == database
    }
    for point in chosen.pop(RUN, ()):
        yield RUN, str(point), {RUN: Doom(action, point)}
    for number in range(max(map(len, chosen.values()), default=0)):
        dooms = {act: Doom(action, found[number]) for act, found in chosen.items() if number < len(found)}
        yield "requests", str(number + 1), dooms


def _crash(accidents: Mapping[str, Doom], stage: Stage) -> None:
    children = {act: begin(stage, act, doom) for act, doom in accidents.items()}
    for act, child in children.items():
        code = child.wait()
        assert code in (-signal.SIGKILL, 0), f"{act} exited {code}:\n{child.output}"
        # Threads take turns as they like, so the last time that one comes somewhere may not come at all.
        stage.tally.points += code != 0
    go_over_it(stage, *accidents)


def go_over_it(stage: Stage, *acts: str) -> None:
    """What is done after accidents: programs that got no answer ask again, the leases end, a run comes."""
    requests = [act for act in acts if act != RUN]
    is_impatient = stage.rng.random() < 0.5
    if requests and is_impatient:
        stage.do(again, *requests)
    stage.await_lease()
    stage.settle()
    if requests and not is_impatient:
        stage.do(again, *requests)
        stage.settle()
    stage.audit()
