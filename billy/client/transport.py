"""HTTP: how a request is sent, how long it may take, and when it is sent again.

Everything may be sent again here. A GET changes nothing, and every other request has an ``Idempotency-Key``, made
once for a call and the same at each attempt: the server does the work once and repeats its answer. So a request is
sent again when no whole answer came (a refused, cut or silent connection), and after an answer that says "not now":
429, 500, 502, 503, 504, and 409 while the first attempt is still at work. Not after any other 409: that a charge is
under way does not pass in seconds, and an ``external_id`` stays taken.

Between attempts there is a pause: what ``Retry-After`` says, or else one that doubles, of which a random half is
left out, so that many clients do not come back all at once. A pause that would pass the deadline is not made: the
error is raised then and there.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import random
import re
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any, TypedDict
from urllib.parse import urlencode, urlsplit

try:
    import requests
except ImportError as error:
    raise ImportError("Billy's client needs requests: pip install 'billy[client]'") from error
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError  # requests is built on it

from billy.client.errors import (
    BillyError,
    ConnectionFailed,
    IdempotencyKeyInUse,
    UnexpectedAnswer,
    UntrustedServer,
    kind_of,
)

logger = logging.getLogger("billy.client")
logger.addHandler(logging.NullHandler())  # silent, unless the program that uses us logs

MOST_BYTES = 64 * 1024 * 1024
"""A longer answer is none of Billy's: a page of a thousand invoices with a thousand lines each is not asked for."""
RETRIED = frozenset({429, 500, 502, 503, 504})
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0

_SECRET = re.compile(r"(/callbacks/)[^/?\s]+")
_KEY = re.compile(r"[!-~]{1,255}\Z", re.ASCII)


class Options(TypedDict, total=False):
    """How a client behaves; all times are in seconds."""

    connect_timeout: float
    """For a connection to be made; 5."""
    timeout: float
    """For the server to say something, in each attempt; 30. A charge waits for its processor."""
    deadline: float
    """For the whole call, with all its attempts and pauses; 90."""
    retries: int
    """How often a request is sent again at most; 5."""
    pool_size: int
    """Connections that are kept open for the threads that share the client; 10."""
    watch: Callable[[Answer], None] | None
    """Called with every answer that ended a call, errors too: for metrics."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said in the end, as it came."""

    method: str
    path: str
    """With the query; a callback's secret is left out."""
    status: int
    body: Any = field(repr=False)
    """The JSON object; None if it was none."""
    request_id: str
    """Under which the server's log has it."""
    attempts: int
    """How often the request was sent."""
    idempotency_key: str | None
    """That was sent; None for a GET."""
    replayed: bool
    """It is the stored answer to an earlier request with the same key."""

    @property
    def details(self) -> dict[str, Any]:
        """What an error about it tells besides."""
        return {
            "status": self.status,
            "request_id": self.request_id,
            "idempotency_key": self.idempotency_key,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    give_up: float
    """On the monotonic clock."""

    @property
    def shown(self) -> str:
        """What may be told of it."""
        return _SECRET.sub(r"\1…", self.target)


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    """Their names in any spelling."""
    body: Any
    """The JSON object; None if it was none."""

    @property
    def word(self) -> str | None:
        """Billy's ``error_class``."""
        word = self.body.get("error_class") if self.body is not None else None
        return word if isinstance(word, str) else None


class _Bearer(AuthBase):
    """With a token, or with none: without any ``AuthBase``, requests would look into ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """Sends requests to one server with one key. Threads share it, and a forked child begins without connections."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        registration_token: str | None = None,
        *,
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        deadline: float = 90.0,
        retries: int = 5,
        pool_size: int = 10,
        watch: Callable[[Answer], None] | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self._auth = _auth(api_key, registration_token)
        self._timeouts = (connect_timeout, timeout)
        self._deadline = deadline
        self._retries = retries
        self._pool_size = pool_size
        self._watch = watch
        self._session, self._pid = self._new_session(), os.getpid()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        idempotency_key: str | None = None,
        also: int | None = None,
    ) -> Answer:
        """Send a request until it is answered; BillyError for anything but 200, or ``also``, with a JSON object."""
        headers = {"Accept": "application/json", "User-Agent": _user_agent(), "X-Request-Id": uuid.uuid4().hex}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if method != "GET":
            headers["Idempotency-Key"] = _checked_idempotency_key(
                uuid.uuid4().hex if idempotency_key is None else idempotency_key
            )
        target = f"{path}?{urlencode(query)}" if query else path
        request = _Request(method, target, headers, body, time.monotonic() + self._deadline)
        attempts = 0
        while True:
            attempts += 1
            answer = None
            failure: BillyError | None
            try:
                response = self._send(request)
            except BillyError as error:
                failure = error
            else:
                answer, failure = _answer(request, response, attempts), _failure(request, response, also)
            if failure is not None and self._waits(request, failure, attempts):
                continue
            if answer is not None and self._watch is not None:
                self._watch(answer)
            if failure is None:
                assert answer is not None
                return answer
            failure.attempts = attempts
            failure.idempotency_key = headers.get("Idempotency-Key")
            failure.request_id = headers["X-Request-Id"] if answer is None else answer.request_id
            raise failure

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _send(self, request: _Request) -> _Response:
        if self._pid != os.getpid():
            self._session, self._pid = self._new_session(), os.getpid()  # two processes would mix up one's answers
        left = max(request.give_up - time.monotonic(), 0.001)
        try:
            with self._session.request(
                request.method,
                self.url + request.target,
                data=request.body,
                headers=request.headers,
                auth=self._auth,
                timeout=(min(self._timeouts[0], left), min(self._timeouts[1], left)),
                allow_redirects=False,  # a key is for this server alone
                stream=True,
            ) as response:
                return _Response(response.status_code, response.headers, _object(_content(response, request)))
        except (requests.RequestException, HTTPError) as error:
            cause = _innermost(error)
        # Raised out here, without the exception above as its context: that one holds the key, and the whole address.
        told = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        kind = UntrustedServer if isinstance(cause, ssl.SSLCertVerificationError) else ConnectionFailed
        raise kind(f"{request.method} {request.shown}: {told}")

    def _waits(self, request: _Request, failure: BillyError, attempts: int) -> bool:
        """Pause before the next attempt, if there is to be one."""
        longest = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
        pause = random.uniform(longest / 2, longest) + (failure.retry_after or 0)  # noqa: S311  # no secret
        passes = isinstance(failure, ConnectionFailed | IdempotencyKeyInUse) or failure.status in RETRIED
        if not passes or attempts > self._retries or time.monotonic() + pause >= request.give_up:
            return False
        logger.warning("%s %s is sent again in %.2f s: %s", request.method, request.shown, pause, failure)
        time.sleep(pause)
        return True

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=self._pool_size, max_retries=0)
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a load balancer's would stick to threads
        return session


