"""The README's curl lines, pasted into a shell while ``billy serve development.ini`` runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from billy.processors.sandbox import Magic

from .conftest import ROOT, Start
from .shell import paste

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# So that an answer that is not 200 ends the script.
STRICT = 'curl() { command curl --fail-with-body "$@"; }\n'


def promised(block: str) -> list[str]:
    """What the lines of a block print, by its own comments."""
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("#")]


def commands(block: str) -> str:
    """The lines of a block, without what they print."""
    return "\n".join(line for line in block.splitlines() if not line.startswith("#"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_story_works_as_printed(start: Start, development_ini: Path, port: int) -> None:
    first_line = start("billy.scripts", "serve", "development.ini").wait_for("curl ")
    assert '"api_key"' in subprocess.run(["sh", "-c", first_line], capture_output=True, text=True, check=True).stdout

    printed = paste([commands(block) for block in BLOCKS], development_ini.parent, port, before=STRICT)
    assert [lines.split("\n") if lines else [] for lines in printed] == [promised(block) for block in BLOCKS]


def test_the_story_has_every_kind_of_record() -> None:
    # An empty list of blocks would pass the test above.
    for path in ("companies", "plans", "customers", "subscriptions", "invoices", "refund", "cancel", "callbacks"):
        assert any(f"/{path}" in block for block in BLOCKS)


def test_the_instruments_that_it_lists_exist() -> None:
    names = re.findall(r"^\| `/cards/([^`]+)`", README, re.MULTILINE)

    assert len(names) >= 5
    assert {name.removeprefix("refund-") for name in names} <= {magic.value for magic in Magic}


def test_the_files_and_directories_that_it_names_exist() -> None:
    for name in re.findall(r"`([a-z_/]+\.(?:py|ini|md))`|\]\(([^)]+)\)", README):
        assert (ROOT / (name[0] or name[1]).partition("#")[0]).is_file(), name


def test_its_lifecycle_tables_are_the_codes() -> None:
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "billy.models.lifecycle"], capture_output=True, text=True, check=True
    ).stdout

    assert (ROOT / "docs" / "lifecycle.md").read_text() == printed, (
        "print it again: python -m billy.models.lifecycle > docs/lifecycle.md"
    )
