"""The site as it is built: nothing is missing, nothing is fetched from elsewhere, every name of code is right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from code_links import line_of
from tests.docs.pages import CHECKOUT, DOCS, pages

# `billy/submission.py:Submitter.perform`, or the file alone
NAME = re.compile(r"`((?:alembic|benchmarks|billy|docs|fuzz|tests|torture)/[\w./]+\.(?:py|ini|md|json))(?::([\w.]+))?`")
NAMES = sorted({name for text in pages().values() for name in NAME.findall(text)})


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "sphinx", "--nitpicky", "--fail-on-warning", "--quiet"]
    done = subprocess.run([*command, str(DOCS), str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


def test_every_page_is_in_it(site: Path) -> None:
    written = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")} >= written
    assert 'id="create-plan"' in (site / "reference" / "plans.html").read_text()


def test_a_reader_needs_no_other_server(site: Path) -> None:
    fetched = re.compile(r"<(?:link|script|img|iframe)\b[^>]*(?:href|src)=\"(?:https?:)?//[^\"]+\"")
    for page in site.rglob("*.html"):
        assert fetched.findall(page.read_text()) == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\s]+", style.read_text()) == [], style


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_what_the_pages_name_is_there(path: str, name: str) -> None:
    assert (CHECKOUT / path).is_file()
    assert not path.endswith(".py") or line_of(path, name)


@pytest.mark.parametrize("name", ["Submitter.vanished", "vanished", "Submitter.perform.vanished"])
def test_a_name_that_is_not_there_is_seen(name: str) -> None:
    assert line_of("billy/submission.py", "Submitter.perform")
    assert not line_of("billy/submission.py", name)


def test_a_name_leads_to_its_line(site: Path) -> None:
    line = line_of("billy/statements.py", "claim_due")
    link = f'href="code/billy/statements.py.html#line-{line}"'
    assert link in (site / "architecture.html").read_text()
    shown = (site / "code" / "billy" / "statements.py.html").read_text()
    _, _, after = shown.partition(f'id="line-{line}"')
    assert "claim_due" in after.partition(f'id="line-{(line or 0) + 1}"')[0]
