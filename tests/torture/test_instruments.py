"""The instruments of the torture: would it notice at all?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from billy.models import Invoice
from billy.submission import Submitter
from tests.torture.conftest import SEED
from torture.acts import bill
from torture.audit import Verdict, audit
from torture.case import Case
from torture.crash_points import RUN, begin
from torture.scenes import crowd
from torture.stage import Stage, Theater
from torture.watch import Action, Doom, Point, When
from torture.world import World

pytestmark = pytest.mark.postgresql  # the theater needs the server


@pytest.fixture
def stage(theater: Theater) -> Iterator[Stage]:
    """A world with one charge that is lost, and found again by a look-up."""
    case = Case("instruments/sqlite", crowd, lambda stage: None, (1, "lost-after-charge"))
    with theater.stage(case, SEED) as stage:
        yield stage


def test_books_that_balance_have_nothing_wrong(stage):
    stage.settle()
    assert audit(stage.world) == Verdict(charges=1)


def test_a_process_is_killed_exactly_where_it_was_to_be(stage):
    point = Point("submit", When.BEFORE, 1)
    child = begin(stage, RUN, Doom(Action.KILL, point))
    assert child.wait() == -9
    assert child.points[-1] == point
    with stage.world.sandbox() as sandbox:
        assert sandbox.sends() == []


def test_a_connection_is_cut_when_the_commit_has_happened_and_before_anybody_knows(theater):
    with theater.stage(Case("instruments/postgresql", crowd, lambda stage: None, (1,)), SEED) as stage:
        child = begin(stage, RUN, Doom.at(Action.CUT, "billing_run._file.file_batch", When.AFTER))
        assert child.wait() == 0
        assert "database_stumbled" in child.output
        with stage.world.sessions() as sessions, sessions() as session:
            assert session.query(Invoice).count() == 1


@pytest.mark.parametrize(
    ("statement", "kind", "told"),
    [
        ("INSERT INTO records SELECT NULL, uri || '-2', {others} FROM records", "doubled", "charged 2 times"),
        ("INSERT INTO records SELECT NULL, uri || '-2', {others} FROM records", "lost", "not in the books"),
        ("DELETE FROM records", "lost", "does not know"),
        ("UPDATE records SET status = 'failed'", "lost", "is failed at the processor and succeeded in the books"),
    ],
)
def test_a_ledger_that_says_something_else_is_noticed(stage, statement, kind, told):
    stage.settle()
    with sqlite3.connect(stage.world.ledger_file) as ledger:
        columns = [row[1] for row in ledger.execute("PRAGMA table_info(records)")]
        ledger.execute(statement.format(others=", ".join(columns[2:])))
    ledger.close()
    [line] = getattr(audit(stage.world), kind)
    assert told in line


@pytest.mark.parametrize(
    ("statement", "kind", "told"),
    [
        ("UPDATE \"transaction\" SET submit_status = 'retrying'", "lost", "is open"),
        ("UPDATE subscription SET next_invoice_at = started_at", "lost", "was not filed"),
        ("UPDATE invoice SET status = 'failed'", "lost", "its card is good"),
        ("UPDATE invoice SET overpaid = true", "violations", "overpaid_is_shown"),
    ],
)
def test_books_that_say_something_else_are_noticed(stage, statement, kind, told):
    stage.settle()
    with sqlite3.connect(stage.world.path / "billy.sqlite") as books:
        books.execute(statement)
    books.close()
    assert any(told in line for line in getattr(audit(stage.world), kind))


def without_look_up(world: World) -> None:
    """A Billy that forgets its doubts."""
    claim = Submitter._claim
    Submitter._claim = lambda self, *found: replace(claim(self, *found), was_in_doubt=False)
    bill(world)


def test_a_billy_without_look_ups_is_noticed(stage):
    stage.do(bill)
    stage.await_lease()
    stage.do(without_look_up)
    [line] = audit(stage.world).doubled
    assert "charged 2 times" in line
