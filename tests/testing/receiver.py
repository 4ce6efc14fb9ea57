"""Somebody who is called back: a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """Answers with the statuses in turn, and then with 200."""

    url: str
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    """Method, headers and body of each, in the order of arrival."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.received]

    def note(self, method: str, headers: Mapping[str, str], body: bytes) -> int:
        with self.lock:
            self.received.append((method, headers, body))
            return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    """It listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(receiver.note(self.command, dict(self.headers), body))
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_POST = do_PUT = do_GET = _note

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/callbacks", list(statuses))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
