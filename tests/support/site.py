"""A web server on a socket, for those who call Billy back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Site:
    """Listens before it has an application, because its address goes into the application's settings."""

    app: Any = None

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.set_app(self._call)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Site]:
        """One that answers until the block ends."""
        site = cls()
        thread = threading.Thread(target=site._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site._server.shutdown()
            site._server.server_close()
            thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _call(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False  # so that closing waits for them


class _Handler(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""
