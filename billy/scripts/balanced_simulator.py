"""``billy balanced-simulator``: the processor that ``make run PROCESSOR=balanced`` runs Billy against."""

from __future__ import annotations

import json
import signal
import threading

import click
from pydantic import ValidationError

from billy.scripts import EXIT_CODES
from billy.testing.balanced_simulator import BalancedSimulator, Chaos


class Chances(click.ParamType):
    """``drop-after=0.05,error-before=0.01`` as a mapping."""

    name = "fault=probability,…"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """By fault; what is no fault, or no probability, is told by ``Chaos``."""
        pairs = (pair.partition("=") for pair in str(value).split(","))
        return {fault: probability for fault, _, probability in pairs}


@click.command("balanced-simulator", epilog=EXIT_CODES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=6544, show_default=True, help="0 is a free one.")
@click.option("--chaos", type=Chances(), help="What goes wrong with charges and refunds, and how often.")
@click.option("--seed", type=int, help="The same seed gives the same sequence of faults.")
@click.option(
    "--retry-delay", type=click.FloatRange(0), default=600.0, show_default=True, help="Seconds to a callback's retry."
)
def balanced_simulator(
    host: str, port: int, chaos: dict[str, str] | None, seed: int | None, retry_delay: float
) -> None:
    """Serve a simulator of Balanced Payments, for tests: it moves no money.

    Prints one line of JSON with its URL as soon as it listens, and stops on Ctrl-C or SIGTERM.
    """
    try:
        switch = Chaos.model_validate({"probabilities": chaos or {}, "seed": seed})
    except ValidationError as error:
        raise click.BadParameter(f"{chaos}: {error.errors()[0]['msg']}", param_hint="--chaos") from None
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopping.set())
    try:
        simulator = BalancedSimulator(host=host, port=port, chaos=switch, retry_delay=retry_delay)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    simulator.start()
    click.echo(json.dumps({"url": simulator.url}))
    stopping.wait()
    simulator.stop()
