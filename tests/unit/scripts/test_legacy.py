"""The names of 2014, as a crontab calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billy import schema
from billy.scripts import legacy
from tests.support.factories import Factories

from .conftest import write_ini


@pytest.mark.parametrize("arguments", [[], ["one.ini", "two.ini"]])
def test_process_billy_tx_shows_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/process_billy_tx", *arguments])

    with pytest.raises(SystemExit) as ended:
        legacy.process_billy_tx()
    assert ended.value.code == 1
    assert capsys.readouterr().out == (
        'usage: process_billy_tx <config_uri>\n(example: "process_billy_tx development.ini")\n'
    )


@pytest.mark.parametrize("arguments", [[], ["development.ini", "alembic.ini", "more.ini"]])
def test_initialize_billy_db_shows_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["initialize_billy_db", *arguments])

    with pytest.raises(SystemExit) as ended:
        legacy.initialize_billy_db()
    assert ended.value.code == 1
    assert capsys.readouterr().out == (
        "usage: initialize_billy_db <config_uri> [alembic_uri]\n"
        '(example: "initialize_billy_db development.ini alembic.ini")\n'
    )


@pytest.mark.parametrize("more", [[], ["alembic.ini"]])
def test_initialize_billy_db_makes_the_database(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ini: dict[str, str],
    tmp_path: Path,
    more: list[str],
) -> None:
    path = write_ini(tmp_path / "old.ini", {**ini, "sqlalchemy.url": f"sqlite:///{tmp_path}/old.sqlite"})
    monkeypatch.setattr("sys.argv", ["initialize_billy_db", str(path), *more])

    with pytest.raises(SystemExit) as ended:
        legacy.initialize_billy_db()
    assert not ended.value.code
    assert f"upgraded from nothing to {schema.head_revision()}" in capsys.readouterr().out


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("name", ["process_billy_tx", "process_transactions"])
def test_the_old_cron_line_bills(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ini_file: Path, make: Factories, name: str
) -> None:
    make.subscription(make.company())
    monkeypatch.setattr("sys.argv", [name, str(ini_file)])
    monkeypatch.setattr("billy.scripts.process_transactions.check_clock", lambda sessions, now: None)  # it stands still

    with pytest.raises(SystemExit) as ended:
        legacy.process_billy_tx()
    assert not ended.value.code
    summary = json.loads(capsys.readouterr().out)
    assert (summary["filed"], summary["succeeded"]) == (1, 1)
