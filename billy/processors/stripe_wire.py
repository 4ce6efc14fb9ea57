"""Stripe's official SDK over Billy's own connections: one deadline a call, no retries, a sharp line of what was sent.

The SDK knows Stripe's encoding, versions and errors; how it connects is left to ``billy.processors.http``. So
none of its defaults apply that would make a charge unsafe: it retries by itself with keys of its own, its
time-outs are one for each read, and its connection errors do not say whether the request had been sent.

What it means for Billy is told in ``billy.processors.stripe``. Nothing that an answer or a stored URI says is
ever followed: only ids are taken from it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

try:
    import stripe
except ImportError as error:
    raise ImportError("Stripe's SDK is missing: pip install 'billy[stripe]'") from error

from billy.errors import InvalidURIFormat, Misconfigured, Refused, Unavailable
from billy.processors.answers import Lost, json_of, retry_after, text_of
from billy.processors.http import AnswerLost, Deadline, HttpClient, NotSent
from billy.processors.stripe_codes import REFUSALS

API_VERSION = "2026-10-28.endive"
"""The only one that this adapter was written and tested for; sent with each request and asked of webhooks."""

PAGE = 100
"""Records asked for at a time; the largest that Stripe allows."""

# Both are the SDK's, of the whole process, and not for a program that keeps secrets: it would report to Stripe
# how long each request took and from which machine, and log what it sends.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)

_REFUSING = (400, 402, 404, 409)

Resource = Mapping[str, Any]


class Transport(stripe.HTTPClient):
    """The SDK's way to the network: NotSent and AnswerLost pass through it, and what is no JSON is Lost."""

    name = "billy"

    def __init__(self, http: HttpClient) -> None:
        super().__init__()
        self._http = http
        self._call = threading.local()

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """All requests of this thread end by ``deadline``."""
        self._call.deadline = deadline
        yield

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        """One request. Only a JSON object is handed on to the SDK, or an answer that it makes an error of."""
        parts = urlsplit(url)
        answer = self._http.request(
            method.upper(),
            f"{parts.path}?{parts.query}" if parts.query else parts.path,
            headers=dict(headers or {}),
            body=post_data.encode() if isinstance(post_data, str) else post_data,
            deadline=self._call.deadline,
        )
        status = answer.status
        if status in (401, 403):
            raise Misconfigured(f"Stripe answers {status} to the company's key")
        if status == 429:
            raise Unavailable("Stripe asks to slow down", retry_after=retry_after(answer.headers))
        told = json_of(answer.body)
        if told is None or (status != 200 and (status not in _REFUSING or not isinstance(told.get("error"), dict))):
            raise Lost(f"Stripe answers {status}", retry_after=retry_after(answer.headers))
        return answer.body.decode(), status, dict(answer.headers)

    def close(self) -> None:
        """The connections are their owner's."""


# --- requests ---


def ask(request: Callable[..., Any], *args: Any) -> Resource:
    """What one request of the SDK is answered, as plain values; Stripe's errors become Billy's."""
    with _translated():
        answer: Resource = request(*args).to_dict()
        return answer


def known(retrieve: Callable[..., Any], name: str) -> Resource | None:
    """A record by its id, or None where Stripe knows none of that id."""
    try:
        return ask(retrieve, name)
    except Refused as refused:
        if refused.number == 404:
            return None
        raise


def listed(request: Callable[..., Any], query: Mapping[str, Any]) -> list[Resource]:
    """All pages of a list, the oldest first. Stripe orders them newest first, also within a second."""
    with _translated():
        return [each.to_dict() for each in request({**query, "limit": PAGE}).auto_paging_iter()][::-1]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except NotSent as error:
        raise Unavailable(f"Stripe cannot be reached: {error}") from error
    except (AnswerLost, TimeoutError) as error:
        raise Lost(f"Stripe's answer was lost: {error}") from error
    except stripe.StripeError as error:
        told = error_of(error)
        if told.get("type") not in ("card_error", "invalid_request_error") or error.http_status == 409:
            # A key that is in use right now, or that Stripe knows with other values: something happened under it.
            raise Lost(f"Stripe answers {error.http_status}: {text_of(told.get('message'), 300)}") from error
        raise refusal(told, number=error.http_status) from error


def refusal(told: Resource, *, number: int | None = None) -> Refused:
    """From an error, or from a payment's ``last_payment_error``, which looks the same."""
    code = text_of(told.get("decline_code"), 64) or text_of(told.get("code"), 64)
    if not code:
        code = "card_declined" if told.get("type") == "card_error" else "invalid_request"
    return Refused(text_of(told.get("message"), 500) or code, code=code, number=number, hard=REFUSALS.is_hard(code))


def error_of(error: BaseException | None) -> Resource:
    """The fields of an error of Stripe."""
    body = error.json_body if isinstance(error, stripe.StripeError) else None
    told = body.get("error") if isinstance(body, dict) else None
    return told if isinstance(told, dict) else {}


# --- URIs ---

_PATHS = {
    "cus": "customers",
    "pm": "payment_methods",
    "acct": "accounts",
    "pi": "payment_intents",
    "re": "refunds",
    "pyr": "refunds",
    "tr": "transfers",
    "dp": "disputes",
    "du": "disputes",
}
_URI = re.compile(r"(/v1/(?P<path>[a-z_]{1,32})/)?(?P<id>(?P<prefix>[a-z]{2,8})_[0-9A-Za-z_]{1,128})\Z")


def to_id(uri: str, *prefixes: str) -> str:
    """The id that a URI names, bare or after its path; InvalidURIFormat unless it has one of the prefixes."""
    match = _URI.match(uri)
    if match is not None and match["prefix"] in prefixes and match["path"] in (None, _PATHS[match["prefix"]]):
        return match["id"]
    examples = " or ".join(f"{prefix}_…" for prefix in prefixes)
    raise InvalidURIFormat(f"{uri!r} is not an id of Stripe such as {examples}")


def id_of(resource: Resource, *prefixes: str) -> str:
    """The id that Stripe gave its record."""
    try:
        return to_id(str(resource.get("id")), *prefixes)
    except InvalidURIFormat as error:
        raise Lost("Stripe's answer does not say which record it is about") from error


def metadata_of(resource: Resource) -> dict[str, str]:
    """What whoever made a resource wrote on it."""
    told = resource.get("metadata")
    return {name: value for name, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}
