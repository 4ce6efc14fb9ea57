"""The adapters that the contract suite is run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processors.harness import HARNESSES, Harness


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """A fresh processor with one adapter."""
    harness = HARNESSES[request.param](tmp_path)
    yield harness
    harness.close()
