"""``billy serve``, which is ``make run``."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from .conftest import Start, Started


@pytest.fixture
def serving(start: Start, development_ini: Path) -> Started:
    """A server and a scheduler that are up."""
    serving = start("billy.scripts", "serve", development_ini, "--every", "1s")
    serving.wait_for("curl ")
    return serving


def children(started: Started) -> dict[str, psutil.Process]:
    """Its server and its scheduler."""
    found = {}
    for child in psutil.Process(started.process.pid).children():
        found["server" if "billy.scripts.server" in child.cmdline() else "scheduler"] = child
    assert found.keys() == {"server", "scheduler"}
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_both(serving: Started, port: int, number: signal.Signals) -> None:
    both = children(serving)
    serving.process.send_signal(number)

    assert serving.end() == 0
    assert not any(child.is_running() for child in both.values())
    assert not listens(port)
    assert "Traceback" not in serving.output


@pytest.mark.parametrize("killed, other", [("server", "scheduler"), ("scheduler", "server")])
def test_if_one_dies_it_stops_the_other_and_fails(serving: Started, killed: str, other: str) -> None:
    both = children(serving)
    both[killed].kill()

    assert serving.end() == 1
    assert f"Error: the {killed} has ended with exit code -9" in serving.output
    assert not both[other].is_running()


def test_it_does_not_share_a_port(start: Start, development_ini: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        serving = start("billy.scripts", "serve", development_ini)

        assert serving.end() == 1
    assert f"Error: 127.0.0.1:{port} is taken: is Billy running already?" in serving.output


def test_a_server_that_cannot_start_is_told(start: Start, development_ini: Path) -> None:
    development_ini.write_text(development_ini.read_text().replace("egg:waitress#main", "egg:waitress#nothing"))
    serving = start("billy.scripts", "serve", development_ini)

    assert serving.end() == 1
    assert "Error: the server has ended with exit code 1" in serving.output


def test_a_server_on_a_socket_is_refused(start: Start, development_ini: Path) -> None:
    text = re.sub("(?m)^listen = .*", "listen = billy.sock", development_ini.read_text())
    development_ini.write_text(text)
    serving = start("billy.scripts", "serve", development_ini)

    assert serving.end() == 2
    assert "[server:main] must listen on host:port" in serving.output
