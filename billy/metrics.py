"""What Prometheus is told: the requests that the web processes answered, and how the books stand.

Requests are counted in memory. Where several processes serve one address, as gunicorn's workers do, they add up
through files in the directory that the environment variable PROMETHEUS_MULTIPROC_DIR names. All else is in the
books (``billy.standing``), which are read when Prometheus asks: so the scheduler needs no exporter of its own.

``docs/observability.md`` has the tables of this module: ``python -m billy.metrics`` prints them.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from billy.errors import ConfigurationError
from billy.recording import Result
from billy.standing import Standing

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: from a read, a few milliseconds, to what ``billy.api.request_deadline`` allows a processor."""

disable_created_metrics()  # a second series for each of ours, of which nobody asks

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


class Counted(NamedTuple):
    """What a web process counts."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Gauge(NamedTuple):
    """What is read off the books: a number, or several by the value of a label; None is left out."""

    name: str
    meaning: str
    read: Callable[[Standing], float | Mapping[str, float] | None]
    labels: tuple[str, ...] = ()


REQUESTS = Counted(
    "billy_http_requests_total",
    "counter",
    ("method", "route", "status"),
    "Requests answered. `route` is the pattern (`/v1/plans/{guid}`), `none` where no route matched; `status` is a"
    " class (`2xx`).",
)
DURATION = Counted(
    "billy_http_request_duration_seconds",
    "histogram",
    ("method", "route"),
    "How long they took, a second try after a database error included.",
)
QUERIES = Counted(
    "billy_http_queries_total", "counter", ("method", "route"), "Statements that they sent to the database."
)
SUBMISSIONS = Counted(
    "billy_api_submissions_total",
    "counter",
    ("outcome",),
    "Submissions that requests made at once, by what became of them; those of the scheduler are in"
    " `billy_run_submissions_last_day`.",
)
BUILD = Counted("billy_build_info", "gauge", ("version", "revision"), "Always 1.")
DATABASE = Counted(
    "billy_database_up", "gauge", (), "1 if the database answered this scrape; at 0 all that follows is missing."
)

OUTCOMES = (Result.SUCCEEDED, Result.PENDING, Result.FAILED, Result.RETRYING, Result.CANCELED)

GAUGES = (
    Gauge("billy_subscriptions_due", "Subscriptions with an invoice to file.", lambda it: it.subscriptions_due),
    Gauge(
        "billy_subscriptions_oldest_due_seconds",
        "How long the oldest of them has been due; 0 if there is none.",
        lambda it: it.age(it.subscriptions_due_since),
    ),
    Gauge(
        "billy_transactions_open",
        "Transactions to be submitted, now or later: `staged` were never tried, `retrying` were.",
        lambda it: {str(status): count for status, count in it.transactions_open.items()},
        ("submit_status",),
    ),
    Gauge(
        "billy_transactions_due",
        "Those of them that a run would claim now (a parked company's it would not).",
        lambda it: it.transactions_due,
    ),
    Gauge(
        "billy_transactions_oldest_due_seconds",
        "How long the oldest of them has been due; 0 if there is none.",
        lambda it: it.age(it.transactions_due_since),
    ),
    Gauge("billy_transactions_claimed", "Those that are being submitted.", lambda it: it.transactions_claimed),
    Gauge(
        "billy_transactions_lease_expired",
        "Those whose claimant died; the next run looks them up.",
        lambda it: it.leases_expired,
    ),
    Gauge(
        "billy_transactions_in_doubt",
        "Those of unknown outcome that nobody is looking up right now.",
        lambda it: it.transactions_in_doubt,
    ),
    Gauge(
        "billy_transactions_oldest_doubt_seconds",
        "How long ago the oldest of them may last have been sent; 0 if there is none.",
        lambda it: it.age(it.doubt_since),
    ),
    Gauge(
        "billy_transactions_pending",
        "Transactions that the processor accepted and has not told the end of.",
        lambda it: it.transactions_pending,
    ),
    Gauge(
        "billy_companies_parked",
        "Companies that are left alone for a while, since the processor refused their key.",
        lambda it: it.companies_parked,
    ),
    Gauge(
        "billy_run_last_started_timestamp_seconds",
        "When the scheduler's last run began; missing before the first.",
        lambda it: it.last_run_started_at.timestamp() if it.last_run_started_at else None,
    ),
    Gauge(
        "billy_run_last_finished_timestamp_seconds",
        "When the run that ended last did so.",
        lambda it: it.last_run.finished_at.timestamp() if it.last_run else None,
    ),
    Gauge(
        "billy_run_last_duration_seconds",
        "How long that run took.",
        lambda it: it.last_run.seconds if it.last_run else None,
    ),
    Gauge(
        "billy_run_last_exit_code",
        "0 if nothing in that run needs a person, else 1.",
        lambda it: it.last_run.summary.exit_code if it.last_run else None,
    ),
    Gauge("billy_runs_last_day", "Runs that ended in the last 24 hours.", lambda it: it.runs),
    Gauge("billy_run_invoices_last_day", "Invoices that they filed.", lambda it: it.counts["filed"]),
    Gauge(
        "billy_run_submissions_last_day",
        "Submissions that they made, by what became of them.",
        lambda it: {outcome.value: it.counts[outcome.value] for outcome in OUTCOMES},
        ("outcome",),
    ),
    Gauge(
        "billy_run_declines_last_day",
        "Refusals among the failed and the retrying.",
        lambda it: it.counts["declined"],
    ),
    Gauge(
        "billy_run_leases_expired_last_day",
        "Claims that they took over from somebody who died, or was suspended.",
        lambda it: it.counts["expired"],
    ),
    Gauge(
        "billy_run_differences_last_day",
        "What the processor's books and ours disagreed about.",
        lambda it: it.counts["differing"],
    ),
    Gauge(
        "billy_run_errors_last_day",
        "What should not have happened: crashes, rows that could not be written.",
        lambda it: it.counts["errors"],
    ),
)


class Metrics:
    """Counts requests, and tells what was counted; shared by threads. One a process."""

    def __init__(self, version: str, revision: str | None) -> None:
        """ConfigurationError if the processes are to share a directory that cannot be written to."""
        directory = os.environ.get(DIRECTORY)
        if directory and not (os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)):
            raise ConfigurationError(f"{DIRECTORY}: {directory} is not a directory that can be written to")
        self.is_shared = bool(directory)
        """Whether the processes that serve one address add up what they measure."""
        self._build = {BUILD.labels[0]: version, BUILD.labels[1]: revision or ""}
        self._registry = CollectorRegistry()
        own = None if self.is_shared else self._registry
        if self.is_shared:
            MultiProcessCollector(self._registry, directory)
        self._requests = Counter(REQUESTS.name, REQUESTS.meaning, REQUESTS.labels, registry=own)
        self._duration = Histogram(DURATION.name, DURATION.meaning, DURATION.labels, registry=own, buckets=BUCKETS)
        self._queries = Counter(QUERIES.name, QUERIES.meaning, QUERIES.labels, registry=own)
        self._submissions = Counter(SUBMISSIONS.name, SUBMISSIONS.meaning, SUBMISSIONS.labels, registry=own)
        self._children: dict[tuple[str, str | None, int], tuple[Counter, Histogram, Counter]] = {}

    def request_finished(self, method: str, route: str | None, status: int, seconds: float, queries: int) -> None:
        """Count a request. ``route`` is a pattern, so that the number of series has a bound."""
        key = (method if method in _METHODS else "other", route, status // 100)
        # Finding the children by their labels takes longer than counting.
        children = self._children.get(key) or self._find_children(key)
        requests, duration, sent = children
        requests.inc()
        duration.observe(seconds)
        sent.inc(queries)

    def _find_children(self, key: tuple[str, str | None, int]) -> tuple[Counter, Histogram, Counter]:
        method, route, status = key[0], key[1] or "none", f"{key[2]}xx"
        found = (
            self._requests.labels(method, route, status),
            self._duration.labels(method, route),
            self._queries.labels(method, route),
        )
        self._children[key] = found  # threads that do this at once store the same
        return found

    def submitted(self, results: Iterable[Result]) -> None:
        """Count what became of a request's submissions."""
        for result, number in Tally(results).items():
            self._submissions.labels(result.value).inc(number)

    def exposition(self, standing: Standing | None) -> bytes:
        """All metrics in Prometheus' text format, 0.0.4; without a ``standing``, that the database does not answer."""
        books = CollectorRegistry()
        books.register(_Books(self._build, standing))
        return generate_latest(self._registry) + generate_latest(books)


class _Books(Collector):
    def __init__(self, build: Mapping[str, str], standing: Standing | None) -> None:
        self._build = build
        self._standing = standing

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _family(BUILD.name, BUILD.meaning, BUILD.labels, {tuple(self._build.values()): 1})
        yield _family(DATABASE.name, DATABASE.meaning, (), {(): self._standing is not None})
        if self._standing is None:
            return
        for gauge in GAUGES:
            read = gauge.read(self._standing)
            if isinstance(read, Mapping):
                yield _family(gauge.name, gauge.meaning, gauge.labels, {(key,): value for key, value in read.items()})
            elif read is not None:
                yield _family(gauge.name, gauge.meaning, (), {(): read})


def _family(
    name: str, meaning: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def markdown() -> str:
    """The table of all metrics."""
    counted = [(it.name, it.kind, it.labels, it.meaning) for it in (REQUESTS, DURATION, QUERIES, SUBMISSIONS)]
    told = [(it.name, it.kind, it.labels, it.meaning) for it in (BUILD, DATABASE)]
    read = [(it.name, "gauge", it.labels, it.meaning) for it in GAUGES]
    rows = (
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {meaning} |"
        for name, kind, labels, meaning in (*counted, *told, *read)
    )
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(markdown())
