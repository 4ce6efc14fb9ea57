"""The commands, run in this process with an ini of the test's own."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from billy.scripts import main

Billy = Callable[..., Result]


@pytest.fixture
def ini_file(ini: dict[str, str], tmp_path: Path) -> Path:
    """The options ``ini`` in a file."""
    return write_ini(tmp_path / "test.ini", ini)


@pytest.fixture
def billy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Billy]:
    """Runs ``billy`` with arguments and standard input; the result has ``exit_code``, ``stdout`` and ``stderr``.

    What is not told in a line but raised is raised here too.
    """
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, input: str | None = None) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input, prog_name="billy")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield run
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def write_ini(path: Path, options: dict[str, str]) -> Path:
    """An ini with these options for the app."""
    lines = [f"{name} = {re.sub('%(?![(])', '%%', value)}" for name, value in options.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:billy", *lines, ""]))
    return path
