"""A restart of the servers, as billy-web.socket makes it: the socket stays, so callers wait and nobody is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from billy.secrets import new_secret_key

from .conftest import ROOT

pytestmark = pytest.mark.postgresql

# What systemd does: the socket is descriptor 3, and the environment says for whom.
AS_SYSTEMD = 'exec 3<&"$0"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'


@contextmanager
def serving(ini: Path, listening: socket.socket, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    fd = listening.fileno()
    server = subprocess.Popen(
        ["bash", "-c", AS_SYSTEMD, str(fd), sys.executable, "-W", "ignore", "-m", "pyramid.scripts.pserve", str(ini)],
        env={**os.environ, **environment},
        pass_fds=(fd,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def test_nobody_is_refused_while_one_release_stops_and_the_next_one_starts(database_url: str, tmp_path: Path) -> None:
    ini = tmp_path / "production.ini"
    ini.write_text((ROOT / "production.ini").read_text().replace("/var/lib/billy", str(tmp_path)))
    environment = {"BILLY_DATABASE_URL": database_url, "BILLY_SECRET_KEYS": new_secret_key()}
    answers: list[object] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/health"

        def ask() -> None:
            while not done.is_set():
                try:
                    with urllib.request.urlopen(url, timeout=60) as answer:
                        answers.append(answer.status)
                except OSError as error:
                    answers.append(error)
                time.sleep(0.02)

        asking = threading.Thread(target=ask)
        try:
            with serving(ini, listening, environment):
                asking.start()
                _wait_for_more(answers, 20)
            with serving(ini, listening, environment):
                _wait_for_more(answers, 20)
                done.set()
                asking.join(60)
        finally:
            done.set()
    assert set(answers) == {200}


def _wait_for_more(answers: list[object], number: int) -> None:
    before, give_up = len(answers), time.monotonic() + 60
    while len(answers) < before + number:
        assert time.monotonic() < give_up, answers[-1:]
        time.sleep(0.05)
