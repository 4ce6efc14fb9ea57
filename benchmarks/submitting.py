"""Submitting: transactions a second, from the claim to the recorded invoice.

With a processor that answers at once, the floor makes the same claims in the same batches and writes the
same columns: two statements and a COMMIT for each batch of 100 before the calls, and two after them.
With one that takes its time, the floor is what the threads could do if Billy took none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from psycopg2.extras import execute_values

from benchmarks.bench import Bench
from benchmarks.figures import Figure, side_by_side, speed
from benchmarks.population import Billy, open_charges
from benchmarks.server import connect
from billy.billing_run import run

OPEN = 10_000
LATENCY = 0.05
BATCH = 100


def measure(bench: Bench) -> Iterator[Figure]:
    """Billy's submissions against the bare driver, and against the clock."""
    number = bench.size(OPEN)
    now = open_charges(bench.server.migrated("submitting"), number)
    floors, billys = side_by_side(
        lambda: number / _floor(bench, number), lambda: number / _billy(bench, now, number), times=bench.times
    )
    yield speed("submitting, answered at once", "transactions/s", floors, billys, least=0.4, aim=0.7)

    for concurrency, least, aim in ((16, 0.9, 0.97), (64, 0.75, 0.9)):
        ideal = concurrency / LATENCY
        number = bench.size(int(ideal * 10))
        name = f"slowly_{concurrency}"
        now = open_charges(bench.server.migrated(name), number)
        billys = [
            number / _billy(bench, now, number, template=name, concurrency=concurrency, latency=LATENCY)
            for _ in range(bench.times)
        ]
        yield speed(
            f"submitting, answered after {LATENCY * 1000:.0f} ms, concurrency {concurrency}",
            "transactions/s",
            [ideal] * len(billys),
            billys,
            least=least,
            aim=aim,
        )


def _billy(
    bench: Bench,
    now: datetime,
    number: int,
    *,
    template: str = "submitting",
    concurrency: int = 8,
    latency: float = 0,
) -> float:
    with bench.server.copied(template) as url:
        billy = Billy.over(url, **{"billy.yes.latency": str(latency), "billy.run.batch_size": str(BATCH)})
        began = time.perf_counter()
        summary = run(billy.sessions, billy.settings, billy.submitter, now, concurrency=concurrency)
        seconds = time.perf_counter() - began
        billy.close()
    assert (summary.succeeded, summary.submitted, summary.errors) == (number, number, 0), summary
    return seconds


_CLAIM = f"""
    WITH due AS MATERIALIZED (
        SELECT t.company_guid, t.guid, i.guid AS invoice_guid, c.processor_uri AS customer_uri,
            o.sealed_processor_key, o.parked_count, clock_timestamp() AS database_now
        FROM transaction t
        JOIN invoice i ON i.company_guid = t.company_guid AND i.guid = t.invoice_guid
        JOIN customer c ON c.company_guid = t.company_guid AND c.guid = t.customer_guid
        JOIN company o ON o.guid = t.company_guid
        WHERE t.submit_status IN ('staged', 'retrying') AND t.next_attempt_at <= now()
            AND (t.leased_until IS NULL OR t.leased_until < clock_timestamp())
            AND (o.parked_until IS NULL OR o.parked_until <= now())
            AND i.status = 'processing'
        ORDER BY t.next_attempt_at
        LIMIT {BATCH}
        FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE transaction t
    SET attempt = t.attempt + 1, in_doubt = true, leased_until = due.database_now + interval '2 min',
        last_send_at = due.database_now + interval '110 s'
    FROM due
    WHERE t.company_guid = due.company_guid AND t.guid = due.guid
    RETURNING t.company_guid, t.guid, t.invoice_guid, t.customer_guid, t.transaction_type, t.amount,
        t.funding_instrument_uri, t.appears_on_statement_as, t.submission_key, t.attempt,
        due.customer_uri, due.sealed_processor_key, due.parked_count, due.database_now
"""

_RECORD_TRANSACTIONS = """
    UPDATE transaction t
    SET submit_status = 'done', status = 'succeeded', processor_uri = answer.processor_uri, in_doubt = false,
        leased_until = NULL, updated_at = now()
    FROM (VALUES %s) AS answer (company_guid, guid, attempt, processor_uri)
    WHERE t.company_guid = answer.company_guid AND t.guid = answer.guid AND t.attempt = answer.attempt
"""

_RECORD_INVOICES = """
    UPDATE invoice i
    SET status = 'settled', updated_at = now()
    FROM (VALUES %s) AS answer (company_guid, guid)
    WHERE i.company_guid = answer.company_guid AND i.guid = answer.guid AND i.status = 'processing'
"""


def _floor(bench: Bench, number: int) -> float:
    with bench.server.copied("submitting") as url:
        connection = connect(url)
        cursor = connection.cursor()
        done = 0
        began = time.perf_counter()
        while True:
            cursor.execute(_CLAIM)
            claims = cursor.fetchall()
            connection.commit()
            if not claims:
                break
            answers = [(company, guid, attempt, f"/debits/{guid}") for company, guid, *_, attempt, _, _, _, _ in claims]
            execute_values(cursor, _RECORD_TRANSACTIONS, answers, page_size=BATCH)
            done += cursor.rowcount
            execute_values(cursor, _RECORD_INVOICES, [claim[0:3:2] for claim in claims], page_size=BATCH)
            connection.commit()
        seconds = time.perf_counter() - began
        connection.close()
    assert done == number
    return seconds
