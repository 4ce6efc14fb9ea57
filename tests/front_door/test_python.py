"""The README's lines of Python, and those of docs/client.md, run while ``billy serve development.ini`` runs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from billy.client import errors, transport

from .conftest import ROOT, Start

DOCS = ROOT / "docs" / "client.md"


def blocks(path: Path) -> list[str]:
    """The Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS], ids=lambda path: path.name)
def test_the_lines_of_python_print_what_they_promise(
    path: Path, start: Start, development_ini: Path, port: int
) -> None:
    lines = "".join(blocks(path))
    assert "refund" in lines
    assert "http://127.0.0.1:6543" in lines
    promised = [line.removeprefix("# ") for line in lines.splitlines() if line.startswith("# ")]
    assert promised
    start("billy.scripts", "serve", development_ini).wait_for("curl ")

    code = lines.replace("127.0.0.1:6543", f"127.0.0.1:{port}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == promised


def test_it_takes_five_lines_from_registering_to_a_refund() -> None:
    for path in (ROOT / "README.md", DOCS):
        first = blocks(path)[0]
        told = [line for line in first.splitlines() if line and not line.startswith(("#", "from "))]
        assert len(told) == 5
        assert "register" in told[0]
        assert "refund" in told[-1]
        assert all(len(line) <= 120 for line in told)


def test_the_tree_of_errors_in_the_docs_is_the_codes() -> None:
    tree = inspect.getdoc(errors).split("::\n\n")[1].split("\n\n")[0]  # type: ignore[union-attr]  # it has one
    assert "└── InternalServerError" in tree
    assert inspect.cleandoc(tree) in DOCS.read_text()


def test_every_class_of_error_is_in_the_tree() -> None:
    tree = errors.__doc__ or ""
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 20
    for name in kinds:
        assert re.search(rf"(── |    ){name}\b", tree), f"{name} is not in the tree"


def test_the_options_in_the_docs_are_the_codes() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\S+) \|", DOCS.read_text(), re.MULTILINE)
    parameters = inspect.signature(transport.Transport).parameters.values()
    assert told == [(each.name, str(each.default)) for each in parameters if each.kind is each.KEYWORD_ONLY]
    assert [name for name, _ in told] == list(transport.Options.__annotations__)
