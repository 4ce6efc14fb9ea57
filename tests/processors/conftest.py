"""The adapters that the contract suite is run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processors.harness import HARNESSES, Harness


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """A fresh processor with one adapter."""
    return HARNESSES[request.param](tmp_path)
