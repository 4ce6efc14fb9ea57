"""The fixtures that other tests trust."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from billy import clock as billy_clock
from billy.models import Base
from tests.support import databases
from tests.support.bystander import Bystander, make_bystander, snapshot, unmoved
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

TABLES = Base.metadata.tables
WATCHED = ["api_key", "company", "customer", "invoice", "plan", "subscription", "transaction"]


def test_a_bystander_has_a_row_in_every_table_that_a_careless_statement_could_reach(
    engine: Engine, bystander: Bystander
) -> None:
    rows = snapshot(engine, bystander)
    assert sorted(table for table in rows if rows[table]) == WATCHED
    assert {row["status"] for row in rows["invoice"]} == {"staged", "processing", "settled"}
    assert {row["submit_status"] for row in rows["transaction"]} == {"staged", "done"}


@pytest.mark.parametrize("table", WATCHED)
def test_a_bystanders_row_that_moves_is_seen(make: Factories, engine: Engine, table: str) -> None:
    bystander = make_bystander(make)
    with pytest.raises(AssertionError, match="had no part in this"), unmoved(engine, bystander):
        with engine.begin() as connection:
            connection.execute(TABLES[table].update().values(created_at=datetime(2001, 1, 1, tzinfo=UTC)))


def test_a_company_of_the_tests_own_may_change(
    bystander: Bystander, make: Factories, sessions: sessionmaker[Session]
) -> None:
    plan = make.plan(make.company())
    with sessions.begin() as session:
        session.merge(plan).amount = 7


@pytest.mark.postgresql
def test_the_next_test_finds_the_database_empty(make: Factories, engine: Engine) -> None:
    make_bystander(make)
    make.filed(make.subscription(make.company()))
    databases.empty(engine)
    with engine.connect() as connection:
        counts = {name: connection.scalar(select(func.count()).select_from(table)) for name, table in TABLES.items()}
    assert set(counts.values()) == {0}


@pytest.mark.postgresql
def test_the_schema_survives_the_emptying(engine: Engine) -> None:
    databases.empty(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_the_clock_stands_still_until_it_is_moved(clock: FrozenClock) -> None:
    before = billy_clock.utc_now()
    assert billy_clock.utc_now() == before
    assert clock.move(months=1, hours=2) == billy_clock.utc_now() == before.replace(month=before.month + 1, hour=14)

