from __future__ import annotations

from pathlib import Path

import pytest

from billy.processors.sandbox import SandboxOptions
from billy.settings import Settings

from .conftest import Billy

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {field.alias: field for field in Settings.model_fields.values() if field.alias}


def test_every_option_is_printed_with_its_meaning(billy: Billy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    printed = billy("settings").stdout

    for name, field in OPTIONS.items():
        [line] = [line for line in printed.splitlines() if f" {name} " in line]
        assert field.description and field.description in line


def test_nothing_is_cut_off_in_a_narrow_terminal(billy: Billy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert "…" not in billy("settings").stdout


def test_defaults_are_printed_as_one_would_write_them(billy: Billy) -> None:
    rows = [[cell.strip() for cell in line.split("│")] for line in billy("settings").stdout.splitlines()]
    defaults = {row[1]: row[2] for row in rows if len(row) > 3}

    assert defaults["sqlalchemy.url"] == "required"
    assert defaults["billy.transaction.lease"] == "2m"
    assert defaults["billy.transaction.retry_schedule"] == "1h 6h 1d 2d 3d"
    assert defaults["billy.transaction.maximum_retry"] == "10"
    assert defaults["billy.company.display_callback_key"] == "false"
    assert defaults["billy.revision"] == ""


def test_with_an_ini_the_processors_options_are_printed_too(billy: Billy, ini_file: Path) -> None:
    printed = billy("settings", ini_file).stdout

    for name in SandboxOptions.model_fields:
        assert f" billy.sandbox.{name} " in printed


def test_no_value_of_the_ini_is_printed(billy: Billy, ini_file: Path, ini: dict[str, str]) -> None:
    assert ini["billy.secret_keys"] not in billy("settings", ini_file).output


def test_the_options_of_an_ini_that_is_not_complete_can_be_read(billy: Billy) -> None:
    # Neither BILLY_DATABASE_URL nor BILLY_SECRET_KEYS is set.
    result = billy("settings", ROOT / "production.ini")

    assert result.exit_code == 0
    assert "billy.sandbox.ledger" in result.stdout
