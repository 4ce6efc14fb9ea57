"""``billy demo``."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from billy.errors import BillyError, ConfigurationError
from billy.processors.base import ReceiptStatus
from billy.processors.sandbox import Sandbox
from billy.scripts.balanced_story import BalancedStory
from billy.scripts.common import ini_argument, read_ini
from billy.scripts.init_db import initialize
from billy.scripts.localstripe_story import LocalstripeStory
from billy.scripts.player import Player
from billy.scripts.processes import (
    Processes,
    scheduler_command,
    server_command,
    start_localstripe,
    start_simulator,
)
from billy.scripts.story import Story
from billy.scripts.stripe_story import StripeStory
from billy.settings import Settings
from billy.testing.localstripe import LocalstripeFront

INI = """\
[app:main]
use = egg:billy
sqlalchemy.url = sqlite:///%(here)s/billy.sqlite
billy.secret_keys = file:%(here)s/.billy-secrets
billy.transaction.retry_schedule = 1s
billy.company.display_callback_key = true
{processor}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""

SANDBOX = """\
billy.processor_factory = billy.processors.sandbox.Sandbox
billy.sandbox.ledger = %(here)s/sandbox-ledger.sqlite
"""

BALANCED = """\
billy.processor_factory = billy.processors.balanced.Balanced
billy.balanced.base_url = {url}
"""

STRIPE = """\
billy.processor_factory = billy.processors.stripe.Stripe
billy.stripe.base_url = {url}
billy.stripe.statement_suffix_length = 14
"""

LOCALSTRIPE = f"""\
{STRIPE}billy.transaction.maximum_retry = 1
"""

PLAYED: dict[str, tuple[type[BalancedStory | StripeStory | LocalstripeStory], str]] = {
    "balanced": (BalancedStory, BALANCED),
    "stripe": (StripeStory, STRIPE),
    "localstripe": (LocalstripeStory, LOCALSTRIPE),
}
"""The story with a processor that listens, and Billy's settings for it."""


@click.command("demo", epilog="""\b
Exit codes:
  0  every answer was right
  1  one was not: which, and how, is told below the table
  2  wrong usage, or a mistake in the settings""")  # fmt: skip
@ini_argument(required=False)
@click.option("--url", help="Play against a server that runs with the settings INI, instead of one of our own.")
@click.option(
    "--processor",
    type=click.Choice(["sandbox", *PLAYED]),
    default="sandbox",
    show_default=True,
    help="Balanced and Stripe are played by their simulators, or Stripe by localstripe; all are started too.",
)
def demo(ini: str | None, url: str | None, processor: str) -> None:
    """Play the API's story against a real server, and check every answer.

    It is the story of the API reference, over HTTP: a company registers and makes plans, a customer subscribes,
    invoices are paid, refused, refunded and canceled, a card is declined twice and a bank account takes its
    time. The scheduler runs as the command process-transactions. Everything happens in a directory that is
    deleted afterwards, unless --url and INI name a server of yours, which must use the sandbox and
    billy.company.display_callback_key. With Balanced and with Stripe the story is another: it is about what happens
    at the processor, and about the callbacks that come from there. localstripe, which somebody else wrote, has to be
    installed: pip install 'billy[localstripe]'.
    """
    if processor != "sandbox":
        if url is not None or ini is not None:
            raise click.UsageError(f"{processor.title()} is played against servers of our own only.")
        _play_with(processor)
        return
    if (url is None) != (ini is None):
        raise click.UsageError("--url and INI go together: the scheduler needs the settings of that server.")
    if url is not None and ini is not None:
        _play(url.rstrip("/"), ini, owns_server=False)
    else:
        with _server() as (url, ini):
            _play(url, ini, owns_server=True)


def _play(url: str, ini: str, *, owns_server: bool) -> None:
    sandbox = Settings.load(read_ini(ini)).make_processor_factory()
    if not isinstance(sandbox, Sandbox):
        raise ConfigurationError("billy.processor_factory is not the sandbox: the demo would move real money")
    _tell(
        Story(
            url,
            run_scheduler=partial(_run_scheduler, ini, owns_server=owns_server),
            settle=lambda uri: sandbox.settle(uri, ReceiptStatus.SUCCEEDED),
            times_charged=sandbox.charged,
        )
    )


def _play_with(processor: str) -> None:
    make_story, options = PLAYED[processor]
    with Processes() as processes:
        url = f"http://127.0.0.1:{_free_port()}"
        if processor != "localstripe":
            start_simulator(processes, url, processor)
            _play_story(make_story, processes, options, billys_url=url, storys_url=url)
            return
        start_localstripe(processes, url)
        with LocalstripeFront.started(behind=url) as front:
            _play_story(make_story, processes, options, billys_url=front.url, storys_url=url)
            click.echo(f"Left out on the way, for localstripe refuses them: {', '.join(sorted(front.left_out))}.")


def _play_story(
    make_story: type[BalancedStory | StripeStory | LocalstripeStory],
    processes: Processes,
    options: str,
    *,
    billys_url: str,
    storys_url: str,
) -> None:
    with _started(processes, options.format(url=billys_url)) as (url, ini):
        _tell(make_story(url, storys_url, run_scheduler=partial(_run_scheduler, ini)))


def _run_scheduler(ini: str, *, owns_server: bool = True) -> None:
    command = [sys.executable, "-W", "ignore", "-m", *scheduler_command(ini)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    # 1 says that something needs a person: on a server that others use that need not be our doing.
    if done.returncode not in ((0,) if owns_server else (0, 1)):
        raise BillyError(f"process-transactions ended with exit code {done.returncode}:\n{done.stderr}")


def _tell(story: Story | BalancedStory | StripeStory | LocalstripeStory) -> None:
    console = Console()
    with console.status("The story is being played, which takes some seconds …"):
        story.play(story.tell)
    console.print(_table(story))
    if story.mistakes:
        raise BillyError("not every answer was right:\n" + "\n".join(f"  {mistake}" for mistake in story.mistakes))
    console.print(f"All {len(story.steps)} answers were right.")


def _table(story: Player) -> Table:
    table = Table("", "what happened", Column("request", overflow="fold"), "answer")
    for step in story.steps:
        mark = "[green]✓[/green]" if step.is_right else "[red]✗[/red]"
        table.add_row(mark, step.what, escape(step.request), escape(step.outcome))
    return table


@contextmanager
def _server() -> Iterator[tuple[str, str]]:
    """A server of our own on a free port, with everything it writes in a directory that goes away with it."""
    with Processes() as processes, _started(processes, SANDBOX) as (url, ini):
        yield url, ini


@contextmanager
def _started(processes: Processes, processor: str) -> Iterator[tuple[str, str]]:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the blocks are left
    last_lines: deque[str] = deque(maxlen=40)

    def keep(line: str) -> bool:
        last_lines.append(line)
        return False

    with tempfile.TemporaryDirectory(prefix="billy-demo-") as directory:
        port = _free_port()
        ini = Path(directory, "demo.ini")
        ini.write_text(INI.format(port=port, processor=processor))
        initialize(str(ini), tell=last_lines.append)
        processes.start("server", server_command(str(ini)), show=keep)
        try:
            url = f"http://127.0.0.1:{port}"
            processes.wait_for(f"{url}/")
            yield url, str(ini)
        except BillyError:
            click.echo("The server's last words:\n" + "".join(last_lines), err=True)
            raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
