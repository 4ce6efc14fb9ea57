"""What an operator does, done as ``docs/operations.md`` prints it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.databases import program

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
EXAMPLES = ROOT / "docs" / "examples"

Operator = Callable[..., subprocess.CompletedProcess[str]]

_BLOCK = re.compile(r"^<!-- rehearsed: ([a-z-]+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented() -> dict[str, str]:
    """The shell blocks that the page says are rehearsed, by name."""
    return dict(_BLOCK.findall(OPERATIONS.read_text()))


def libpq_url(url: str) -> str:
    """The URL of a database as PostgreSQL's own programs, and production.ini, take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """Runs one of the documented blocks in bash, in a directory where ``billy`` is installed and the examples are.

    Every command of it must succeed.
    """
    directory = tmp_path / "operator"
    (directory / "bin").mkdir(parents=True)
    shim = directory / "bin" / "billy"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m billy.scripts "$@"\n')
    shim.chmod(0o755)
    (directory / "docs").symlink_to(ROOT / "docs")

    def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{directory / 'bin'}:{program('psql').parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{documented()[name]}"],
            cwd=directory,
            env={**os.environ, "PATH": path, "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"
        return done

    run.directory = directory  # type: ignore[attr-defined]  # where its files are
    return run
