"""What goes wrong: one table of status codes, and one JSON body for all of it.

::

    {"error_class": "ValidationError", "error_message": "…", "errors": {"amount": ["…"]}, "request_id": "…"}

No other file knows which status an error has. What is not in the table is a bug: it is logged with its
traceback, and the caller gets the id under which to find it.
"""

from __future__ import annotations

import math
from typing import Any

import structlog
from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPNotFound
from pyramid.response import Response
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from structlog.contextvars import bind_contextvars

from billy.api.request import Request
from billy.api.serializers import write_json
from billy.errors import (
    AuthenticationRequired,
    BillyError,
    DatabaseUnavailable,
    DuplicateExternalIDError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidRequest,
    MetricsNotShared,
    Misconfigured,
    MoneyMoving,
    NotFound,
    OutcomeUnknown,
    Refused,
    RegistrationClosed,
    TokenRequired,
    TooManyRequests,
    Unavailable,
    ValidationError,
)

log = structlog.get_logger(__name__)

STATUS: dict[type[BillyError], int] = {
    InvalidRequest: 400,
    MoneyMoving: 409,
    DuplicateExternalIDError: 409,
    IdempotencyKeyInUse: 409,
    IdempotencyKeyReused: 422,
    AuthenticationRequired: 401,
    RegistrationClosed: 403,
    NotFound: 404,
    TooManyRequests: 429,
    DatabaseUnavailable: 503,
    MetricsNotShared: 503,
    # A processor's, where a caller waits for its answer; submissions never raise.
    Refused: 400,
    Misconfigured: 400,
    Unavailable: 503,
    OutcomeUnknown: 503,
}

_RETRY_AFTER = 5
_MOST_SECONDS = 3600

_PROCESSOR_SAYS: dict[type[BillyError], str] = {
    Refused: "The payment processor refused: {}",
    Misconfigured: "The payment processor refuses the company's processor_key: {}",
    Unavailable: "The payment processor cannot be reached right now, nothing was saved, try again in a moment: {}",
    OutcomeUnknown: "The payment processor gave no clear answer, nothing was saved, try again in a moment: {}",
}


def status_of(error: type[BillyError]) -> int | None:
    """The status of an error, or of what it is a kind of; None for what is not meant for callers."""
    return next((STATUS[kind] for kind in error.__mro__ if kind in STATUS), None)


def billy_error(error: BillyError, request: Request) -> Response:
    """What we raised on purpose."""
    status = status_of(type(error))
    if status is None:
        return bug(error, request)
    message = _PROCESSOR_SAYS.get(type(error), "{}").format(error)
    errors = error.errors if isinstance(error, ValidationError) else None
    response = _answer(request, status, error.error_class, message, errors)
    if status == 401:
        scheme = "Bearer" if isinstance(error, TokenRequired) else "Basic"
        response.headers["WWW-Authenticate"] = f'{scheme} realm="Billy"'
    seconds = getattr(error, "retry_after", None)
    if status == 503:
        log.warning("request_unavailable", error=error.error_class, cause=type(error.__cause__).__name__)
        seconds = seconds or _RETRY_AFTER
    if seconds:
        response.headers["Retry-After"] = str(min(math.ceil(seconds), _MOST_SECONDS))
    return response


def http_exception(error: HTTPException, request: Request) -> Response:
    """Pyramid's own: unknown paths, wrong methods, bodies that are too large or of a strange type."""
    if isinstance(error, HTTPForbidden):  # no permission is ever refused to a valid key
        return billy_error(AuthenticationRequired("A valid API key is required"), request)
    name = type(error).__name__.removeprefix("HTTP")
    message = error.detail
    if isinstance(error, HTTPNotFound):
        name, message = "NotFound", "There is nothing at this address"
    response = _answer(request, error.status_code, name, message or error.explanation)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def undecodable_path(error: URLDecodeError, request: Request) -> Response:
    """A path that is not UTF-8 names nothing."""
    return http_exception(HTTPNotFound(), request)


def no_free_connection(error: NoFreeConnection, request: Request) -> Response:
    """More requests than database connections, for longer than a request waits."""
    return billy_error(DatabaseUnavailable("The server is too busy right now, try again in a moment"), request)


def bug(error: Exception, request: Request) -> Response:
    """Everything else. The caller learns nothing of the inside."""
    log.error("request_crashed", exc_info=error)
    message = "Something went wrong on our side. Please report it, with the request_id"
    return _answer(request, 500, "InternalServerError", message)


def _answer(
    request: Request, status: int, error_class: str, message: str, errors: dict[str, list[str]] | None = None
) -> Response:
    bind_contextvars(error=error_class)  # for the request's line in the log
    body: dict[str, Any] = {"error_class": error_class, "error_message": _valid(message), "request_id": request.id}
    if errors:
        body["errors"] = {_valid(name): [_valid(text) for text in texts] for name, texts in errors.items()}
    return write_json(Response(status=status), body, request)


def _valid(text: str) -> str:
    # Errors quote what was sent, and JSON can send half a surrogate pair, which no answer can hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def includeme(config: Configurator) -> None:
    """Answer every exception with the JSON body above."""
    for error, view in (
        (BillyError, billy_error),
        (HTTPException, http_exception),
        (URLDecodeError, undecodable_path),
        (NoFreeConnection, no_free_connection),
        (Exception, bug),
    ):
        config.add_exception_view(view, context=error)
