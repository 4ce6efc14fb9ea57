"""What all commands have in common: help, settings, and how mistakes are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from billy import schema
from billy.scripts import SUBCOMMANDS, main

from .conftest import Billy, write_ini

NEEDS_NO_INI = ("balanced-simulator", "demo", "generate-secret", "settings", "stripe-simulator")


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_says_the_purpose_and_the_exit_codes(billy: Billy, name: str) -> None:
    result = billy(name, "--help")

    assert result.exit_code == 0
    assert "Exit codes" in result.stdout
    assert all(f"\n  {code}  " in result.stdout or f"\n    {code}  " in result.stdout for code in (0, 1, 2))


def test_each_purpose_is_the_first_sentence_of_the_commands_help() -> None:
    purposes = {}
    for name in SUBCOMMANDS:
        command = main.get_command(None, name)  # type: ignore[arg-type]  # the context is not looked at
        assert command is not None and command.help is not None
        purposes[name] = " ".join(command.help.split("\n\n")[0].split())
    assert purposes == SUBCOMMANDS


def test_help_does_not_wait_for_the_database_library() -> None:
    program = "import sys; from billy.scripts import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "process-transactions" in printed
    assert "sqlalchemy" not in printed.split()
    assert "pyramid" not in printed.split()


@pytest.mark.parametrize("arguments", [["{ini}"], ["-c", "{ini}"], ["--config", "{ini}"], ["--config={ini}"]])
def test_the_ini_is_an_argument_or_an_option(billy: Billy, ini_file: Path, arguments: list[str]) -> None:
    result = billy("list-companies", "--json", *[text.format(ini=ini_file) for text in arguments])

    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS.keys() - set(NEEDS_NO_INI)))
def test_without_an_ini_the_usage_is_shown(billy: Billy, name: str) -> None:
    own = {
        "recover": ["--since", "2026-01-01T00:00Z"],
        "replace-processor-key": ["CP1111111111111111111111"],
        "reset-api-key": ["CP1111111111111111111111"],
        "resolve": ["TX1111111111111111111111", "--did-not-happen"],
        "retry": ["TX1111111111111111111111"],
        "sandbox-settle": ["/debits/1"],
        "show": ["TX1111111111111111111111"],
    }
    result = billy(name, *own.get(name, []))

    assert result.exit_code == 2
    assert f"For example: billy {name} development.ini" in result.stderr


def test_two_inis_are_refused(billy: Billy, ini_file: Path) -> None:
    result = billy("list-companies", "one.ini", "-c", "two.ini")

    assert result.exit_code == 2
    assert "One ini is enough" in result.stderr


def test_a_missing_ini_is_told_in_a_line(billy: Billy, tmp_path: Path) -> None:
    result = billy("list-companies", tmp_path / "nowhere.ini")

    assert result.exit_code == 2
    assert result.stderr == f"Error: there is no file {tmp_path / 'nowhere.ini'}\n"


@pytest.mark.parametrize("content", ["no sections", "[app:other]\nuse = egg:billy", "[app:main]\na = %(nothing)s", ""])
def test_an_ini_that_cannot_be_read_is_told(billy: Billy, tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.ini"
    path.write_text(content)
    result = billy("list-companies", path)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: cannot read {path}")


def test_a_stray_percent_sign_is_told_without_the_password(billy: Billy, tmp_path: Path) -> None:
    path = tmp_path / "percent.ini"
    path.write_text("[app:main]\nuse = egg:billy\nsqlalchemy.url = postgresql://joe:50%sesame@db/billy\n")
    result = billy("list-companies", path)

    assert result.exit_code == 2
    assert "sqlalchemy.url in [app:main]" in result.stderr
    assert "sesame" not in result.stderr


def test_a_file_that_is_no_ini_is_told(billy: Billy, tmp_path: Path) -> None:
    result = billy("list-companies", tmp_path)

    assert result.exit_code == 2
    assert "is not an ini file" in result.stderr


def test_all_mistakes_in_the_settings_are_told_at_once(billy: Billy, ini: dict[str, str], tmp_path: Path) -> None:
    wrong = {
        **ini,
        "billy.transaction.lease": "soon",
        "billy.misspelled": "1",
        "billy.secret_keys": "env:NOT_SET_AT_ALL",
    }
    result = billy("list-companies", write_ini(tmp_path / "wrong.ini", wrong))

    assert result.exit_code == 2
    for told in ("billy.transaction.lease: 'soon'", "billy.misspelled:", "NOT_SET_AT_ALL is not set"):
        assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_is_away_is_told_without_its_password(
    billy: Billy, ini: dict[str, str], tmp_path: Path
) -> None:
    away = {**ini, "sqlalchemy.url": "postgresql://joe:sesame@127.0.0.1:9/billy"}
    result = billy("list-companies", write_ini(tmp_path / "away.ini", away))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the database does not answer: ")
    assert result.stderr.count("\n") == 1
    assert "sesame" not in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "martian://joe:sesame@mars/billy"])
def test_a_url_that_is_no_databases_is_told(billy: Billy, ini: dict[str, str], tmp_path: Path, url: str) -> None:
    result = billy("list-companies", write_ini(tmp_path / "wrong.ini", {**ini, "sqlalchemy.url": url}))

    assert result.exit_code == 2
    assert "sqlalchemy.url" in result.stderr
    assert "sesame" not in result.stderr


def test_a_database_without_billys_schema_is_refused(billy: Billy, ini: dict[str, str], tmp_path: Path) -> None:
    empty = {**ini, "sqlalchemy.url": f"sqlite:///{tmp_path}/empty.sqlite"}
    result = billy("list-companies", write_ini(tmp_path / "empty.ini", empty))

    assert result.exit_code == 2
    assert "run `billy init-db` first" in result.stderr


def test_a_schema_that_the_next_release_has_made_is_not_refused(billy: Billy, ini_file: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        assert billy("list-companies", ini_file).exit_code == 0
    finally:
        with engine.begin() as connection:
            head = {"head": schema.head_revision()}
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), head)


def test_an_unknown_command_is_wrong_usage(billy: Billy) -> None:
    assert billy("bill-everybody").exit_code == 2


def test_bugs_are_not_dressed_up(billy: Billy, ini_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("billy.scripts.list_companies.open_sessions", fail)

    with pytest.raises(ZeroDivisionError):
        billy("list-companies", ini_file)
