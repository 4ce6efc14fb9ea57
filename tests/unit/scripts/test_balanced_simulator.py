"""``billy balanced-simulator`` and ``billy stripe-simulator``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3

from .conftest import Billy

COMMAND = [sys.executable, "-W", "ignore", "-m", "billy.scripts"]


@contextmanager
def simulating(*options: str, of: str = "balanced") -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*COMMAND, f"{of}-simulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_when_it_has_said_where_and_stops_on_a_signal(number: signal.Signals) -> None:
    with simulating() as (process, url), urllib3.PoolManager(retries=False) as pool:
        assert pool.request("GET", f"{url}/simulator/ledger").json() == {"records": [], "by_submission_key": {}}
        process.send_signal(number)
        assert process.wait(10) == 0


def test_stripes_does_too() -> None:
    with simulating(of="stripe") as (process, url), urllib3.PoolManager(retries=False) as pool:
        assert pool.request("GET", f"{url}/simulator/ledger").json() == {"records": []}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_switch_can_be_thrown_from_the_beginning() -> None:
    with simulating("--chaos", "drop-after=0.25,half=0.5", "--seed", "7") as (_, url):
        with urllib3.PoolManager(retries=False) as pool:
            chaos = pool.request("GET", f"{url}/simulator/chaos").json()
    assert (chaos["probabilities"], chaos["seed"]) == ({"drop-after": 0.25, "half": 0.5}, 7)


@pytest.mark.parametrize("chaos", ["sulk=0.1", "half", "half=2", "half=x", ","])
def test_chaos_that_cannot_be_meant_is_wrong_usage(billy: Billy, chaos: str) -> None:
    result = billy("balanced-simulator", "--port", "0", "--chaos", chaos)
    assert result.exit_code == 2
    assert "--chaos" in result.stderr


def test_a_port_that_is_taken_is_told_in_a_line(billy: Billy) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = billy("balanced-simulator", "--port", port)
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
