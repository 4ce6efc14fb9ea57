"""``python -m torture --seconds 300 --seed 1``: all cases, again and again, until the time is over."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from torture import bad_database, bad_network, bad_times, constraints, crash_points, model, races
from torture.case import DATABASES, Case, Tally
from torture.stage import Theater, play

AT_ONCE = 8
"""Cases that are played at the same time: most of them wait for a lease."""

SHOWN = 20
"""Lines at the beginning and at the end of what is told of a failure."""


def rounds(theater: Theater, seed: int, seconds: float, only: str) -> Iterator[tuple[int, list[Case]]]:
    """The cases of each round, with the round's seed; the first round is the one that has to be finished."""
    points = crash_points.everywhere(theater, seed, only=only)
    first, second = DATABASES
    while True:
        yield (
            seed,
            [
                *races.cases(seconds),
                *model.cases(),
                *bad_database.cases(),
                *bad_network.cases(),
                *constraints.cases(),
                *crash_points.cases(points, "off", database=first),
                *crash_points.cases(points, "off", database=second),
                *bad_times.cases(points),
                *bad_database.cut_commits(points),
                # Once more on either of them.
                *crash_points.cases(points, "on", database=first, every=2),
                *crash_points.cases(points, "on", database=second, every=2, first=1),
            ],
        )
        seed += 1


@dataclass
class Torture:
    """One run of the program."""

    theater: Theater
    console: Console
    give_up: float
    """``time.monotonic()`` after which no case is begun."""
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def play_all(self, cases: list[Case], seed: int) -> int:
        """Play them, several at a time; returns how many the time was enough for."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(lambda case: self._play(case, seed), cases))

    def _play(self, case: Case, seed: int) -> bool:
        if time.monotonic() > self.give_up:
            return False
        tally, wrong = play(self.theater, case, seed)
        with self._lock:
            self.tallies[case.family].add(tally)
            if wrong is not None:
                lines = wrong.strip().splitlines()
                shown = lines if len(lines) <= 2 * SHOWN else [*lines[:SHOWN], "…", *lines[-SHOWN:]]
                self.console.print(f"FAILED {case.name}", style="bold red", highlight=False, markup=False)
                self.console.print("\n".join(f"  {line}" for line in shown), highlight=False, markup=False)
                self.console.print(f"  repeat: python -m torture --seed {seed} --only '{case.name}'", markup=False)
        return True

    @property
    def total(self) -> Tally:
        """Of all families."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    def table(self) -> Table:
        """What it came to."""
        counts = [each.name for each in fields(Tally)]
        table = Table(show_footer=True)
        table.add_column("family", "all")
        names = {"points": "crash points tried", "faults": "faults injected", "charges": "charges made"}
        for name in counts:
            table.add_column(names.get(name, name), f"{getattr(self.total, name):,}", justify="right")
        for family, tally in self.tallies.items():
            table.add_row(family, *(f"{getattr(tally, name):,}" for name in counts))
        return table


def main() -> int:
    """Returns the exit code: 0 if nothing was doubled, lost or violated."""
    parser = argparse.ArgumentParser(prog="python -m torture", description="Does Billy ever lose or double a charge?")
    parser.add_argument("--seconds", type=float, default=300, help="no case is begun after so long (300)")
    parser.add_argument("--seed", type=int, help="repeat what another torture did")
    parser.add_argument("--only", default="", help="the cases whose names begin so, once")
    arguments = parser.parse_args()
    began = time.monotonic()
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed  # noqa: S311  # no secret
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="billy-torture-") as directory:
        theater = Theater(Path(directory))
        torture = Torture(theater, console, began + arguments.seconds)
        for number, (round_seed, cases) in enumerate(rounds(theater, seed, arguments.seconds, arguments.only)):
            chosen = [case for case in cases if case.name.startswith(arguments.only)]
            played = torture.play_all(chosen, round_seed)
            console.print(
                f"{time.monotonic() - began:4.0f} s: round {number + 1} (seed {round_seed}): {played} of {len(chosen)}"
                f" cases, {torture.total.charges:,} charges, {torture.total.failed} failures"
            )
            if number == 0 and played < len(chosen):
                console.print("The time was too short for every case.", style="yellow")
            if arguments.only or time.monotonic() > torture.give_up:
                break
        theater.close()
    console.print(torture.table())
    return 0 if torture.total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
