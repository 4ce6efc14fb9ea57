"""The adapters that the contract suite is run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processors.bank_transfer import BankTransferHarness
from tests.processors.harness import HARNESSES, Harness

ALL: dict[str, Callable[[Path], Harness]] = {**HARNESSES, "example from outside": BankTransferHarness}


@pytest.fixture(params=ALL)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """A fresh processor with one adapter."""
    harness = ALL[request.param](tmp_path)
    yield harness
    harness.close()
