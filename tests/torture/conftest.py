"""Where the short torture is played: like the long one, with the tests' own server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.databases import PostgresServer
from torture.case import Case, Tally
from torture.stage import Theater, play

SEED = 1

AT_ONCE = 6

Survives = Callable[[Iterable[Case]], Tally]


@pytest.fixture(scope="session")
def theater(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theater]:
    """Makes the worlds."""
    theater = Theater(tmp_path_factory.mktemp("torture"), postgresql=postgres)
    yield theater
    theater.close()


@pytest.fixture
def survives(theater: Theater) -> Survives:
    """Plays cases, and fails unless nothing was lost, doubled or violated in any."""

    def survives(cases: Iterable[Case]) -> Tally:
        chosen, total = list(cases), Tally()
        assert chosen, "there is nothing to try"
        with ThreadPoolExecutor(AT_ONCE) as pool:
            played = pool.map(lambda case: play(theater, case, SEED), chosen)
            for case, (tally, wrong) in zip(chosen, played, strict=True):
                assert wrong is None, f"{case.name}\n{wrong}"
                total.add(tally)
        assert total.is_clean
        assert total.charges > 0
        return total

    return survives
