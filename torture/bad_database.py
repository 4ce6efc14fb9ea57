"""A database that restarts, cuts connections, locks rows, runs into deadlocks or out of disk."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psycopg2
from sqlalchemy import make_url

from torture.acts import REQUESTS, bill
from torture.case import FRAGILE, Case
from torture.crash_points import Points, accidents_at, begin, go_over_it
from torture.processes import PATIENCE, Child
from torture.scenes import crowd, shop
from torture.shoppers import order
from torture.stage import Stage
from torture.watch import Action, Doom

SECONDS = 4.0
"""How long the database is ill."""

OPTIONS = {"billy.sandbox.latency": "0.02", "billy.run.batch_size": "5"}

TABLES = ("customer", "subscription", "invoice", '"transaction"')

# A sequence keeps count also of what is rolled back.
FAULTS = """
CREATE SEQUENCE faults;
CREATE TABLE illness (lasts boolean);
INSERT INTO illness VALUES (true);
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < TG_ARGV[0]::float AND (SELECT lasts FROM illness) THEN
        PERFORM nextval('faults');
        RAISE EXCEPTION 'injected' USING ERRCODE = (ARRAY['40001', '40P01', '53100', '55P03'])[1 + floor(random() * 4)];
    END IF;
    RETURN NULL;
END $$;
"""


def cases() -> Iterator[Case]:
    """One for each kind of illness."""
    for database, name, illness in (
        (FRAGILE, "restarts", _restarts),
        ("postgresql", "connections-cut", _connections_cut),
        ("postgresql", "rows-locked", _rows_locked),
        ("postgresql", "serialization-deadlock-full-disk", _errors_raised),
    ):
        yield Case(f"database/{database}/{name}", crowd, partial(_ill, illness), (40,), OPTIONS)


def cut_commits(points: Points) -> Iterator[Case]:
    """The connection is lost in each commit: before it, or when it has happened and nobody was told."""
    for kind, name, accidents in accidents_at(points, Action.CUT, "postgresql", commits_only=True):
        yield Case(f"database/postgresql/cut/{kind}/{name}", shop, partial(_cut, accidents))


def _cut(accidents: Mapping[str, Doom], stage: Stage) -> None:
    children = []
    for act, doom in accidents.items():
        # Sent again by the server itself, after a commit that it did not hear of, it may find itself done.
        statuses = {200, 503} | (REQUESTS[act].again if act in REQUESTS else set())
        children.append(begin(stage, act, doom, tuple(statuses)))
    for child in children:
        _end_clearly(child)
        stage.tally.faults += child.has_met_its_doom
    go_over_it(stage, *accidents)


def _ill(illness: Callable[[Stage, Any], Iterator[None]], stage: Stage) -> None:
    """Runs and requests go on while the database is ill; afterwards everything was done once."""
    with _surgeon(stage) as cursor:
        fall_ill = illness(stage, cursor)
        next(fall_ill)
        daemons = [stage.start(bill, "--every", "0.2", "--concurrency", "4") for _ in range(2)]
        shopper = stage.start(order, SECONDS + 2, stage.rng.random())
        for daemon in daemons:
            daemon.await_points()
        single = stage.start(bill)
        for _ in fall_ill:
            pass
    _end_clearly(single)
    code = shopper.wait()
    assert code == 0, f"the API did not answer as it should:\n{shopper.output}"
    for daemon in daemons:
        assert daemon.is_alive, f"a daemon did not outlive its database:\n{daemon.output}"
        daemon.signal(signal.SIGTERM)
        _end_clearly(daemon)
    stage.await_lease()
    stage.settle()
    stage.audit()


def _end_clearly(child: Child) -> None:
    code = child.wait(seconds=PATIENCE)
    output = child.output
    assert code in (0, 1), f"it exited {code}:\n{output}"
    assert "Traceback" not in output, f"this is no clear line:\n{output}"
    assert code == 0 or "Error: " in output or "run_stopped" in output, f"it exited 1 and did not say why:\n{output}"


# -- illnesses: what is before the first yield is done before anybody connects ----------------------------


def _restarts(stage: Stage, cursor: Any) -> Iterator[None]:
    yield
    for _ in _for_a_while(stage, 0.5):
        stage.theater.server(FRAGILE).restart("immediate")
        stage.tally.faults += 1


def _connections_cut(stage: Stage, cursor: Any) -> Iterator[None]:
    yield
    for _ in _for_a_while(stage, 0.15):
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        stage.tally.faults += cursor.fetchone()[0]


def _rows_locked(stage: Stage, cursor: Any) -> Iterator[None]:
    cursor.execute(f"ALTER DATABASE {stage.world.path.name} SET lock_timeout = '100ms'")
    yield
    for _ in _for_a_while(stage, 0.1):
        cursor.execute("BEGIN")
        table = stage.rng.choice(TABLES)
        cursor.execute(f"SELECT 1 FROM {table} ORDER BY random() LIMIT 20 FOR UPDATE SKIP LOCKED")  # noqa: S608
        time.sleep(0.3)
        cursor.execute("COMMIT")
        stage.tally.faults += 1


def _errors_raised(stage: Stage, cursor: Any) -> Iterator[None]:
    cursor.execute(FAULTS)
    for table in TABLES:
        event = f"INSERT OR UPDATE ON {table}"
        cursor.execute(f"CREATE TRIGGER fault BEFORE {event} FOR EACH STATEMENT EXECUTE FUNCTION fault(0.1)")
        # This one waits for the commit.
        cursor.execute(
            f"CREATE CONSTRAINT TRIGGER late_fault AFTER {event} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION fault(0.03)"
        )
    yield
    time.sleep(SECONDS)
    cursor.execute("UPDATE illness SET lasts = false")
    cursor.execute("SELECT last_value FROM faults")
    stage.tally.faults += cursor.fetchone()[0]


def _for_a_while(stage: Stage, pause: float) -> Iterator[None]:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(stage.rng.uniform(0, 2 * pause))
        yield


@contextmanager
def _surgeon(stage: Stage) -> Iterator[Any]:
    """A cursor of our own on the world's database, outside of transactions."""
    url = make_url(stage.world.options["sqlalchemy.url"]).set(drivername="postgresql")
    with closing(psycopg2.connect(url.render_as_string(hide_password=False))) as connection:
        connection.autocommit = True
        yield connection.cursor()
