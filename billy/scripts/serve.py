"""``billy serve``: what ``make run`` runs. In production the server and the scheduler are services of their own."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta

import click

from billy.scripts import EXIT_CODES
from billy.scripts.common import Duration, ini_argument
from billy.scripts.init_db import initialize
from billy.scripts.processes import Processes, has_news, refuse_taken, scheduler_command, server_command, server_url


@click.command("serve", epilog=EXIT_CODES)
@ini_argument()
@click.option("--every", type=Duration(), default="15s", show_default=True, help="How often the scheduler runs.")
def serve(ini: str, every: timedelta) -> None:
    """Serve the API with the scheduler beside it: for newcomers.

    Does what `billy init-db` does, then starts `pserve INI` and `billy process-transactions INI --every 15s`
    and stops both on Ctrl-C or SIGTERM. If one of them ends, it stops the other and fails.
    """
    initialize(ini)
    url = server_url(ini)
    refuse_taken(url)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopping.set())
    with Processes() as processes:
        processes.start("server", server_command(ini))
        processes.wait_for(f"{url}/", is_stopping=stopping.is_set)
        if not stopping.is_set():
            scheduler = scheduler_command(ini, "--every", f"{every.total_seconds():g}s")
            processes.start("scheduler", scheduler, show=has_news)
            click.echo(
                f"\nBilly serves {url}, and its scheduler runs beside it; Ctrl-C stops both. Begin with a company:\n\n"
                f"  curl {url}/v1/companies -d processor_key=my-sandbox-key\n"
            )
        while not stopping.wait(0.2):
            processes.check()
    click.echo("Billy has stopped.")
