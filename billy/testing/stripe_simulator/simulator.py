"""The simulator with its own server: what a test starts."""

from __future__ import annotations

from typing import Any

from billy.testing.listening import Listening
from billy.testing.stripe_simulator.app import App
from billy.testing.stripe_simulator.service import Service


class StripeSimulator(Listening, Service):
    """A ``Service`` that listens."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        """Port 0 is a free one; ``options`` are those of ``Service``. OSError if the port is taken."""
        super().__init__(**options)
        self.listen(App(self), host, port)

    def stop(self) -> None:
        """Close every connection and end every thread; AssertionError for a request that met a bug of ours."""
        super().stop()
        self.courier.stop()
