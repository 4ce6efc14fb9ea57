"""What the operator looks at is found by an index, however much was ever billed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from billy.chronicle import chronicle
from billy.db import make_sessions, one_snapshot
from billy.forecast import foretell
from billy.models import Customer, Invoice, Plan, Subscription, Transaction, find_of_any_company
from billy.overview import look
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock

GROW = {
    "audit_entry",
    "customer",
    "dispute",
    "invoice",
    "subscription",
    "transaction",
    "transaction_event",
    "transaction_failure",
}
"""Tables that grow with what is billed. (Plans and companies are few, and the diary of runs forgets.)"""

OPEN_ONLY = {"ix_subscription_active", "ix_subscription_due", "ix_transaction_open", "ix_transaction_pending"}
"""Indexes of what is open: one of them may be read whole."""

Look = Callable[[Session, Bystander, FrozenClock], Any]
LOOKS: dict[str, Look] = {
    "status": lambda session, of, clock: look(
        session, clock.now, doubt_alert=timedelta(days=1), run_within=timedelta(hours=1)
    ),
    "forecast": lambda session, of, clock: foretell(session, clock.now, 30),
    **{
        f"find {model.__name__}": lambda session, of, clock, model=model: find_of_any_company(session, model, "TX1")
        for model in (Customer, Invoice, Plan, Subscription, Transaction)
    },
    "show company": lambda session, of, clock: chronicle(session, of.company.guid),
    "show plan": lambda session, of, clock: chronicle(session, of.plan.guid),
    "show customer": lambda session, of, clock: chronicle(session, of.customer.guid),
    "show subscription": lambda session, of, clock: chronicle(session, of.subscription.guid),
    "show invoice": lambda session, of, clock: chronicle(session, of.settled.guid),
}


@contextmanager
def asked(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def scans(session: Session, statement: str, parameters: Any) -> Iterator[str]:
    """Tables and indexes that grow and that a query reads whole, if the database may choose any plan but that."""
    connection = session.connection()
    cursor = connection.connection.cursor()
    if connection.dialect.name == "sqlite":
        for *_, step in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall():
            words = step.split()
            if words[0] == "SCAN" and words[1] in GROW and not OPEN_ONLY & set(words):
                yield step
        return
    cursor.execute("SET LOCAL enable_seqscan = off")
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    nodes = [cursor.fetchone()[0][0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node and node["Relation Name"] in GROW:
            whole = "Index Cond" not in node and "Recheck Cond" not in node
            if whole and node.get("Index Name") not in OPEN_ONLY:
                yield json.dumps(node)


@pytest.mark.parametrize("name", LOOKS)
def test_no_history_is_read_whole(name: str, engine: Engine, bystander: Bystander, clock: FrozenClock) -> None:
    with make_sessions(one_snapshot(engine))() as session:
        with asked(engine) as statements:
            LOOKS[name](session, bystander, clock)
        assert statements
        found = {statement: list(scans(session, statement, parameters)) for statement, parameters in statements}
        assert {statement: whole for statement, whole in found.items() if whole} == {}


def test_a_whole_table_is_seen(engine: Engine, bystander: Bystander) -> None:
    with make_sessions(one_snapshot(engine))() as session:
        assert list(scans(session, "SELECT * FROM invoice WHERE title = 'x'", ()))
