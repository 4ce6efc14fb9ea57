"""A plan is immutable but for its deletion."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from billy.errors import InvalidOperationError
from billy.models import Plan


@pytest.fixture
def plan(now: datetime) -> Plan:
    return Plan(guid="PL1", deleted=False, created_at=now, updated_at=now)


def test_a_plan_can_be_deleted_and_d23_that_moves_updated_at(plan: Plan, now: datetime) -> None:
    plan.delete(now + timedelta(hours=1))

    assert plan.deleted
    assert plan.updated_at == now + timedelta(hours=1)


def test_a_plan_is_deleted_once(plan: Plan, now: datetime) -> None:
    plan.delete(now)

    with pytest.raises(InvalidOperationError, match=r"^Plan PL1 was already deleted$"):
        plan.delete(now + timedelta(hours=1))

    assert plan.updated_at == now
