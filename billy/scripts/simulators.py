"""The commands that serve a simulated processor: one for each, all alike."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable

import click
from pydantic import ValidationError

from billy.scripts import EXIT_CODES
from billy.testing.chaos import Chaos
from billy.testing.listening import Listening


class Chances(click.ParamType):
    """``drop-after=0.05,error-before=0.01`` as a mapping."""

    name = "fault=probability,…"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """By fault; what is no fault, or no probability, is told by ``Chaos``."""
        pairs = (pair.partition("=") for pair in str(value).split(","))
        return {fault: probability for fault, _, probability in pairs}


def simulator_command(name: str, of: str, make: Callable[..., Listening], port: int) -> click.Command:
    """The command ``name``, which serves what ``make`` makes."""

    @click.command(name, epilog=EXIT_CODES)
    @click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
    @click.option("--port", type=click.IntRange(0, 65535), default=port, show_default=True, help="0 is a free one.")
    @click.option("--chaos", type=Chances(), help="What goes wrong with charges and refunds, and how often.")
    @click.option("--seed", type=int, help="The same seed gives the same sequence of faults.")
    @click.option(
        "--retry-delay",
        type=click.FloatRange(0),
        default=600.0,
        show_default=True,
        help="Seconds to a callback's retry.",
    )
    def command(host: str, port: int, chaos: dict[str, str] | None, seed: int | None, retry_delay: float) -> None:
        _serve(make, host, port, _switch(chaos, seed), retry_delay)

    command.help = (
        f"Serve a simulator of {of}, for tests: it moves no money.\n\n"
        "Prints one line of JSON with its URL as soon as it listens, and stops on Ctrl-C or SIGTERM."
    )
    return command


def _switch(chaos: dict[str, str] | None, seed: int | None) -> Chaos:
    try:
        return Chaos.model_validate({"probabilities": chaos or {}, "seed": seed})
    except ValidationError as error:
        raise click.BadParameter(f"{chaos}: {error.errors()[0]['msg']}", param_hint="--chaos") from None


def _serve(make: Callable[..., Listening], host: str, port: int, chaos: Chaos, retry_delay: float) -> None:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stopping.set())
    try:
        simulator = make(host=host, port=port, chaos=chaos, retry_delay=retry_delay)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    simulator.start()
    click.echo(json.dumps({"url": simulator.url}))
    stopping.wait()
    simulator.stop()
