"""The service over HTTP, as a WSGI application.

WSGI cannot say "close the connection without a word". The application raises ``AnswerLost`` for that, which
``server.Server`` understands; other servers answer 500 or break the answer off, which a client must survive too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson

from billy import clock
from billy.testing.balanced_simulator.admin import ADMIN, administer
from billy.testing.balanced_simulator.body import read_json
from billy.testing.balanced_simulator.chaos import BEFORE, Fault
from billy.testing.balanced_simulator.envelope import envelope
from billy.testing.balanced_simulator.errors import ApiError, unauthenticated
from billy.testing.balanced_simulator.events import publish
from billy.testing.balanced_simulator.resources.base import Call, Hindered
from billy.testing.balanced_simulator.router import Request, answer_call, answer_stranger
from billy.testing.balanced_simulator.service import Received, Service

LARGEST_BODY = 1_000_000

_RETRY_AFTER = 5
_TRICKLE_SECONDS = 0.2
_TRICKLE_LENGTH = 1_000_000

StartResponse = Callable[..., object]


class AnswerLost(Exception):
    """The connection is to be closed now."""


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

    @classmethod
    def error(cls, error: ApiError) -> Answer:
        """With the failed resource, if the service made one."""
        resource = envelope(error.record.type, [error.record]) if error.record else {}
        return cls.of(error.status_code, {**error.shown(), **resource}, error.headers)


class App:
    """``app(environ, start_response)``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="replace")
        request = Request(environ["REQUEST_METHOD"], path, pairs, environ["wsgi.input"].read(_length(environ)))
        if path == ADMIN or path.startswith(f"{ADMIN}/"):
            return _send(self._administer(request), start_response)
        if not self._service.answering.is_set():
            self._service.answering.wait()
            raise AnswerLost
        fault, delay, answer = self._answer(request, environ.get("HTTP_AUTHORIZATION"))
        is_dropped = fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER)
        status = None if answer is None or is_dropped else answer.status
        query = environ.get("QUERY_STRING", "")
        self._service.note(Received(request.method, path, query, status, fault))
        if answer is None or is_dropped:
            raise AnswerLost
        if fault is Fault.DELAY_AFTER:
            self._service.stopping.wait(delay)
        if fault is Fault.HALF:
            return _halve(answer, start_response)
        if fault is Fault.TRICKLE:
            return self._trickle(answer, start_response)
        return _send(answer, start_response)

    def _administer(self, request: Request) -> Answer:
        try:
            value = administer(self._service, request)
        except ApiError as error:
            return Answer.error(error)
        return Answer.of(204 if value is None else 200, value)

    def _answer(self, request: Request, authorization: str | None) -> tuple[Fault | None, float, Answer | None]:
        """What goes wrong, how long that takes, and the answer that is sent or lost."""
        chaos = self._service.chaos
        fault, delay = chaos.draw(request.method, request.path), chaos.delay
        if fault is Fault.DELAY_BEFORE:
            self._service.stopping.wait(delay)
        answer = None
        if fault not in BEFORE:
            answer, own_fault = self._act(request, authorization)
            if fault is Fault.TWICE:
                answer, own_fault = self._act(request, authorization)
            if own_fault is not None:
                fault, delay = own_fault, self._service.slow
        if fault is Fault.SLOW_DOWN:
            slow_down = ApiError("too-many-requests", "Slow down.", headers={"Retry-After": str(_RETRY_AFTER)})
            answer = Answer.error(slow_down)
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            answer = _server_error(chaos.one_of((500, 502, 503, 504)))
        return fault, delay, answer

    def _act(self, request: Request, authorization: str | None) -> tuple[Answer | None, Fault | None]:
        """Do what is asked for; the answer, and what the instrument's magic makes of it."""
        store = self._service.store
        try:
            request.json = read_json(request.body)
            key = _key(authorization)
            with store.lock:
                if key is None:
                    return Answer.of(*answer_stranger(store, request, clock.utc_now())), None
                if key not in store.by_key:
                    raise unauthenticated()
                call = Call(store, store.by_key[key], clock.utc_now())
                try:
                    return Answer.of(*answer_call(call, request)), call.fault
                except Hindered as hindered:
                    return None, hindered.fault
                finally:
                    publish(call, self._service.courier)
        except ApiError as error:
            return Answer.error(error), None

    def _trickle(self, answer: Answer, start_response: StartResponse) -> Iterator[bytes]:
        _start(answer, start_response, _TRICKLE_LENGTH)
        for _ in range(_TRICKLE_LENGTH):
            yield b" "
            if self._service.stopping.wait(_TRICKLE_SECONDS):
                raise AnswerLost


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


def _server_error(status: int) -> Answer:
    """A 500 of the service is JSON; the others come from what stands before it."""
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return Answer.error(ApiError("internal-server-error", "Something went wrong."))
    phrase = HTTPStatus(status).phrase
    return Answer(status, f"<html><body><h1>{status} {phrase}</h1></body></html>".encode(), "text/html")


def _length(environ: Mapping[str, Any]) -> int:
    text = environ.get("CONTENT_LENGTH") or "0"
    return min(int(text), LARGEST_BODY) if text.isdecimal() else 0


def _key(authorization: str | None) -> str | None:
    """The user name; the password may be anything."""
    if authorization is None:
        return None
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise unauthenticated()
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        raise unauthenticated() from None
