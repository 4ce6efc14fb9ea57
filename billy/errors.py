"""Everything that Billy may raise on purpose.

::

    BillyError
    ├── InvalidRequest                the caller's fault; sending the same again changes nothing
    │   ├── ValidationError           one or more parameters are wrong: ``errors`` names each
    │   ├── InvalidOperationError     the record's state refuses the command
    │   │   └── MoneyMoving           … at this moment only: money may be moving, try again
    │   ├── InvalidURIFormat          the processor cannot read a URI
    │   ├── InvalidCustomer           the processor does not know a customer
    │   ├── InvalidFundingInstrument  the processor does not know, or cannot use, an instrument
    │   ├── InvalidCallbackPayload    a callback that is not the processor's
    │   └── IdempotencyKeyReused      a key was sent with another request before
    ├── IdempotencyKeyInUse           the same request is under way: try again
    ├── DuplicateExternalIDError      an ``external_id`` is taken
    ├── AuthenticationRequired        no key, or one that is not valid (any more)
    │   └── TokenRequired             a token of the operator's is asked for: by GET /metrics
    │       └── RegistrationTokenRequired  … by ``billy.registration = token``
    ├── RegistrationClosed            this server's companies are made by its operator
    ├── TooManyRequests               above a rate; ``retry_after`` says when to come again
    ├── NotFound                      no such record *of this company*
    ├── DatabaseUnavailable           the database is away; safe to retry
    ├── MetricsNotShared              one of several processes was asked for the metrics of all
    ├── ConfigurationError            the operator's fault: settings, clock, schema
    └── ProcessorError                what a payment processor may do to a submission
        ├── Refused                   it said no, and money certainly did not move
        ├── Unavailable               it was certainly not reached, or asks to slow down
        ├── Misconfigured             it refuses *us*: a revoked or wrong processor key
        └── OutcomeUnknown            it may have acted: look up before sending again

HTTP status codes are not here: ``billy.api.errors`` alone knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class BillyError(Exception):
    """The root. ``str(error)`` is a sentence that may be shown to the caller: it holds no secret."""

    @property
    def error_class(self) -> str:
        """The name that API clients see in ``error_class``."""
        return type(self).__name__


class InvalidRequest(BillyError):
    """The caller must change the request."""


class ValidationError(InvalidRequest):
    """Wrong parameters; ``errors`` maps each parameter, spelled as the caller spelled it, to its texts."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = {name: list(texts) for name, texts in errors.items()}
        super().__init__(f"There are errors in following parameters: {', '.join(self.errors)}")

    @classmethod
    def of(cls, parameter: str, text: str) -> ValidationError:
        """One wrong parameter."""
        return cls({parameter: [text]})


class InvalidOperationError(InvalidRequest):
    """The record's state refuses the command."""


class MoneyMoving(InvalidOperationError):
    """Refused only while a submission is under way, in doubt or pending at the processor."""

    @property
    def error_class(self) -> str:
        """Its parent's: only the status code tells the two apart."""
        return InvalidOperationError.__name__


class InvalidURIFormat(InvalidRequest):
    """A URI that the processor's adapter cannot read."""


class InvalidCustomer(InvalidRequest):
    """The processor has no such customer."""


class InvalidFundingInstrument(InvalidRequest):
    """The processor has no such instrument, or it cannot be used for this."""


class InvalidCallbackPayload(InvalidRequest):
    """A callback that the processor does not own up to."""


class IdempotencyKeyReused(InvalidRequest):
    """The ``Idempotency-Key`` was sent with another request before: another address, method, type or body."""


class IdempotencyKeyInUse(BillyError):
    """A request with the same ``Idempotency-Key`` is under way: try again after ``Retry-After`` seconds."""

    retry_after = 1


class DuplicateExternalIDError(BillyError):
    """Another record of the same owner has this ``external_id``."""


class AuthenticationRequired(BillyError):
    """The API key is missing, unknown or expired."""


class TokenRequired(AuthenticationRequired):
    """A bearer token that the operator has set is missing or wrong."""


class RegistrationTokenRequired(TokenRequired):
    """This server registers companies for those who have its registration token only."""


class RegistrationClosed(BillyError):
    """The companies of this server are registered by its operator."""


class TooManyRequests(BillyError):
    """Too many registrations, or too many failed authentications; try again after ``Retry-After``."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(BillyError):
    """No such record; another company's record counts as none."""


class DatabaseUnavailable(BillyError):
    """The database cannot be reached; nothing was saved, the caller may send the same again."""


class MetricsNotShared(BillyError):
    """Several processes serve, and none knows what the others measured: PROMETHEUS_MULTIPROC_DIR is not set."""


class ConfigurationError(BillyError):
    """The operator must mend something before Billy may run."""


class ProcessorError(BillyError):
    """What a processor's adapter raises; see the table in ``billy.processors.base``."""

    code: str | None = None


class Refused(ProcessorError):
    """The processor said no and money did not move.

    ``hard`` means that asking again is pointless (stolen, closed); otherwise another day may do.
    """

    def __init__(self, message: str, *, code: str | None = None, number: int | None = None, hard: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.number = number
        self.hard = hard


class Unavailable(ProcessorError):
    """The request certainly had no effect; ``retry_after`` is in seconds where the processor names it."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Misconfigured(ProcessorError):
    """The processor refuses the company's key; nothing was done."""

    code = "misconfigured"


class OutcomeUnknown(ProcessorError):
    """The processor may have acted: only a look-up can tell."""

    code = "outcome_unknown"
