"""``billy serve``, which is ``make run``."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest

from .conftest import ROOT, Start, Started


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


@pytest.mark.parametrize(
    "processor, at, noun", [("balanced", "127.0.0.1:6544", "marketplaces"), ("stripe", "127.0.0.1:6545", "accounts")]
)
def test_with_a_simulator_all_three_are_up_and_stop_together(
    start: Start, tmp_path: Path, port: int, processor: str, at: str, noun: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        simulators_port = probe.getsockname()[1]
    ini = tmp_path / f"{processor}.ini"
    text = (ROOT / ini.name).read_text().replace("127.0.0.1:6543", f"127.0.0.1:{port}")
    ini.write_text(text.replace(at, f"127.0.0.1:{simulators_port}"))
    serving = start("billy.scripts", "serve", ini, "--simulator", "--every", "1s")
    second_step = serving.wait_for("processor_key=")
    assert f"curl http://127.0.0.1:{port}/v1/companies -d processor_key=" in second_step
    first_step = f"curl -X POST http://127.0.0.1:{simulators_port}/simulator/{noun}  # its key at {processor.title()}"
    assert first_step in serving.output
    key = json.loads(post(f"http://127.0.0.1:{simulators_port}/simulator/{noun}", b""))["key"]
    assert key.startswith(second_step.partition("processor_key=")[2].strip().rstrip("…"))
    company = json.loads(post(f"http://127.0.0.1:{port}/v1/companies", f"processor_key={key}".encode()))
    assert company["guid"].startswith("CP")
    assert company["processor"] == processor

    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == 0
    assert not listens(port)
    assert not listens(simulators_port)
    assert "Traceback" not in serving.output


def post(url: str, body: bytes) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as response:
        answer: bytes = response.read()
        return answer


def test_a_simulator_is_not_started_where_the_ini_expects_none(start: Start, development_ini: Path) -> None:
    refused = start("billy.scripts", "serve", development_ini, "--simulator")
    assert refused.end() == 2
    assert "Error: billy.processor_factory is sandbox: there is nothing to simulate" in refused.output


@pytest.mark.parametrize("processor, at", [("balanced", "127.0.0.1:6544"), ("stripe", "127.0.0.1:6545")])
def test_a_simulator_is_not_started_elsewhere(start: Start, tmp_path: Path, processor: str, at: str) -> None:
    ini = tmp_path / f"{processor}.ini"
    ini.write_text((ROOT / ini.name).read_text().replace(f"http://{at}", "https://example.com"))
    refused = start("billy.scripts", "serve", ini, "--simulator")
    assert refused.end() == 2
    assert f"Error: billy.{processor}.base_url is https://example.com" in refused.output


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