class _WithoutSecrets(logging.Filter):
    """urllib3 logs every path at DEBUG, and one of ours holds a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SECRET.sub(r"\1…", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutSecrets())


def _content(response: requests.Response, request: _Request) -> bytes:
    # As it comes, because a server that sends a byte a second never meets a time-out.
    content = bytearray()
    while part := response.raw.read1(65536, decode_content=True):
        content += part
        if time.monotonic() > request.give_up:
            raise ConnectionFailed(f"{request.method} {request.shown}: the answer was not complete in time")
        if len(content) > MOST_BYTES:
            raise UnexpectedAnswer(f"{request.method} {request.shown}: the answer is too long")
    return bytes(content)


def _object(content: bytes) -> Any:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _answer(request: _Request, response: _Response, attempts: int) -> Answer:
    return Answer(
        request.method,
        request.shown,
        response.status,
        response.body,
        response.headers.get("X-Request-Id", request.headers["X-Request-Id"]),
        attempts,
        request.headers.get("Idempotency-Key"),
        response.headers.get("Idempotent-Replayed") == "true",
    )


def _failure(request: _Request, response: _Response, also: int | None) -> BillyError | None:
    """What is wrong with an answer, if anything."""
    status, word = response.status, response.word
    if response.body is not None and word is None and status in (200, also):
        return None
    if word is None and status < 500 and status not in (413, 429):  # which proxies answer too
        told = f"{request.method} {request.shown}: {status} with {response.headers.get('Content-Type')}"
        return UnexpectedAnswer(told, status=status)
    retry_after = _retry_after(response.headers)
    kind = kind_of(status, word, may_end_soon=retry_after is not None)
    body = response.body or {}
    return kind(
        str(body.get("error_message") or f"{request.method} {request.shown} was answered {status}"),
        status=status,
        error_class=word,
        errors=body.get("errors"),
        retry_after=retry_after,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        # Both by the server's clock.
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(seconds, 0.0)


def _innermost(error: BaseException) -> BaseException:
    # It says most ("Connection refused"). What the caller was handling at the time is in the chain too.
    ours = (requests.RequestException, HTTPError, OSError, http.client.HTTPException)
    while isinstance(error.__context__, ours):
        error = error.__context__
    return error


@cache
def _user_agent() -> str:
    try:
        return f"billy-client/{metadata.version('billy')}"
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "billy-client"


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("The address must begin with http:// or https://, and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("The address must not hold a key: hand it over as api_key")
    if parts.query or parts.fragment:
        raise ValueError("The address must end before the paths of the API, without ? or #")
    return url.rstrip("/")


def _auth(api_key: str | None, registration_token: str | None) -> AuthBase:
    if api_key is not None and registration_token is not None:
        raise ValueError("A company's key and a registration token exclude each other")
    # What is wrong is not told: it may be right but for a line break.
    if api_key is not None:
        if _KEY.match(api_key) is None or ":" in api_key:
            raise ValueError("That is no API key")
        return HTTPBasicAuth(api_key, "")
    if registration_token is not None and _KEY.match(registration_token) is None:
        raise ValueError("That is no registration token")
    return _Bearer(registration_token)


def _checked_idempotency_key(key: str) -> str:
    if _KEY.match(key) is None:
        raise ValueError("An idempotency key is 1 to 255 printable ASCII characters without a blank")
    return key
