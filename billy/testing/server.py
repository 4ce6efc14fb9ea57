"""Serves a simulator over HTTP/1.1: connections are kept, have a thread each, and may be closed without a word.

No WSGI server lets an application close a connection without an answer. This one is the standard library's,
with the few lines that hand its requests to WSGI, because ``AnswerLost`` has to reach the socket.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from billy.testing.http_app import LARGEST_BODY, AnswerLost, HttpApp

_POLL_SECONDS = 0.05


class Server(ThreadingHTTPServer):
    """Listens from the moment that it is made, and answers after ``start``."""

    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: HttpApp) -> None:
        self.app = app
        self.mistakes: list[str] = []
        """Tracebacks, which no client should be able to cause."""
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="simulator", daemon=True
        )
        super().__init__((host, port), _Handler)

    def start(self) -> None:
        """Answer, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close the door and every connection; returns when all threads have ended."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, and remember what is open."""
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close, and forget."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hung up does not want to hear of it; anything else is a mistake of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.mistakes.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # else an answer to what cannot be read would have no head
    wbufsize = -1  # head and body leave together
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        body = self._read_body()
        if body is None:
            return
        try:
            answer = self.server.app(self._environ(body), self._start_response)
            for chunk in answer:
                if self.command != "HEAD":
                    self.wfile.write(chunk)
                    self.wfile.flush()
        except AnswerLost:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0").strip()
        if "Transfer-Encoding" in self.headers:
            self.send_error(411)
        elif not (length.isascii() and length.isdecimal()):
            self.send_error(400)
        elif len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            self.send_error(413)
        elif len(body := self.rfile.read(int(length))) < int(length):
            self.close_connection = True  # nobody acts on half a request
        else:
            return body
        return None

    def _environ(self, body: bytes) -> dict[str, Any]:
        path, _, query = self.path.partition("?")
        environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": self.path,
            "SERVER_NAME": self.server.server_name,
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": self.request_version,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            environ.setdefault(f"HTTP_{name.upper().replace('-', '_')}", value)
        return environ

    def _start_response(self, status: str, headers: list[tuple[str, str]]) -> None:
        code, _, phrase = status.partition(" ")
        self.send_response_only(int(code), phrase)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is not even HTTP is told in JSON too, and ends the connection."""
        self.close_connection = True
        body = self.server.app.failure(code).body
        self.send_response_only(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it: ``/simulator/requests`` tells."""
