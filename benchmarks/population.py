"""Databases full of rows, made by ``INSERT … SELECT generate_series``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.server import connect
from billy.db import make_engine, make_sessions
from billy.log import set_up_logging
from billy.models import Company
from billy.secrets import Vault, new_secret_key
from billy.settings import Settings
from billy.submission import Processors, Submitter

SECRET_KEY = new_secret_key()

# Its digits are those of Billy's guids, so they sort by number and pass for guids.
_GUID = """
CREATE FUNCTION pg_temp.guid(prefix text, number bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT prefix || '1' || translate(lpad(number::text, 21, '0'), '0123456789', '123456789A')
$$
"""

_INDEXES = """
SELECT format(CASE WHEN c.oid IS NULL THEN 'DROP INDEX %2$s' ELSE 'ALTER TABLE %1$s DROP CONSTRAINT %3$I' END,
        i.indrelid::regclass, i.indexrelid::regclass, c.conname),
    CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
        ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', i.indrelid::regclass, c.conname, pg_get_constraintdef(c.oid))
    END
FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
WHERE i.indrelid IN ('customer'::regclass, 'subscription'::regclass, 'invoice'::regclass, 'transaction'::regclass)
    AND NOT i.indisprimary
"""


def guid(prefix: str, number: int) -> str:
    """The guid of the ``number``-th generated record of a kind."""
    return f"{prefix}1" + f"{number:021}".translate(str.maketrans("0123456789", "123456789A"))


def load_settings(url: str, **options: Any) -> Settings:
    """Settings as in production.ini, over a database, with a processor that says yes."""
    return Settings.load(
        {
            "sqlalchemy.url": url,
            "billy.secret_keys": SECRET_KEY,
            "billy.processor_factory": "benchmarks.processor.Yes",
            "api.json.pretty_print": "false",
            "billy.log.format": "json",
            **options,
        }
    )


@dataclass(frozen=True, slots=True)
class Billy:
    """What a run takes, over one database."""

    settings: Settings
    sessions: sessionmaker[Session]
    submitter: Submitter

    @classmethod
    def over(cls, url: str, **options: Any) -> Billy:
        """Ready to run, with an open connection; it logs what went wrong, and that to stderr."""
        settings = load_settings(url, **{"billy.log.level": "WARNING", **options})
        set_up_logging(settings)
        engine = make_engine(settings)
        engine.connect().close()
        submitter = Submitter(settings, Processors(settings.make_processor_factory(), Vault(settings.secret_keys)))
        return cls(settings, make_sessions(engine), submitter)

    def close(self) -> None:
        """Leave the database."""
        self.sessions.kw["bind"].dispose()


class Population:
    """Fills one database. Every method adds rows of one company and commits; ``close`` vacuums and analyzes."""

    def __init__(self, url: str, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)
        self._connection: psycopg2.extensions.connection = connect(url)
        self._cursor = self._connection.cursor()
        self._run(_GUID)
        billy = Billy.over(url)
        with billy.sessions.begin() as session:
            vault = Vault(billy.settings.secret_keys)
            company, self.api_key = Company.register(session, vault, self.now, processor_key="a-key")
        billy.close()
        self.company = company.guid

    def customers(self, number: int) -> None:
        """Customers whom the processor knows."""
        self._run(
            """
            INSERT INTO customer (company_guid, guid, processor_uri, deleted, created_at, updated_at)
            SELECT %(company)s, pg_temp.guid('CU', i), '/customers/' || i, false, %(now)s, %(now)s
            FROM generate_series(1, %(number)s) AS i
            """,
            number=number,
        )

    def plans(self, number: int) -> None:
        """Monthly plans of 10.00."""
        self._run(
            """
            INSERT INTO plan
                (company_guid, guid, plan_type, frequency, interval, amount, name, deleted, created_at, updated_at)
            SELECT %(company)s, pg_temp.guid('PL', i), 'debit', 'monthly', 1, 1000, 'Plan ' || i, false,
                %(now)s, %(now)s
            FROM generate_series(1, %(number)s) AS i
            """,
            number=number,
        )

    def subscriptions(self, numbers: range, *, plans: range, next_invoice_at: datetime, cards: int = 1) -> None:
        """Subscriptions, one of each customer of these numbers, to these plans in turns; each ``cards``-th has a card.

        All of them are a month old. The first is due at ``next_invoice_at``, the others a millisecond after
        one another.
        """
        self._run(
            """
            INSERT INTO subscription
                (company_guid, guid, customer_guid, plan_guid, funding_instrument_uri, appears_on_statement_as,
                 started_at, next_invoice_at, invoice_count, created_at, updated_at)
            SELECT %(company)s, pg_temp.guid('SU', i), pg_temp.guid('CU', i),
                pg_temp.guid('PL', %(first_plan)s + i %% %(plans)s),
                CASE WHEN i %% %(cards)s = 0 THEN '/cards/ok' END, 'BILLY',
                at - interval '1 month', at, 1, %(now)s, %(now)s
            FROM generate_series(%(first)s, %(last)s) AS i,
                LATERAL (SELECT %(next_invoice_at)s + i * interval '1 ms') AS due (at)
            """,
            first=numbers[0],
            last=numbers[-1],
            first_plan=plans[0],
            plans=len(plans),
            next_invoice_at=next_invoice_at,
            cards=cards,
        )

    def invoices(self, numbers: range, *, month: int = 0, after: int = 0, is_open: bool = False) -> None:
        """The invoice of a month of each of these subscriptions, with its debit: paid, or staged and due.

        They are numbered as their subscriptions, but ``after`` that many others.
        """
        self._run(
            """
            INSERT INTO invoice
                (company_guid, guid, invoice_type, customer_guid, subscription_guid, plan_guid, scheduled_at,
                 transaction_type, status, amount, total_adjustment_amount, overpaid, appears_on_statement_as,
                 funding_instrument_uri, items, adjustments, created_at, updated_at)
            SELECT %(company)s, pg_temp.guid('IV', %(after)s + i), 'subscription', customer_guid, guid, plan_guid,
                started_at + %(month)s * interval '1 month', 'debit',
                CASE WHEN %(is_open)s THEN 'processing' ELSE 'settled' END,
                1000, 0, false, 'BILLY', '/cards/ok', '[]', '[]', %(now)s, %(now)s
            FROM generate_series(%(first)s, %(last)s) AS i
            JOIN subscription ON company_guid = %(company)s AND guid = pg_temp.guid('SU', i);

            INSERT INTO transaction
                (company_guid, guid, invoice_guid, customer_guid, subscription_guid, plan_guid, transaction_type,
                 amount, submit_status, status, funding_instrument_uri, processor_uri, appears_on_statement_as,
                 failure_count, created_at, updated_at, submission_key, attempt, in_doubt, last_send_at,
                 next_attempt_at, refusal_count)
            SELECT %(company)s, pg_temp.guid('TX', %(after)s + i), guid, customer_guid, subscription_guid, plan_guid,
                'debit', amount, CASE WHEN %(is_open)s THEN 'staged' ELSE 'done' END,
                CASE WHEN NOT %(is_open)s THEN 'succeeded' END, '/cards/ok',
                CASE WHEN NOT %(is_open)s THEN '/debits/' || i END, 'BILLY', 0, %(now)s, %(now)s,
                subscription_guid || '/' || to_char(scheduled_at, 'YYYYMMDD"T"HH24MISS.USZ') || '/1-1',
                CASE WHEN %(is_open)s THEN 0 ELSE 1 END, false, CASE WHEN NOT %(is_open)s THEN %(now)s END,
                %(now)s, 0
            FROM generate_series(%(first)s, %(last)s) AS i
            JOIN invoice ON company_guid = %(company)s AND guid = pg_temp.guid('IV', %(after)s + i)
            """,
            first=numbers[0],
            last=numbers[-1],
            month=month,
            after=after,
            is_open=is_open,
        )

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """For many rows: check no references, and build the indexes at the end of the block."""
        self._cursor.execute(_INDEXES)
        indexes = self._cursor.fetchall()
        self._run("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'")
        for drop, _ in indexes:
            self._run(drop)
        yield
        for _, create in indexes:
            self._run(create)
        self._run("SET session_replication_role = origin")

    def close(self) -> None:
        """Vacuum and analyze what was added."""
        self._connection.autocommit = True
        self._cursor.execute("VACUUM (ANALYZE)")
        self._connection.close()

    def _run(self, statement: str, **parameters: Any) -> None:
        self._cursor.execute(statement, {"company": getattr(self, "company", None), "now": self.now, **parameters})
        self._connection.commit()


def due_subscriptions(url: str, number: int, *, cards: int = 1) -> datetime:
    """A database with ``number`` subscriptions whose second month is due; returns the time of the run."""
    population = a_month_ago(url, number, next_invoice_at=datetime.now(UTC) - timedelta(days=2), cards=cards)
    population.close()
    return population.now


def open_charges(url: str, number: int) -> datetime:
    """The same a moment later: the second month is filed, and its charges are due."""
    population = a_month_ago(url, number)
    population.invoices(range(1, number + 1), month=1, after=number, is_open=True)
    population.close()
    return population.now


def a_month_ago(url: str, number: int, *, next_invoice_at: datetime | None = None, cards: int = 1) -> Population:
    """``number`` subscriptions of as many customers, each with a paid invoice of a month ago."""
    # Tables that were empty when they were analyzed would make PostgreSQL check references by sequential scans.
    population = Population(url)
    population.customers(number)
    population.plans(10)
    next_invoice_at = next_invoice_at or population.now + timedelta(days=28)
    population.subscriptions(range(1, number + 1), plans=range(1, 11), next_invoice_at=next_invoice_at, cards=cards)
    population.invoices(range(1, number + 1))
    return population
