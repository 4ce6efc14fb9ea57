"""When a submission is tried again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from billy.models.retry import RetryPolicy

NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = RetryPolicy(3, after_refusal=(HOUR, 6 * HOUR, 24 * HOUR), after_silence=(HOUR / 60, HOUR / 12))


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


@pytest.mark.parametrize(("refusals", "spent"), [(1, False), (2, False), (3, False), (4, True), (5, True)])
def test_a_maximum_of_three_retries_means_four_attempts(refusals: int, spent: bool) -> None:
    assert POLICY.is_spent(refusals) is spent


def test_a_maximum_of_no_retries_means_one_attempt() -> None:
    assert RetryPolicy(0, (HOUR,), (HOUR,)).is_spent(1)


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize(("refusals", "hours"), [(1, 1), (2, 6), (3, 24), (4, 24), (1000, 24)])
def test_pauses_after_refusals_follow_the_schedule_and_the_last_repeats(refusals: int, hours: int) -> None:
    assert POLICY.next_after_refusal(NOW, refusals) == NOW + hours * HOUR


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize(("silences", "minutes"), [(1, 1), (2, 5), (3, 5), (1000, 5)])
def test_pauses_after_silences_have_a_schedule_of_their_own(silences: int, minutes: int) -> None:
    assert POLICY.next_after_silence(NOW, silences) == NOW + timedelta(minutes=minutes)


def test_pauses_are_spread_by_a_tenth_to_both_sides_and_no_further() -> None:
    pauses = [POLICY.next_after_refusal(NOW, 1) - NOW for _ in range(2000)]

    assert 0.9 * HOUR <= min(pauses) < 0.92 * HOUR
    assert 1.08 * HOUR < max(pauses) <= 1.1 * HOUR


def test_the_processors_own_pause_is_kept_where_it_is_longer() -> None:
    assert POLICY.next_after_silence(NOW, 1, retry_after=7200) == NOW + 2 * HOUR


@pytest.mark.usefixtures("no_jitter")
def test_the_processors_own_pause_does_not_shorten_the_schedule() -> None:
    assert POLICY.next_after_silence(NOW, 2, retry_after=0.5) == NOW + timedelta(minutes=5)
