"""The site as it is built: nothing is missing, nothing is fetched from elsewhere, every name of code is right."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def defined(path: str, name: str) -> bool:
    """Whether a file of ours has a function, class, method or constant of this dotted name."""
    body: list[ast.stmt] = ast.parse((CHECKOUT / path).read_text()).body
    for part in name.split("."):
        found = [node for node in body if part in names(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_what_the_pages_name_is_there(path: str, name: str) -> None:
    assert (CHECKOUT / path).is_file()
    assert not name or defined(path, name)


@pytest.mark.parametrize("name", ["Submitter.vanished", "vanished", "Submitter.perform.vanished"])
def test_a_name_that_is_not_there_is_seen(name: str) -> None:
    assert defined("billy/submission.py", "Submitter.perform")
    assert not defined("billy/submission.py", name)
