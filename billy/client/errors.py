"""Everything that a call may raise.

::

    BillyError
    ├── ConnectionFailed              no whole answer came: whether it was done is not known
    ├── UntrustedServer               its TLS certificate could not be verified; nothing was sent
    ├── UnexpectedAnswer              an answer came that is none of Billy's: is the address right?
    └── ApiError                      Billy answered 400 or above
        ├── InvalidRequest                the caller's fault; sending the same again changes nothing
        │   ├── ValidationError               one or more parameters are wrong: ``errors`` names each
        │   ├── InvalidOperationError         the record's state refuses the command
        │   │   └── MoneyMoving                   … at this moment only: money may be moving, try again later
        │   ├── InvalidURIFormat              the processor cannot read a URI
        │   ├── InvalidCustomer               the processor does not know a customer
        │   ├── InvalidFundingInstrument      the processor does not know, or cannot use, an instrument
        │   ├── InvalidCallbackPayload        a callback that is not the processor's
        │   ├── Refused                       the processor said no, where the call waited for its answer
        │   ├── Misconfigured                 the processor refuses the company's ``processor_key``
        │   ├── DuplicateExternalIDError      an ``external_id`` is taken
        │   ├── IdempotencyKeyReused          the key was sent with another request before
        │   ├── MethodNotAllowed              an address that does not have this method
        │   ├── RequestEntityTooLarge         more bytes than the server takes
        │   └── UnsupportedMediaType          neither a form nor JSON
        ├── AuthenticationRequired        no key, or one that is not valid (any more)
        │   └── RegistrationTokenRequired     the server registers companies for those only who have its token
        ├── RegistrationClosed            the server's companies are registered by its operator
        ├── NotFound                      no such record of this company
        ├── IdempotencyKeyInUse           a request with this key is still being answered
        ├── TooManyRequests               slow down
        └── ServerError                   5xx
            ├── DatabaseUnavailable           nothing was saved
            ├── Unavailable                   the processor cannot be reached, nothing was saved
            ├── OutcomeUnknown                the processor gave no clear answer, nothing was saved
            └── InternalServerError           a bug of the server: report its ``request_id``

The last four lines, ``IdempotencyKeyInUse`` and ``ConnectionFailed`` are raised only after the request was sent
again, several times, to no avail (``transport``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any


class BillyError(Exception):
    """The root. ``str(error)`` is one line for a log, and holds no key."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_class: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        retry_after: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        """Billy's sentence for people."""
        self.status = status
        """Of HTTP; None if there was no answer."""
        self.error_class = error_class or type(self).__name__
        """Billy's word for programs."""
        self.errors = {name: list(texts) for name, texts in (errors or {}).items()}
        """What is wrong with each parameter; empty but for a ``ValidationError``."""
        self.request_id = request_id
        """Under which the server's log has it."""
        self.idempotency_key = idempotency_key
        """That was sent: the same call with it is the same call, not another one. None for a GET."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""
        self.attempts = attempts
        """How often the request was sent."""

    def __str__(self) -> str:
        status = f" ({self.status})" if self.status else ""
        wrong = "".join(f"; {name}: {' '.join(texts)}" for name, texts in self.errors.items())
        request = f" [request {self.request_id}]" if self.request_id else ""
        return f"{self.error_class}{status}: {self.message}{wrong}{request}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Pools of processes send errors as pickles, and without this one with keywords hangs them.
        details = {name: value for name, value in vars(self).items() if name != "message"}
        return partial(type(self), **details), (self.message,)


class ConnectionFailed(BillyError):
    """No whole answer came in time; with a write, send the same again with its ``idempotency_key``."""


class UntrustedServer(BillyError):
    """The server's TLS certificate could not be verified; nothing was sent."""


class UnexpectedAnswer(BillyError):
    """What answered is no Billy, or a much newer one."""


class ApiError(BillyError):
    """Billy answered 400 or above."""


class InvalidRequest(ApiError):
    """The caller must change the request."""


class ValidationError(InvalidRequest):
    """Wrong parameters: ``errors`` maps each, by its name, to what is wrong with it."""


class InvalidOperationError(InvalidRequest):
    """The record's state refuses the command."""


class MoneyMoving(InvalidOperationError):
    """Refused only while a charge is under way: wait for how it ends, minutes or days, and try again."""


class InvalidURIFormat(InvalidRequest):
    """A URI that the processor cannot read."""


class InvalidCustomer(InvalidRequest):
    """The processor has no such customer."""


class InvalidFundingInstrument(InvalidRequest):
    """The processor has no such instrument, or it cannot be used for this."""


class InvalidCallbackPayload(InvalidRequest):
    """A callback that the processor does not own up to."""


class Refused(InvalidRequest):
    """The processor said no."""


class Misconfigured(InvalidRequest):
    """The processor refuses the company's ``processor_key``."""


class DuplicateExternalIDError(InvalidRequest):
    """Another record of the same owner has this ``external_id``."""


class IdempotencyKeyReused(InvalidRequest):
    """The idempotency key was sent before, with another request."""


class MethodNotAllowed(InvalidRequest):
    """The address exists, but not with this method."""


class RequestEntityTooLarge(InvalidRequest):
    """More bytes than the server takes."""


class UnsupportedMediaType(InvalidRequest):
    """Neither a form nor JSON."""


class AuthenticationRequired(ApiError):
    """The API key is missing, unknown or expired."""


class RegistrationTokenRequired(AuthenticationRequired):
    """The server registers companies for those only who have its token: ``registration_token``."""


class RegistrationClosed(ApiError):
    """The server's companies are registered by its operator."""


class NotFound(ApiError):
    """No such record; another company's record counts as none."""


class IdempotencyKeyInUse(ApiError):
    """A request with this idempotency key is still being answered."""


class TooManyRequests(ApiError):
    """The server asks to slow down, for longer than the call may take: see ``retry_after``."""


class ServerError(ApiError):
    """A fault on the server's side, or of what stands before it."""


class DatabaseUnavailable(ServerError):
    """The server's database cannot be reached; nothing was saved."""


class Unavailable(ServerError):
    """The payment processor cannot be reached; nothing was saved."""


class OutcomeUnknown(ServerError):
    """The payment processor gave no clear answer; nothing was saved."""


class InternalServerError(ServerError):
    """A bug of the server. Nothing was saved; report the ``request_id``."""


_OF_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationRequired,
    404: NotFound,
    405: MethodNotAllowed,
    413: RequestEntityTooLarge,
    415: UnsupportedMediaType,
    422: IdempotencyKeyReused,
    429: TooManyRequests,
}
"""For a word that this client does not know, and for a proxy's answers, which have none."""


def _below(kind: type[ApiError]) -> Iterator[type[ApiError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


_BY_NAME = {kind.__name__: kind for kind in _below(ApiError)}
_CONFLICTS = ("InvalidOperationError", "DuplicateExternalIDError")


def kind_of(status: int, error_class: str | None, *, may_end_soon: bool = False) -> type[ApiError]:
    """The class of an answer; ``may_end_soon`` tells that it has ``Retry-After``."""
    if status == 409 and may_end_soon and error_class not in _CONFLICTS:
        return IdempotencyKeyInUse
    if status == 409 and error_class == "InvalidOperationError":
        return MoneyMoving
    if error_class in _BY_NAME:
        return _BY_NAME[error_class]
    return _OF_STATUS.get(status, ServerError if status >= 500 else InvalidRequest)
