"""The door: real processes, real ports, the files that a newcomer uses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90

Start = Callable[..., "Started"]


class Started:
    """A process of ours; what it prints is gathered, and can be waited for."""

    def __init__(self, module: str, *arguments: object, cwd: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            self.lines.extend(stdout)

    def wait_for(self, text: str) -> str:
        """The line that holds ``text``, once it is printed."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and (self._reader.is_alive() or text in self.output):
            for line in list(self.lines):
                if text in line:
                    return line
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not printed:\n{self.output}")

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        exit_code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return exit_code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``python -m <module> …`` in the test's directory; what still runs at the end is stopped."""
    all_started: list[Started] = []

    def start(module: str, *arguments: object, **env: str) -> Started:
        all_started.append(Started(module, *arguments, cwd=tmp_path, env=env))
        return all_started[-1]

    yield start
    for started in all_started:
        if started.process.poll() is None:
            started.process.terminate()
            started.end()


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


@pytest.fixture
def development_ini(tmp_path: Path, port: int) -> Path:
    """The newcomer's settings as they stand, but for the port; their files go to the test's directory."""
    original = (ROOT / "development.ini").read_text()
    assert "listen = 127.0.0.1:6543" in original
    path = tmp_path / "development.ini"
    path.write_text(original.replace("127.0.0.1:6543", f"127.0.0.1:{port}"))
    return path
