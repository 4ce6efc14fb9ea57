"""An application behind the server that production.ini names, in a process of its own, and a client for it.

``python -m gunicorn 'benchmarks.served:billy()'`` is what is started here: one worker, else the settings of
production.ini.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyramid.router import Router

PRODUCTION = Path(__file__).parents[1] / "production.ini"
SECONDS_TO_START = 30


def _database() -> str:
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # pyramid
    return os.environ["BENCHMARK_DATABASE"]


def floor() -> Router:
    """The bare application."""
    from benchmarks.bare import make_bare_app

    return make_bare_app(_database())


def billy() -> Router:
    """Billy's, which logs each request as in production."""
    url = _database()
    from benchmarks.population import load_settings
    from billy.app import make_app
    from billy.log import set_up_logging

    settings = load_settings(url, **{"billy.secret_keys": os.environ["BENCHMARK_SECRET_KEY"]})
    set_up_logging(settings)
    return make_app(settings)


class Client:
    """One kept-alive connection. A client of a library would take longer than the servers do."""

    def __init__(self, port: int, api_key: str) -> None:
        self._port = port
        self._authorization = "Basic " + base64.b64encode(f"{api_key}:".encode()).decode()
        self._file: Any = None

    def get(self, path: str) -> bytes:
        """The body of an answer, which is 200."""
        return self._call(f"GET {path} HTTP/1.1", b"")

    def post(self, path: str, form: bytes) -> bytes:
        """The same for a form that is sent."""
        kind = "\r\nContent-Type: application/x-www-form-urlencoded"
        return self._call(f"POST {path} HTTP/1.1{kind}\r\nContent-Length: {len(form)}", form)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """A connection for the block: the server closes one that nobody uses for a while."""
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rwb") as self._file:
            yield

    def _call(self, head: str, body: bytes) -> bytes:
        self._file.write(f"{head}\r\nHost: localhost\r\nAuthorization: {self._authorization}\r\n\r\n".encode() + body)
        self._file.flush()
        status, length = self._file.readline(), 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answer: bytes = self._file.read(length)
        if b" 200 " not in status:
            raise AssertionError(f"{head.splitlines()[0]} answered {status!r}: {answer[:500]!r}")
        return answer


@contextmanager
def served(application: str, url: str, secret_key: str, api_key: str) -> Iterator[Client]:
    """A client of ``floor`` or ``billy`` over a database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    production = ConfigParser(interpolation=None)
    production.read(PRODUCTION)
    server = production["server:main"]
    options = [f"--worker-class={server['worker_class']}", f"--threads={server['threads']}", "--workers=1"]
    gunicorn = [sys.executable, "-W", "ignore", "-m", "gunicorn", f"--bind=127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*gunicorn, *options, f"benchmarks.served:{application}()"],
        env={**os.environ, "BENCHMARK_DATABASE": url, "BENCHMARK_SECRET_KEY": secret_key},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield Client(port, api_key)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no server on port {port} after {SECONDS_TO_START} s")
