"""The simulator with its own server: what a test starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from billy.testing.balanced_simulator.app import App
from billy.testing.balanced_simulator.server import Server
from billy.testing.balanced_simulator.service import Service


class BalancedSimulator(Service):
    """A ``Service`` that listens."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        """Port 0 is a free one; ``options`` are those of ``Service``. OSError if the port is taken."""
        super().__init__(**options)
        self.app = App(self)
        self._server = Server(host, port, self.app)
        self._host, self._port = host, self._server.server_port

    @classmethod
    @contextmanager
    def started(cls, **options: Any) -> Iterator[Self]:
        """One that answers until the block ends."""
        simulator = cls(**options)
        simulator.start()
        try:
            yield simulator
        finally:
            simulator.stop()

    @property
    def url(self) -> str:
        """Where it listens: ``http://127.0.0.1:6544``."""
        return f"http://{self._host}:{self._port}"

    def start(self) -> None:
        """Answer, in threads of its own."""
        self._server.start()

    def stop(self) -> None:
        """Close every connection and end every thread; AssertionError for a request that met a bug of ours."""
        self._close()
        self.courier.stop()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody can connect during the block, and every connection is closed. Nothing is forgotten."""
        self._close()
        try:
            yield
        finally:
            self.stopping.clear()
            self._server = Server(self._host, self._port, self.app)
            self._server.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Requests are taken and not answered during the block; they are dropped, and nothing is done."""
        self.answering.clear()
        try:
            yield
        finally:
            self.answering.set()

    def _close(self) -> None:
        self.stopping.set()  # ends what is slow
        self.answering.set()
        self._server.stop()
        assert not self._server.mistakes, "\n".join(self._server.mistakes)
