"""``billy serve``: what ``make run`` runs. In production the server and the scheduler are services of their own."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta

import click

from billy.errors import ConfigurationError
from billy.processors.balanced import Balanced
from billy.scripts import EXIT_CODES
from billy.scripts.common import Duration, ini_argument, read_ini
from billy.scripts.init_db import initialize
from billy.scripts.processes import (
    Processes,
    has_news,
    refuse_taken,
    scheduler_command,
    server_command,
    server_url,
    start_simulator,
)
from billy.settings import Settings


@click.command("serve", epilog=EXIT_CODES)
@ini_argument()
@click.option("--simulator", is_flag=True, help="Start a simulator of Balanced too, where the ini expects Balanced.")
@click.option("--every", type=Duration(), default="15s", show_default=True, help="How often the scheduler runs.")
def serve(ini: str, every: timedelta, *, simulator: bool) -> None:
    """Serve the API with the scheduler beside it: for newcomers.

    Does what `billy init-db` does, then starts `pserve INI` and `billy process-transactions INI --every 15s`
    and stops both on Ctrl-C or SIGTERM. If one of them ends, it stops the other and fails.
    """
    initialize(ini)
    url = server_url(ini)
    refuse_taken(url)
    balanced_url = _balanced_url(ini) if simulator else None
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopping.set())
    with Processes() as processes:
        if balanced_url is not None:
            start_simulator(processes, balanced_url)
        processes.start("server", server_command(ini))
        processes.wait_for(f"{url}/", is_stopping=stopping.is_set)
        if not stopping.is_set():
            scheduler = scheduler_command(ini, "--every", f"{every.total_seconds():g}s")
            processes.start("scheduler", scheduler, show=has_news)
            click.echo(_first_steps(url, balanced_url))
        while not stopping.wait(0.2):
            processes.check()
    click.echo("Billy has stopped.")


def _balanced_url(ini: str) -> str:
    factory = Settings.load(read_ini(ini)).make_processor_factory()
    if not isinstance(factory, Balanced):
        raise ConfigurationError("billy.processor_factory is not Balanced: there is nothing to simulate")
    url = factory.settings.base_url.rstrip("/")
    if not url.startswith("http://127.0.0.1:"):
        raise ConfigurationError(f"billy.balanced.base_url is {url}: a simulator can be started on 127.0.0.1 only")
    refuse_taken(url)
    return url


def _first_steps(url: str, balanced_url: str | None) -> str:
    served = f"\nBilly serves {url}, and its scheduler runs beside it; Ctrl-C stops both. Begin with a company:\n\n"
    key = "my-sandbox-key"
    if balanced_url is not None:
        served += f"  curl -X POST {balanced_url}/simulator/marketplaces  # its key at Balanced\n"
        key = "ak-test-…"
    return f"{served}  curl {url}/v1/companies -d processor_key={key}\n"
