"""Filing: invoices a second, each with its transaction and its subscription moved on.

The floor copies the very rows that Billy made into the same tables, by one COPY for each and one UPDATE,
in one transaction. It computes nothing: no dates, no guids, no keys.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import datetime

from benchmarks.bench import Bench
from benchmarks.figures import Figure, side_by_side, speed
from benchmarks.population import Billy, due_subscriptions
from benchmarks.server import connect
from billy.billing_run import run
from billy.models.run import Summary

DUE = 20_000

_MOVED_ON = "SELECT company_guid, guid, invoice_count, next_invoice_at, updated_at FROM subscription"
_FILED = {
    "invoice": "SELECT * FROM invoice WHERE status = 'processing'",
    "transaction": "SELECT * FROM transaction WHERE submit_status = 'staged'",
    "filed": _MOVED_ON,
}


def measure(bench: Bench) -> Iterator[Figure]:
    """Billy's filing against COPY."""
    number = bench.size(DUE)
    now = due_subscriptions(bench.server.migrated("filing"), number)
    rows = _rows(bench, now, number)
    floors, billys = side_by_side(
        lambda: number / _floor(bench, rows), lambda: number / _billy(bench, now, number), times=bench.times
    )
    yield speed(f"filing, {number:,} due", "invoices/s", floors, billys, least=0.35, aim=0.6)


def _billy(bench: Bench, now: datetime, number: int) -> float:
    with bench.server.copied("filing") as url:
        return _file(Billy.over(url), now, number)


def _file(billy: Billy, now: datetime, number: int) -> float:
    """A run that stops when all is filed; returns its seconds."""
    filed = 0

    def count(summary: Summary) -> None:
        nonlocal filed
        filed = summary.filed

    began = time.perf_counter()
    summary = run(
        billy.sessions, billy.settings, billy.submitter, now, progress=count, is_stopping=lambda: filed >= number
    )
    seconds = time.perf_counter() - began
    billy.close()
    assert (summary.filed, summary.submitted, summary.errors) == (number, 0, 0), summary
    return seconds


def _rows(bench: Bench, now: datetime, number: int) -> dict[str, bytes]:
    """What Billy makes of the database, as COPY's own text."""
    with bench.server.copied("filing") as url:
        _file(Billy.over(url), now, number)
        connection = connect(url)
        rows = {}
        for table, query in _FILED.items():
            text = io.BytesIO()
            connection.cursor().copy_expert(f"COPY ({query}) TO STDOUT", text)
            rows[table] = text.getvalue()
        connection.close()
        return rows


def _floor(bench: Bench, rows: dict[str, bytes]) -> float:
    with bench.server.copied("filing") as url:
        connection = connect(url)
        cursor = connection.cursor()
        began = time.perf_counter()
        cursor.execute(f"CREATE TEMPORARY TABLE filed ON COMMIT DROP AS {_MOVED_ON} WITH NO DATA")
        for table, text in rows.items():
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.BytesIO(text))
        cursor.execute("""
            UPDATE subscription
            SET invoice_count = filed.invoice_count, next_invoice_at = filed.next_invoice_at,
                updated_at = filed.updated_at
            FROM filed
            WHERE subscription.company_guid = filed.company_guid AND subscription.guid = filed.guid
        """)
        assert cursor.rowcount == rows["filed"].count(b"\n")
        connection.commit()
        seconds = time.perf_counter() - began
        connection.close()
        return seconds
