"""A server that says, byte for byte, what a test wants, and keeps what it was sent."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Act = Callable[[socket.socket, threading.Event], bool]
"""Deals with one request, and returns whether the connection is kept; the event ends a test's waiting."""


@dataclass(frozen=True)
class Request:
    """One that came in whole."""

    head: str
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        """``POST /debits HTTP/1.1``."""
        return self.head.split("\r\n")[0]

    def header(self, name: str) -> str | None:
        """A header's value."""
        pairs = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return next((value for key, _, value in pairs if key.lower() == name.lower()), None)


class Wire:
    """Listens until the block ends. Requests meet ``acts`` in their order; the last one again and again."""

    def __init__(self, acts: list[Act]) -> None:
        self._acts = acts
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.bytes_read = 0
        self.requests: list[Request] = []

    @classmethod
    @contextmanager
    def open(cls, *acts: Act) -> Iterator[Wire]:
        """One that listens."""
        wire = cls(list(acts))
        accepting = threading.Thread(target=wire._accept, daemon=True)
        accepting.start()
        try:
            yield wire
        finally:
            wire._over.set()
            wire._listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            wire._listener.close()
            wire.hang_up()
            for thread in wire._threads:
                thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The same, as a URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Those that this side has not closed."""
        with self._lock:
            return len(self._open)

    def hang_up(self) -> None:
        """Close every connection, and be sure that the other side's system knows."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            with contextlib.suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            is_kept = True
            while is_kept:
                request = self._read(connection, number)
                if request is None:
                    return
                with self._lock:
                    self.requests.append(request)
                    act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
                is_kept = act(connection, self._over)
        except OSError:
            pass  # whoever waited has gone
        finally:
            with self._lock:
                if connection in self._open:
                    self._open.remove(connection)
                    connection.close()

    def _read(self, connection: socket.socket, number: int) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return None
            self.bytes_read += len(more)
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        request = Request(head.decode("latin-1"), body, number)
        length = int(request.header("Content-Length") or 0)
        while len(body) < length:
            if not (more := connection.recv(65536)):
                return None
            self.bytes_read += len(more)
            body += more
        return Request(request.head, body, number)


def raw(text: bytes, *, keep: bool = False) -> Act:
    """Exactly these bytes, and then the end."""

    def act(connection: socket.socket, over: threading.Event) -> bool:
        connection.sendall(text)
        return keep

    return act


def say(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Act:
    """A proper answer, on a connection that is kept."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return raw("\r\n".join([*lines, "", ""]).encode() + content, keep=True)


def close(connection: socket.socket, over: threading.Event) -> bool:
    """Not a word."""
    return False


def reset(connection: socket.socket, over: threading.Event) -> bool:
    """A reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def be_silent(connection: socket.socket, over: threading.Event) -> bool:
    """Nothing, for as long as the test lasts."""
    over.wait()
    return False


def drip(text: bytes, *, pause: float = 0.05) -> Act:
    """These bytes, and then one at a time for ever."""

    def act(connection: socket.socket, over: threading.Event) -> bool:
        connection.sendall(text)
        while not over.wait(pause):
            connection.sendall(b" ")
        return False

    return act
