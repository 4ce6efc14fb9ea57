"""Memory: the peak of a run's process over 200,000 due subscriptions, against 20,000.

Each run is a process of its own. Memory does not scatter as time does, so each is measured once, and the
database need not wait for its disk. A fourth of the subscriptions has a card: what is ten times as much to file is
ten times as much to submit too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.population import SECRET_KEY, Billy, due_subscriptions
from billy.billing_run import run

FEW = 20_000
MANY = 200_000
CARDS = 4
LIMIT_MB = 200


def measure(bench: Bench) -> Iterator[Figure]:
    """The peak of a long run against that of a short one."""
    few, many = (_peak(bench, bench.size(number)) for number in (FEW, MANY))
    name = f"memory, {bench.size(MANY):,} due against {bench.size(FEW):,}"
    yield Figure(name, "MB", few, many, (many / few,), most=1.2, limit=LIMIT_MB)


def _peak(bench: Bench, number: int) -> float:
    name = f"memory_{number}"
    url = bench.server.migrated(name)
    now = due_subscriptions(url, number, cards=CARDS)
    bench.server.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory"]
    child = subprocess.run(
        command,
        input=json.dumps([url, SECRET_KEY, now.isoformat(), number]),
        capture_output=True,
        text=True,
        check=True,
    )
    bench.server.drop(name)
    return float(child.stdout)


def _run(url: str, secret_key: str, now: str, number: int) -> None:
    billy = Billy.over(url, **{"billy.secret_keys": secret_key})
    summary = run(billy.sessions, billy.settings, billy.submitter, datetime.fromisoformat(now))
    assert (summary.filed, summary.succeeded, summary.errors) == (number, number // CARDS, 0), summary
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    _run(*json.load(sys.stdin))
