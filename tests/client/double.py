"""A server that speaks the protocol of idempotency keys, over real HTTP, and misbehaves as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PLAN = {
    "guid": "PL1",
    "company_guid": "CP1",
    "plan_type": "debit",
    "frequency": "monthly",
    "interval": 1,
    "amount": 500,
    "name": None,
    "description": None,
    "external_id": None,
    "deleted": False,
    "created_at": "2026-01-15T12:00:00+00:00",
    "updated_at": "2026-01-15T12:00:00.500000+00:00",
}


@dataclass(frozen=True)
class Seen:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """Which of the connections it came by."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str | None:
        return self.headers.get("Idempotency-Key")


Fault = Callable[["Handler", Seen], None]


class Double:
    """Answers ``body`` to everything; each fault spoils one request, in their order."""

    def __init__(self) -> None:
        self.body: Any = PLAN
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.effects: list[Seen] = []
        """The writes that were done, and not answered from what was stored."""
        self.stored: dict[str, tuple[bytes, Any]] = {}
        self.lock = threading.Lock()
        self.connections = 0
        self.url = ""

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Double]:
        double = cls()

        class OfThisDouble(Handler):
            pass

        OfThisDouble.double = double
        server = ThreadingHTTPServer(("127.0.0.1", 0), OfThisDouble)
        server.daemon_threads = True  # they wait for the next request of a connection
        double.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @property
    def keys(self) -> list[str | None]:
        """The idempotency keys that came."""
        return [seen.key for seen in self.seen]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    double: Double
    number = 0

    def setup(self) -> None:
        super().setup()
        with self.double.lock:
            self.double.connections += 1
            self.number = self.double.connections

    def answer(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        seen = Seen(self.command, address.path, query, dict(self.headers), body, self.number)
        with self.double.lock:
            self.double.seen.append(seen)
            fault = self.double.faults.popleft() if self.double.faults else None
        if fault is not None:
            fault(self, seen)
        else:
            self.behave(seen)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def behave(self, seen: Seen) -> None:
        """What a server does that is well."""
        self.reply(*self.effect(seen))

    def effect(self, seen: Seen) -> tuple[int, Any, dict[str, str]]:
        """Do the work once for a key: the answer, which is the stored one if it was done before."""
        if seen.method == "GET" or seen.key is None:
            return 200, self.double.body, {}
        asked = b" ".join([seen.method.encode(), seen.path.encode(), seen.body])
        with self.double.lock:
            if seen.key not in self.double.stored:
                self.double.stored[seen.key] = (asked, self.double.body)
                self.double.effects.append(seen)
                return 200, self.double.body, {}
            before, stored = self.double.stored[seen.key]
        if before != asked:
            return 422, error("IdempotencyKeyReused"), {}
        return 200, stored, {"Idempotent-Replayed": "true"}

    def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None, *, cut: int = 0) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])
        if cut:
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""


def error(word: str, **more: Any) -> dict[str, Any]:
    """Billy's body of an error."""
    return {"error_class": word, "error_message": "A sentence", "request_id": "the-server's", **more}


# -- faults ------------------------------------------------------------------------------------------


def lost_before(handler: Handler, seen: Seen) -> None:
    """The connection ends, and nothing was done."""
    handler.hang_up()


def lost_after(handler: Handler, seen: Seen) -> None:
    """It was done, and the connection ends without an answer."""
    handler.effect(seen)
    handler.hang_up()


def half(handler: Handler, seen: Seen) -> None:
    """It was done, and half of the answer comes."""
    handler.reply(*handler.effect(seen), cut=20)


def half_chunked(handler: Handler, seen: Seen) -> None:
    """The same without a length."""
    content = json.dumps(handler.effect(seen)[1]).encode()
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s" % (len(content), content[:-20]))
    handler.hang_up()


def silent(handler: Handler, seen: Seen) -> None:
    """It was done, and no answer comes for two seconds."""
    handler.effect(seen)
    time.sleep(2)
    handler.hang_up()


def dripping(handler: Handler, seen: Seen) -> None:
    """The answer comes, a byte each twentieth of a second."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:  # whom it was for has gone
        handler.close_connection = True


def says(status: int, body: Any = None, **headers: str) -> Fault:
    """Answers so, and does nothing."""

    def fault(handler: Handler, seen: Seen) -> None:
        told = error("InternalServerError") if body is None else body
        handler.reply(status, told, {name.replace("_", "-"): value for name, value in headers.items()})

    return fault
