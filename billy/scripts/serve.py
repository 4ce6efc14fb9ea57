"""``billy serve``: what ``make run`` runs. In production the server and the scheduler are services of their own."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from typing import Any

import click

from billy.errors import ConfigurationError
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

SIMULATED = {"balanced": ("marketplaces", "ak-test-…"), "stripe": ("accounts", "sk_test_…")}
"""What a company needs first of each simulator, at ``/simulator``, and the key that it gets with that."""


@click.command("serve", epilog=EXIT_CODES)
@ini_argument()
@click.option("--simulator", is_flag=True, help="Start a simulator of the Balanced or Stripe that the ini expects.")
@click.option("--every", type=Duration(), default="15s", show_default=True, help="How often the scheduler runs.")
def serve(ini: str, every: timedelta, *, simulator: bool) -> None:
    """Serve the API with the scheduler beside it: for newcomers.

    Does what `billy init-db` does, then starts `pserve INI` and `billy process-transactions INI --every 15s`
    and stops both on Ctrl-C or SIGTERM. If one of them ends, it stops the other and fails.
    """
    initialize(ini)
    url = server_url(ini)
    refuse_taken(url)
    simulated = _simulated(ini) if simulator else None
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopping.set())
    with Processes() as processes:
        if simulated is not None:
            start_simulator(processes, *simulated)
        processes.start("server", server_command(ini))
        processes.wait_for(f"{url}/", is_stopping=stopping.is_set)
        if not stopping.is_set():
            scheduler = scheduler_command(ini, "--every", f"{every.total_seconds():g}s")
            processes.start("scheduler", scheduler, show=has_news)
            click.echo(_first_steps(url, simulated))
        while not stopping.wait(0.2):
            processes.check()
    click.echo("Billy has stopped.")


def _simulated(ini: str) -> tuple[str, str]:
    """Where the processor of the ini is expected, and its name."""
    factory: Any = Settings.load(read_ini(ini)).make_processor_factory()
    name = factory.name
    if name not in SIMULATED:
        raise ConfigurationError(f"billy.processor_factory is {name}: there is nothing to simulate")
    url = factory.settings.base_url.rstrip("/")
    if not url.startswith("http://127.0.0.1:"):
        raise ConfigurationError(f"billy.{name}.base_url is {url}: a simulator can be started on 127.0.0.1 only")
    refuse_taken(url)
    return url, name


def _first_steps(url: str, simulated: tuple[str, str] | None) -> str:
    served = f"\nBilly serves {url}, and its scheduler runs beside it; Ctrl-C stops both. Begin with a company:\n\n"
    key = "my-sandbox-key"
    if simulated is not None:
        at, name = simulated
        noun, key = SIMULATED[name]
        served += f"  curl -X POST {at}/simulator/{noun}  # its key at {name.title()}\n"
    return f"{served}  curl {url}/v1/companies -d processor_key={key}\n"
