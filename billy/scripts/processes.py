"""Billy's server and scheduler, and a simulator, as processes of our own, for ``serve`` and ``demo``."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO

import click

from billy.errors import BillyError, ConfigurationError
from billy.scripts.common import read_ini

STARTING_SECONDS = 60
STOPPING_SECONDS = 30
"""A run ends its calls to the processor, which takes a call deadline or two, before it stops."""


class Processes:
    """Child processes that live and die together.

    Leaving the block stops those that still run, all at once, and waits for them.
    """

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, command: Sequence[str], *, show: Callable[[str], bool] | None = None) -> None:
        """Start one; with ``show`` its output comes through us, without the lines that ``show`` refuses."""
        process = subprocess.Popen(  # noqa: S603  # our own commands
            [sys.executable, "-m", *command],
            # Ctrl-C is for us alone, else a child would be told to stop twice and give up its work.
            process_group=0,
            env={**os.environ, "PYTHONWARNINGS": "ignore:pkg_resources is deprecated:UserWarning"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if show else None,
            stderr=subprocess.STDOUT if show else None,
            text=True,
        )
        self._running[name] = process
        if show:
            assert process.stdout is not None
            threading.Thread(target=_relay, args=(process.stdout, show), daemon=True).start()

    def check(self) -> None:
        """BillyError if one of them ended, which none should."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise BillyError(f"the {name} has ended with exit code {process.returncode}")

    def wait_for(self, url: str, *, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Return when ``url`` answers, or when it is time to stop; BillyError if it does not in a minute."""
        give_up = time.monotonic() + STARTING_SECONDS
        while not is_stopping():
            self.check()
            try:
                with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # a URL of ours
                    return
            except urllib.error.HTTPError as error:
                raise BillyError(f"{url} answers {error.code}") from None
            except OSError:
                if time.monotonic() > give_up:
                    raise BillyError(f"{url} did not answer within {STARTING_SECONDS} seconds") from None
                time.sleep(0.1)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.terminate()
        give_up = time.monotonic() + STOPPING_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(give_up - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def server_command(ini: str) -> list[str]:
    """How to start the API."""
    return ["billy.scripts.server", ini]


def scheduler_command(ini: str, *options: str) -> list[str]:
    """How to start the scheduler."""
    return ["billy.scripts", "process-transactions", "-c", ini, *options]


def start_simulator(processes: Processes, url: str, processor: str = "balanced") -> None:
    """Start a simulator of Balanced, or of Stripe, at ``url``, and return when it answers."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    command = ["billy.scripts", f"{processor}-simulator", "--host", host, "--port", port, "--retry-delay", "5"]
    processes.start("simulator", command, show=lambda line: False)
    processes.wait_for(f"{url}/simulator/ledger")


def start_localstripe(processes: Processes, url: str) -> None:
    """Start localstripe, and return when it answers at ``url``; ConfigurationError where it is not installed.

    It listens on all addresses of the machine, and cannot be told otherwise.
    """
    if importlib.util.find_spec("localstripe") is None:
        raise ConfigurationError("localstripe is not installed: pip install 'billy[localstripe]'")
    command = ["localstripe", "--from-scratch", "--port", url.rpartition(":")[2]]
    processes.start("localstripe", command, show=lambda line: False)
    processes.wait_for(f"{url}/js.stripe.com/v3/")  # all else wants a key


def has_news(line: str) -> bool:
    """Whether a line of the scheduler's output is anything but the summary of a run that had nothing to do."""
    try:
        summary = json.loads(line)
    except ValueError:
        return True
    return not isinstance(summary, dict) or any(summary.values())


def server_url(ini: str) -> str:
    """Where the ini's server will listen; ConfigurationError if that cannot be told."""
    server = read_ini(ini, "server:main")
    listen = server.get("listen") or server.get("bind") or f"{server.get('host', '*')}:{server.get('port', '8080')}"
    host, colon, port = listen.split()[0].rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigurationError(f"{ini}: [server:main] must listen on host:port, not on {listen}")
    return f"http://{'127.0.0.1' if host in ('', '*', '0.0.0.0') else host}:{port}"  # noqa: S104


def refuse_taken(url: str) -> None:
    """BillyError if somebody listens there already; his answers would be taken for our server's."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
        if probe.connect_ex((host.strip("[]"), int(port))) == 0:
            raise BillyError(f"{host}:{port} is taken: is Billy running already?")


def _relay(output: IO[str], show: Callable[[str], bool]) -> None:
    with output:
        for line in output:
            if show(line):
                click.echo(line, nl=False)
