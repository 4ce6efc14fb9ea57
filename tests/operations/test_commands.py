"""Every `billy …` that a page shows is one that `billy` takes; every log event that it names is logged."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator

import click
import pytest

from billy.scripts import SUBCOMMANDS, main

from .conftest import OPERATIONS, ROOT, Operator, documented

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:^|[\s/(=])billy +(?P<arguments>(?:--?[a-z]|[a-z][a-z-]+(?=\s|$|[)])|COMMAND).*)")

# What stands for something that the reader has.
PLACEHOLDERS = {
    r"TX…|\$TRANSACTION|TRANSACTION|<transaction>": "TX1111111111111111111111",
    r"CP…|\$COMPANY|COMPANY": "CP1111111111111111111111",
    r"\$BACKED_UP_AT|\$SINCE|T": "2026-01-31T03:00Z",
}


def commands() -> Iterator[str]:
    """``page: arguments`` of each; a name by itself may also be a mention."""
    for page in PAGES:
        text = page.read_text()
        code = [line for block in FENCED.findall(text) for line in block.splitlines()]
        code += INLINE.findall(FENCED.sub("", text))
        for line in code:
            if (found := COMMAND.search(line)) and not line.startswith(("#", "import ", "from ")):
                yield f"{page.relative_to(ROOT)}: {found['arguments']}"


def arguments_of(shown: str) -> list[str]:
    """As the shell would hand them over."""
    words = shlex.split(re.split(r"\s(?:\||\|\||&&|>|<|2>&1|;|#)(?:\s|$)|[;)]", shown)[0], comments=True)
    for pattern, meant in PLACEHOLDERS.items():
        words = [meant if re.fullmatch(pattern, word) else word for word in words]
    return words


def parse(shown: str) -> None:
    """click.ClickException if `billy` would not take it."""
    name, *arguments = arguments_of(shown)
    if name == "COMMAND" or name.startswith("-"):
        return
    command = main.get_command(click.Context(main), name)
    if command is None:
        raise click.UsageError(f"There is no `billy {name}`.")
    if arguments:
        with contextlib.suppress(click.exceptions.Exit):  # --help
            command.make_context(name, arguments)


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_billy_takes_what_a_page_shows(command: str) -> None:
    parse(command.partition(": ")[2])


@pytest.mark.parametrize(
    "shown",
    [
        "bill-everybody production.ini",
        "verify production.ini --fast",
        "recover production.ini --since yesterday",
        "resolve production.ini 5",
    ],
)
def test_what_billy_does_not_take_is_seen(shown: str) -> None:
    with pytest.raises(click.ClickException):
        parse(shown)


def test_most_commands_are_shown_somewhere() -> None:
    shown = {command.partition(": ")[2].split()[0] for command in commands()}
    assert len(shown & SUBCOMMANDS.keys()) >= 12


def test_the_log_events_that_the_page_names_are_logged() -> None:
    [section] = re.findall(r"^## What to be told of\n(.*?)^## ", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    named = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| in the log, level `(error|warning)`", section, re.MULTILINE)
    assert len(named) >= 5
    source = "\n".join(path.read_text() for path in (ROOT / "billy").rglob("*.py"))
    for events, level in named:
        for event in re.findall("`([a-z_]+)`", events):
            verb = r"(?:error|exception)" if level == "error" else level
            assert re.search(rf'log\.{verb}\(\s*"{event}"', source), f"{event} is not logged as {level}"


def test_every_block_that_is_rehearsed_is_run_by_a_test() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests" / "operations").glob("test_*.py"))
    assert documented()
    assert [name for name in documented() if f'operator("{name}"' not in sources] == []
    assert OPERATIONS.read_text().count("```sh\n") == len(documented()), "a block in sh is one that is run"


@pytest.mark.postgresql
def test_secrets_are_rotated_as_shown(operator: Operator, database_url: str, ini: dict[str, str], make: object) -> None:
    make.company()  # type: ignore[attr-defined]  # the factories
    text = (ROOT / "production.ini").read_text().replace("/var/lib/billy/sandbox-ledger.sqlite", ":memory:")
    (operator.directory / "production.ini").write_text(text)  # type: ignore[attr-defined]  # see its fixture
    environment = {"BILLY_DATABASE_URL": database_url, "BILLY_SECRET_KEYS": ini["billy.secret_keys"]}
    assert operator("rotate", **environment).stdout == "rotated: 1\nanswers: 0\nrotated: 0\nanswers: 0\n"
