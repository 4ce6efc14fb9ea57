from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from billy.models import AuditEntry, Recovery, Transaction
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

SINCE = "2026-01-15T03:00+01:00"


@pytest.fixture(autouse=True)
def today(clock: FrozenClock) -> None:
    """The command compares this host's clock with the database's."""
    clock.now = datetime.now(UTC)


@pytest.fixture
def books(make: Factories) -> None:
    """An open charge, a closed one, and a subscription that is due."""
    company = make.company()
    make.invoice(company, funding_instrument_uri="/cards/ok")
    make.paid_invoice(company)
    make.subscription(company)


def test_it_says_what_it_marked(billy: Billy, ini_file: Path, session: Session, books: None) -> None:
    result = billy("recover", ini_file, "--since", SINCE)

    assert result.exit_code == 0
    assert result.stdout == (
        "now in doubt, of 1 companies: 1 charges and 0 refunds; and the charges of 1 subscriptions, when they are "
        "filed\n"
    )
    assert sorted(session.scalars(select(Transaction.in_doubt))) == [False, True]
    [recovery] = session.scalars(select(Recovery))
    assert recovery.since == datetime(2026, 1, 15, 2, tzinfo=UTC)
    assert "@" in recovery.actor
    [entry] = session.scalars(select(AuditEntry))
    assert (entry.action, entry.actor) == ("recover", recovery.actor)


def test_json_has_the_counts(billy: Billy, ini_file: Path, books: None) -> None:
    result = billy("recover", ini_file, "--since", SINCE, "--json")

    assert json.loads(result.stdout) == {"charges": 1, "refunds": 0, "subscriptions": 1, "companies": 1}


def test_a_dry_run_marks_nothing(billy: Billy, ini_file: Path, session: Session, books: None) -> None:
    result = billy("recover", ini_file, "--since", SINCE, "--dry-run")

    assert (result.exit_code, result.stdout[:28]) == (0, "would be in doubt, of 1 comp")
    assert not any(session.scalars(select(Transaction.in_doubt)))
    assert session.scalars(select(Recovery)).all() == []


@pytest.mark.parametrize(
    ("since", "told"),
    [
        ("2026-01-15T03:00", "does not say in which zone"),
        ("yesterday", "is not an ISO 8601 date and time"),
        ("2999-01-01T00:00Z", "has not come yet"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(
    billy: Billy, ini_file: Path, session: Session, books: None, since: str, told: str
) -> None:
    result = billy("recover", ini_file, "--since", since)

    assert result.exit_code in (1, 2)
    assert told in result.stderr
    assert not any(session.scalars(select(Transaction.in_doubt)))
