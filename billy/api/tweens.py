"""What surrounds every request, from the outside in: its id, log line and headers, CORS, the limit of its body."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPRequestEntityTooLarge
from pyramid.registry import Registry
from pyramid.response import Response
from pyramid.tweens import EXCVIEW, INGRESS
from pyramid_retry import is_error_retryable
from structlog.contextvars import bind_contextvars, clear_contextvars

from billy.api.request import Request
from billy.db import queries_sent
from billy.settings import Settings

Handler = Callable[[Request], Response]

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

# For browsers, on every answer; the page of /docs has a policy of its own. No Strict-Transport-Security: that is
# for whoever ends TLS, and owns the name. Cross-Origin-Resource-Policy does not stop the origins of
# ``api.allowed_origins``, which ask by CORS: it stops those who embed.
_SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)

_CORS = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Request-Id",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Expose-Headers": "Idempotent-Replayed, Retry-After, X-Request-Id",
}
_PREFLIGHT_SECONDS = "600"


def request_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Name the request, answer with that name and what browsers should know, log how it ended and measure it.

    ``request.id`` is the caller's X-Request-Id if that is a sane one; ``request.started`` is
    ``time.monotonic()`` at the first attempt.
    """

    metrics = registry["billy.metrics"]

    def request_tween(request: Request) -> Response:
        queries = queries_sent()
        environ = request.environ  # survives a retry; the request does not
        _accept_trailing_slash(environ)
        request.started = environ.setdefault("billy.started", time.monotonic())
        request.id = environ.setdefault("billy.request_id", _request_id(request))
        clear_contextvars()
        bind_contextvars(request_id=request.id)
        response = handler(request)
        headers = response.headerlist
        present = {name for name, _ in headers}
        headers += [header for header in _SECURITY if header[0] not in present]
        headers.append(("X-Request-Id", request.id))
        exception = getattr(request, "exception", None)
        is_retried = exception is not None and is_error_retryable(request, exception)
        matched = getattr(request, "matched_route", None)
        route, status = matched and matched.pattern, response.status_code  # never the path: a callback's is a secret
        seconds, queries = time.monotonic() - request.started, queries_sent() - queries
        (log.info if status < 500 else log.warning)(
            "request_retried" if is_retried else "request_finished",
            method=request.method,
            route=route,
            status=status,
            milliseconds=round(1000 * seconds, 1),
            queries=queries,
        )
        clear_contextvars()
        if metrics is not None and not is_retried:
            metrics.request_finished(request.method, route, status, seconds, queries)
        return response

    return request_tween


def _accept_trailing_slash(environ: dict[str, Any]) -> None:
    # Not as a subscriber to Pyramid's events: it sends none while nobody listens, and that saves time.
    path = environ["PATH_INFO"]
    if len(path) > 1 and path.endswith("/"):
        environ["PATH_INFO"] = path[:-1]


def _request_id(request: Request) -> str:
    given: str = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.match(given) else secrets.token_hex(12)


def cors_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Let browsers call from the origins of ``api.allowed_origins``, compared to the letter (D40)."""
    settings: Settings = registry["billy.settings"]
    origins = frozenset(settings.allowed_origins)
    if not origins:
        return handler

    def cors_tween(request: Request) -> Response:
        origin = request.headers.get("Origin")
        is_allowed = origin in origins
        if is_allowed and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = Response(status=204, headerlist=[("Access-Control-Max-Age", _PREFLIGHT_SECONDS)])
        else:
            response = handler(request)
        if is_allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers.update(_CORS)
        response.vary = (*(response.vary or ()), "Origin")
        return response

    return cors_tween


def body_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Refuse a body above ``billy.api.maximum_body``: by its Content-Length, or once that much was read."""
    maximum = registry["billy.settings"].maximum_body

    def body_tween(request: Request) -> Response:
        if request.is_body_readable:
            if request.content_length is None:
                request.body = request.body_file_raw.read(maximum + 1)
            if request.content_length > maximum:
                raise HTTPRequestEntityTooLarge(f"The body has more than {maximum} bytes")
        return handler(request)

    return body_tween


def includeme(config: Configurator) -> None:
    """Add the tweens; each names its neighbor, so the order of includes does not matter."""
    maximum = config.registry["billy.settings"].maximum_body

    def attempts(request: Request) -> int | None:
        # Before a second attempt is possible the body is copied. One that may be too large is not.
        length = request.content_length
        return 1 if request.is_body_readable and (length is None or length > maximum) else None

    config.add_settings({"retry.activate_hook": attempts})
    config.add_tween(
        "billy.api.tweens.request_tween_factory", under=INGRESS, over="billy.api.tweens.cors_tween_factory"
    )
    config.add_tween("billy.api.tweens.cors_tween_factory", over=EXCVIEW)
    config.add_tween("billy.api.tweens.body_tween_factory", under=EXCVIEW, over="billy.db.commit_tween_factory")
