"""Many runs over one database, each in a process of its own, with a processor that takes 50 ms."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from benchmarks.bench import Bench
from benchmarks.population import SECRET_KEY, Billy, open_charges
from benchmarks.submitting import LATENCY
from billy.billing_run import run

PROCESSES = (1, 2, 4)
CONCURRENCY = (16, 64)
SECONDS = 5
"""How long each measurement would take if nothing but the processor took time."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What some processes submitted together."""

    processes: int
    concurrency: int
    """Of each."""
    rate: float
    ideal: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ratio": self.rate / self.ideal}


def measure(bench: Bench) -> Iterator[Throughput]:
    """Transactions a second at each number of processes."""
    for concurrency in CONCURRENCY:
        for processes in PROCESSES:
            ideal = processes * concurrency / LATENCY
            number = bench.size(int(ideal * SECONDS))
            name = f"processes_{concurrency}_{processes}"
            now = open_charges(bench.server.migrated(name), number)
            seconds = _submit(bench.server.url_of(name), now, number, processes, concurrency)
            bench.server.drop(name)
            yield Throughput(processes, concurrency, number / seconds, ideal)


def _submit(url: str, now: datetime, number: int, processes: int, concurrency: int) -> float:
    job = json.dumps([url, SECRET_KEY, now.isoformat(), concurrency])
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for child in children:
            _tell(child, job)
            assert _hear(child) == "ready"
        began = time.perf_counter()
        for child in children:
            _tell(child, "go")
        done = [json.loads(_hear(child)) for child in children]
        seconds = time.perf_counter() - began
    finally:
        for child in children:
            child.communicate()
    assert sum(counts["succeeded"] for counts in done) == number and not any(counts["errors"] for counts in done), done
    return seconds


def _tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _run(url: str, secret_key: str, now: str, concurrency: int) -> None:
    options = {"billy.secret_keys": secret_key, "billy.yes.latency": str(LATENCY)}
    billy = Billy.over(url, **options)
    print("ready", flush=True)
    sys.stdin.readline()
    at = datetime.fromisoformat(now)
    summary = run(billy.sessions, billy.settings, billy.submitter, at, concurrency=concurrency)
    print(json.dumps(summary.as_dict()), flush=True)


if __name__ == "__main__":
    _run(*json.loads(sys.stdin.readline()))
