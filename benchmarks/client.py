"""Requests without a network: a WSGI application is called as a server would call it.

For growth: sockets and a server's parser cost the same with few rows and with many, and would hide a part of it.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

from billy.app import make_app
from billy.log import set_up_logging
from billy.settings import Settings

App = Callable[..., Iterable[bytes]]


class Client:
    """Calls an application with one API key."""

    def __init__(self, app: App, api_key: str) -> None:
        self._app = app
        self._environ: dict[str, Any] = {
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "6543",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "SCRIPT_NAME": "",
            "HTTP_HOST": "localhost:6543",
            "HTTP_ACCEPT": "*/*",
            "HTTP_USER_AGENT": "benchmark",
            "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{api_key}:".encode()).decode(),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }

    def get(self, path: str) -> bytes:
        """The body of an answer, which is 200."""
        path, _, query = path.partition("?")
        return self._call(
            {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO()}
        )

    def _call(self, request: dict[str, Any]) -> bytes:
        statuses = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            statuses.append(status)

        chunks = self._app({**self._environ, **request}, start_response)
        body = b"".join(chunks)
        if close := getattr(chunks, "close", None):
            close()
        if statuses != ["200 OK"]:
            raise AssertionError(f"{request['PATH_INFO']} answered {statuses}: {body[:500]!r}")
        return body


@contextmanager
def billy_client(settings: Settings, api_key: str) -> Iterator[Client]:
    """Billy's own application, which logs each request as in production, but to /dev/null."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        set_up_logging(settings)
        app = make_app(settings)
        try:
            yield Client(app, api_key)
        finally:
            app.registry["billy.engine"].dispose()
