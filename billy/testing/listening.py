"""A simulator with its own server: what a test starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from billy.testing.http_app import HttpApp, Misbehaving
from billy.testing.server import Server


class Listening(Misbehaving):
    """Beside a service of which it makes one that listens: ``class Simulator(Listening, Service)``."""

    def listen(self, app: HttpApp, host: str, port: int) -> None:
        """Take a port; 0 is a free one. OSError if it is taken."""
        self.app = app
        self._server = Server(host, port, app)
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
