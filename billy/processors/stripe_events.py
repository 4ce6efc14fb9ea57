"""Stripe's events: which are heard, whether one is Stripe's, and what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from billy import clock
from billy.errors import InvalidCallbackPayload
from billy.processors.answers import Lost, json_of
from billy.processors.stripe_wire import Resource, stripe

EVENTS = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
"""What a company's webhook is called for."""

TOLERANCE = timedelta(seconds=300)
"""The age of a signature beyond which a callback may be a recording."""

_EVENT_ID = re.compile(r"evt_[0-9A-Za-z_]{1,120}\Z")


def read_event(body: bytes) -> tuple[str, Resource]:
    """The id of a callback's event, and all that it says; InvalidCallbackPayload if it is none."""
    told = json_of(body) or {}
    event_id = told.get("id")
    if not isinstance(event_id, str) or _EVENT_ID.match(event_id) is None:
        raise InvalidCallbackPayload('A callback of Stripe is an event, {"id": "evt_…"}')
    return event_id, told


def check_signature(body: bytes, headers: Mapping[str, str], secret: str) -> None:
    """InvalidCallbackPayload unless a callback is signed with ``secret``, and not long ago."""
    header = next((value for name, value in headers.items() if name.lower() == "stripe-signature"), "")
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
        signed_at = datetime.fromtimestamp(int(dict(_pairs(header))["t"]), UTC)
    except (stripe.SignatureVerificationError, ValueError, KeyError, OverflowError, OSError) as error:
        raise InvalidCallbackPayload("The callback is not signed by Stripe for this company") from error
    if abs(clock.utc_now() - signed_at) > TOLERANCE:
        raise InvalidCallbackPayload("The callback was signed too long ago, or will be")


def _pairs(header: str) -> Iterator[tuple[str, str]]:
    for part in header.split(","):
        name, _, value = part.partition("=")
        yield name.strip(), value


def subject_of(event: Resource) -> Resource:
    """The object that an event is about, as it stood then."""
    data = event.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    return subject if isinstance(subject, dict) and event.get("type") in EVENTS else {}


def instant_of(event: Resource) -> datetime:
    """When it happened."""
    value = event.get("created")
    if not isinstance(value, int):
        raise Lost("Stripe's event does not say when it occurred")
    return datetime.fromtimestamp(value, UTC)
