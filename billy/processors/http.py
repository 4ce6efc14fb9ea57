"""HTTP for adapters: one deadline for a whole call, and a sharp line between what was sent and what was not.

Money hangs on that line. A submission that certainly did not reach the processor may be sent again at
once; one that may have must be looked up first. urllib3's exceptions do not draw it (a time-out of the TLS
handshake and one of the answer are the same class), so the connections here do:

* **Not sent** until the last byte of the request has been handed to the operating system. A server that
  keeps to HTTP cannot act on a request whose announced length it never received. That covers DNS, refused and
  timed-out connections, TLS, and a kept-alive connection that turns out closed while we write to it.
* **May have been sent** from there on, whatever happens: a reset, silence, half an answer. A kept-alive
  connection that the server closed *just as* we wrote looks exactly like a server that acted and then died, so
  it counts as sent. To make that rare, connections that idled for ``KEEP_ALIVE`` are not used again.

The socket's own time-out is one for each read, and a server that sends a byte a second never meets it; so
each read here is given what is left of the call. Two things can make a call take longer: a resolver that hangs,
and a name with several addresses, each of which may take the connect time-out. Both come before the request,
and nothing is sent after the deadline.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

KEEP_ALIVE = 4.0
"""Seconds after which an idle connection is not trusted: common servers close theirs after five or more."""

MOST_BYTES = 4 * 1024 * 1024
"""A longer answer is not one of a payment processor."""


class NotSent(Exception):
    """The request did not reach the server, or not all of it: it certainly had no effect."""


class AnswerLost(Exception):
    """The request was sent, and no whole answer came back: it may have had its effect."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, whatever it was."""

    status: int
    headers: Mapping[str, str]
    """Their names in any spelling."""
    body: bytes


class Deadline:
    """The instant, on the monotonic clock, at which a call ends."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; TimeoutError if there are none."""
        if (left := self._at - time.monotonic()) <= 0:
            raise TimeoutError("the call's deadline has passed")
        return left


class HttpClient:
    """A pool of connections to one server. Threads share it, and a forked child begins with an empty one.

    It follows no redirect, repeats nothing, and never connects to anything but ``base_url``.
    """

    def __init__(self, base_url: str, *, connect_timeout: float, read_timeout: float, pool_size: int) -> None:
        """``connect_timeout`` and ``read_timeout``, the longest silence, lie within each call's own deadline."""
        self._url = urllib3.util.parse_url(base_url)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._pool_size = pool_size
        self._pool = self._new_pool()
        self._pid = os.getpid()

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> Answer:
        """Send one request and read its answer; NotSent or AnswerLost if that cannot be done by the deadline."""
        if self._pid != os.getpid():
            self._pool, self._pid = self._new_pool(), os.getpid()  # a socket that two processes read mixes answers up
        assert target.startswith("/"), target
        _call.deadline, _call.silence, _call.is_sent = deadline, self._read_timeout, False
        try:
            response = self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(self._connect_timeout, deadline.left()), read=self._read_timeout),
            )
            try:
                content = response.read(MOST_BYTES)
                if len(content) == MOST_BYTES:
                    raise AnswerLost("the answer is too long")
            finally:
                # One that was read to its end went back into the pool already.
                response.close()
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise (AnswerLost if _call.is_sent else NotSent)(_told(error)) from error
        return Answer(response.status, response.headers, content)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        kind = _HttpsPool if self._url.scheme == "https" else _HttpPool
        return kind(self._url.host or "", self._url.port, maxsize=self._pool_size)


def _told(error: BaseException) -> str:
    # The innermost says most ("Connection refused"); urllib3's own texts repeat host and address.
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Call(threading.local):
    """The call that this thread is making. urllib3 has no way to hand these to a connection."""

    deadline: Deadline
    silence: float
    is_sent: bool = False


_call = _Call()


class _PacedReader(io.RawIOBase):
    """A socket's reading end; each read lasts no longer than what is left of the call."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(min(_call.silence, _call.deadline.left()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_PacedReader(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response
    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        # Asked before a connection is used again.
        return super().is_connected and time.monotonic() - self._used_at < KEEP_ALIVE

    def request(self, *args: Any, **options: Any) -> None:
        super().request(*args, **options)
        # Not earlier: whoever got only a part of it cannot act on it.
        _call.is_sent = True

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        self.sock.settimeout(_call.deadline.left())  # so nothing is ever sent past the deadline
        super().send(data)

    def getresponse(self) -> Any:
        self._used_at = time.monotonic()
        return super().getresponse()


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
