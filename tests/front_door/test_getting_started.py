"""The page *Getting started*: its blocks are pasted into a shell, and print what the page says they print.

After a change of the API, ``BILLY_RECORD_EXAMPLES=1`` writes what they print now into the page: read what changed
before it is committed.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from billy.guid import PATTERN

from .conftest import ROOT, Start
from .shell import paste

PAGE = ROOT / "docs" / "getting_started.md"

# A block of commands, and what it prints.
_STEP = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n```\w+\n(?P<answer>.*?)\n```\n)?", re.MULTILINE | re.DOTALL)

_NAMES = re.compile(
    rf"\b{PATTERN}\b"
    r"|(?<=_key\": \")[^\"]+"
    r"|(?<=\"version\": \")[^\"]+"
    r"|(?<=\"request_id\": \")[^\"]+"
    r"|(?<=\d:)\d+\.\d+(?=\+00:00)"  # seconds
    r"|(?<=\")/(?:customers|debits|refunds)/[^\"]+"
)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def with_answers(page: str, answers: list[str]) -> str:
    """The page as it would be with these answers."""
    left = iter(answers)

    def answered(step: re.Match[str]) -> str:
        answer = next(left)
        language = "json" if answer.startswith("{") else "text"
        block = f"\n```{language}\n{answer}\n```\n" if answer else ""
        return f"```sh\n{step['commands']}```\n{block}"

    return _STEP.sub(answered, page)


def comparable(page: str) -> str:
    """Without what is another each time: the n-th name is the same as the n-th."""
    numbers: dict[str, int] = {}
    page = _NAMES.sub(lambda name: f"name {numbers.setdefault(name[0], len(numbers))}", page)
    return _DATE.sub(lambda date: date[0] if date[0].startswith("2035") else "then", page)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_its_blocks_print_what_it_says(start: Start, development_ini: Path, port: int) -> None:
    start("billy.scripts", "serve", "development.ini", "--every", "2s").wait_for("curl ")
    page = PAGE.read_text()

    steps = [step["commands"] for step in _STEP.finditer(page)]
    as_it_is_now = with_answers(page, paste(steps, development_ini.parent, port))

    if os.environ.get("BILLY_RECORD_EXAMPLES") and comparable(page) != comparable(as_it_is_now):
        PAGE.write_text(as_it_is_now)
    assert comparable(PAGE.read_text()) == comparable(as_it_is_now)


def test_it_shows_answers_and_every_kind_of_record() -> None:
    page = PAGE.read_text()
    for path in ("companies", "plans", "customers", "subscriptions", "invoices", "transactions", "refund", "cancel"):
        assert any(f"/{path}" in step["commands"] for step in _STEP.finditer(page))
    assert sum(step["answer"] is not None for step in _STEP.finditer(page)) > 15


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"status": "settled"', '"status": "failed"'),
        ('"guid": "CU1CX98HRXHub72hpsGTdFeJ"', '"guid": null'),
        (
            '"a": "CU1CX98HRXHub72hpsGTdFeJ", "b": "CU1CX98HRXHub72hpsGTdFeJ"',
            '"a": "CU1CX98HRXHub72hpsGTdFeJ", "b": "CU1CX98HRXHub72hpsGTdFeK"',
        ),
        ('"started_at": "2035-01-31T00:00', '"started_at": "2035-02-28T00:00'),
    ],
)
def test_a_difference_that_matters_is_seen(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)
