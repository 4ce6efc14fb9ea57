"""A simulated service over HTTP, as a WSGI application that misbehaves as ``Chaos`` says.

What the service itself does is the subclass's: ``act``. WSGI cannot say "close the connection without a word".
The application raises ``AnswerLost`` for that, which ``billy.testing.server`` understands; other servers answer
500 or break the answer off, which a client must survive too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Any
from urllib.parse import parse_qsl

import orjson

from billy.testing.chaos import BEFORE, Chaos, Fault

ADMIN = "/simulator"
"""Below it is what a processor's owner, its banks and its network do by themselves."""

LARGEST_BODY = 1_000_000

_REMEMBERED_REQUESTS = 100_000
_TRICKLE_SECONDS = 0.2
_TRICKLE_LENGTH = 1_000_000

StartResponse = Callable[..., object]
Pairs = Sequence[tuple[str, str]]


class AnswerLost(Exception):
    """The connection is to be closed now."""


@dataclass
class Request:
    """What was asked for."""

    method: str
    path: str
    query: Pairs
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""
    target: str = ""
    """Path and query as they were sent, where the server tells."""
    json: Any = None


@dataclass(frozen=True)
class Received:
    """One request that was received, and what came of it."""

    method: str
    path: str
    query: str
    status: int | None
    """Of the answer; None if none was given."""
    fault: Fault | None


@dataclass(frozen=True)
class Answer:
    """What is sent, if nothing goes wrong."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """JSON; None is no body at all."""
        return cls(status, b"" if value is None else orjson.dumps(value), headers=headers or {})


class Misbehaving:
    """What a simulated service needs for misbehaving, and remembers of its requests."""

    def __init__(self, *, chaos: Chaos | None = None, slow: float = 30.0) -> None:
        """``slow`` is how many seconds a slow instrument takes."""
        self.chaos = chaos or Chaos()
        self.slow = slow
        self.stopping = Event()
        """Set while waiting makes no sense any more."""
        self.answering = Event()
        """Cleared while requests are taken and not answered."""
        self.answering.set()
        self._requests: deque[Received] = deque(maxlen=_REMEMBERED_REQUESTS)

    def requests(self) -> list[Received]:
        """What was received at the service's own paths, oldest first."""
        return list(self._requests)

    def forget_requests(self) -> None:
        """Begin a new list."""
        self._requests.clear()

    def note(self, received: Received) -> None:
        """Add to the list of requests."""
        self._requests.append(received)


class HttpApp:
    """``app(environ, start_response)``."""

    def __init__(self, service: Misbehaving) -> None:
        self._misbehaving = service

    # -- what a service provides ---------------------------------------------------------------------

    def act(self, request: Request) -> tuple[Answer | None, Fault | None]:
        """Do what is asked for; the answer, and what the instrument's magic makes of it."""
        raise NotImplementedError

    def administer(self, request: Request) -> Answer:
        """What ``/simulator/…`` answers."""
        raise NotImplementedError

    def failure(self, status: int) -> Answer:
        """A 400, 411, 413, 429 or 500 in the service's own words."""
        raise NotImplementedError

    # -- what all do alike ---------------------------------------------------------------------------

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = _read(environ)
        if request.path == ADMIN or request.path.startswith(f"{ADMIN}/"):
            return _send(self.administer(request), start_response)
        if not self._misbehaving.answering.is_set():
            self._misbehaving.answering.wait()
            raise AnswerLost
        fault, delay, answer = self._answer(request)
        is_dropped = fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER)
        status = None if answer is None or is_dropped else answer.status
        query = environ.get("QUERY_STRING", "")
        self._misbehaving.note(Received(request.method, request.path, query, status, fault))
        if answer is None or is_dropped:
            raise AnswerLost
        if fault is Fault.DELAY_AFTER:
            self._misbehaving.stopping.wait(delay)
        if fault is Fault.HALF:
            return _halve(answer, start_response)
        if fault is Fault.TRICKLE:
            return self._trickle(answer, start_response)
        return _send(answer, start_response)

    def _answer(self, request: Request) -> tuple[Fault | None, float, Answer | None]:
        """What goes wrong, how long that takes, and the answer that is sent or lost."""
        chaos = self._misbehaving.chaos
        fault, delay = chaos.draw(request.method, request.path), chaos.delay
        if fault is Fault.DELAY_BEFORE:
            self._misbehaving.stopping.wait(delay)
        answer = None
        if fault not in BEFORE:
            answer, own_fault = self.act(request)
            if fault is Fault.TWICE:
                answer, own_fault = self.act(request)
            if own_fault is not None:
                fault, delay = own_fault, self._misbehaving.slow
        if fault is Fault.SLOW_DOWN:
            answer = self.failure(429)
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            answer = self._server_error(chaos.one_of((500, 502, 503, 504)))
        return fault, delay, answer

    def _server_error(self, status: int) -> Answer:
        """A 500 is the service's own; the others come from what stands before it."""
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return self.failure(status)
        phrase = HTTPStatus(status).phrase
        return Answer(status, f"<html><body><h1>{status} {phrase}</h1></body></html>".encode(), "text/html")

    def _trickle(self, answer: Answer, start_response: StartResponse) -> Iterator[bytes]:
        _start(answer, start_response, _TRICKLE_LENGTH)
        for _ in range(_TRICKLE_LENGTH):
            yield b" "
            if self._misbehaving.stopping.wait(_TRICKLE_SECONDS):
                raise AnswerLost


def _read(environ: Mapping[str, Any]) -> Request:
    return Request(
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="replace"),
        environ["wsgi.input"].read(_length(environ)),
        {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        },
        environ.get("REQUEST_URI", ""),
    )


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    _start(answer, start_response, len(answer.body))
    return [answer.body] if answer.body else []


def _halve(answer: Answer, start_response: StartResponse) -> Iterator[bytes]:
    _start(answer, start_response, len(answer.body))
    yield answer.body[: len(answer.body) // 2]
    raise AnswerLost


def _start(answer: Answer, start_response: StartResponse, length: int) -> None:
    headers = list(answer.headers.items())
    if answer.status != HTTPStatus.NO_CONTENT:
        headers += [("Content-Type", answer.content_type), ("Content-Length", str(length))]
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)


def _length(environ: Mapping[str, Any]) -> int:
    text = environ.get("CONTENT_LENGTH") or "0"
    return min(int(text), LARGEST_BODY) if text.isdecimal() else 0
