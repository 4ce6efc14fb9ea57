"""What the service answers instead of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from billy.testing.balanced_simulator.store import Record

_BY_STATUS = {
    400: (
        "request card-number-not-valid invalid-routing-number invalid-bank-account-number invalid-amount"
        " invalid-reversal-amount refund-invalid-debit-state name-required-to-credit"
    ),
    401: "authentication-required",
    402: "card-declined authorization-failed funding-destination-declined",
    403: "bank-account-authentication-forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: (
        "insufficient-funds account-insufficient-funds refund-insufficient-funds funding-source-not-debitable"
        " funding-destination-not-creditable no-funding-source no-funding-destination card-not-validated card-not-valid"
        " bank-account-not-valid card-already-funding-src bank-account-already-associated cannot-associate-card"
        " debit-already-refunded credit-already-reversed cannot-reverse-credit cannot-reverse-credits-to-cards"
        " debit-disputed amount-exceeds-limit duplicate-webhook-url marketplace-already-created"
        " bank-account-authentication-failed bank-account-authentication-not-pending"
        " bank-account-authentication-already-exists hold-already-voided hold-already-captured card-token-expired"
        " card-token-already-claimed order"
        " marketplace-required customer-in-use"  # ours: the service's own words for these two are not known
    ),
    429: "too-many-requests",  # ours: the service documented no limit
    500: "internal-server-error",
}
STATUS_OF = {code: status for status, codes in _BY_STATUS.items() for code in codes.split()}
"""The HTTP status of each ``category_code``."""

_CATEGORY_TYPES = {401: "permission", 402: "banking", 409: "logical"}
_TERSE = (401, 405)
"""Their bodies lack ``additional`` and ``extras``."""


class ApiError(Exception):
    """An error answer; ``record`` is the failed resource that the service made all the same."""

    def __init__(
        self,
        code: str,
        description: str,
        *,
        additional: str | None = None,
        extras: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        record: Record | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(description)
        self.status_code = status_code or STATUS_OF[code]
        self.code = code
        self.description = description
        self.additional = additional
        self.extras = dict(extras or {})
        self.headers = dict(headers or {})
        self.record = record

    def shown(self) -> dict[str, Any]:
        """The body, but for the resource."""
        request_id = f"OHM{uuid4().hex}"
        error = {
            "status": HTTPStatus(self.status_code).phrase,
            "status_code": self.status_code,
            "category_type": _CATEGORY_TYPES.get(self.status_code, "request"),
            "category_code": self.code,
            "description": f"{self.description} Your request id is {request_id}.",
            "request_id": request_id,
        }
        if self.status_code not in _TERSE:
            error |= {"additional": self.additional, "extras": self.extras}
        return {"errors": [error]}


def invalid(field: str, message: str) -> ApiError:
    """A field that does not validate."""
    return ApiError("request", f"Invalid field [{field}] - {message}", extras={field: message})


def not_found() -> ApiError:
    """No such path, or no such object of this marketplace: nobody learns which."""
    return ApiError(
        "not-found",
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling"
        " and try again.",
    )


def unauthenticated() -> ApiError:
    """No key, or one that is unknown or revoked."""
    return ApiError(
        "authentication-required",
        "Not permitted to perform this action: an API key is needed.",
        headers={"WWW-Authenticate": 'Basic realm="Balanced"'},
    )


def method_not_allowed() -> ApiError:
    """The path takes other methods."""
    return ApiError("method-not-allowed", "The method is not allowed for the requested URL.")
