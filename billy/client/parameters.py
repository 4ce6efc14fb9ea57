"""What is sent: the filters of lists, the lines of an invoice, and how values are written.

A filter's ``created_at__gte`` is the API's ``created_at[gte]``. An instant may be an aware ``datetime`` or ISO 8601
text; a naive ``datetime`` is refused, because the server would take it for UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, NotRequired, TypedDict
from urllib.parse import quote

from billy.client.records import (
    Frequency,
    InvoiceStatus,
    InvoiceType,
    PlanType,
    SubmitStatus,
    TransactionStatus,
    TransactionType,
)

Instant = datetime | str


class _Keep(Enum):
    KEEP = "keep"


KEEP: Final = _Keep.KEEP
"""Leave it as it is, where None means something else."""
Keep = Literal[_Keep.KEEP]


class Item(TypedDict):
    """What was sold; it does not change what is due. ``amount`` is in cents."""

    name: str
    amount: int
    type: NotRequired[str | None]
    quantity: NotRequired[int | None]
    volume: NotRequired[int | None]
    unit: NotRequired[str | None]


class Adjustment(TypedDict):
    """A discount (negative) or a fee, in cents."""

    amount: int
    reason: NotRequired[str | None]


class ListFilters(TypedDict, total=False):
    """Of any list. ``limit`` is the size of a page, 20 if it is left out: iterating goes through all of them."""

    limit: int
    offset: int
    after: str
    created_at__gte: Instant
    created_at__gt: Instant
    created_at__lte: Instant
    created_at__lt: Instant


class PlanFilters(ListFilters, total=False):
    """Of plans."""

    external_id: str
    plan_type: PlanType
    frequency: Frequency
    deleted: bool


class CustomerFilters(ListFilters, total=False):
    """Of customers."""

    external_id: str
    processor_uri: str
    deleted: bool


class SubscriptionFilters(ListFilters, total=False):
    """Of subscriptions."""

    external_id: str
    customer_guid: str
    plan_guid: str
    canceled: bool
    next_invoice_at__gte: Instant
    next_invoice_at__gt: Instant
    next_invoice_at__lte: Instant
    next_invoice_at__lt: Instant


class InvoiceFilters(ListFilters, total=False):
    """Of invoices; by period (``scheduled_at``) only those of subscriptions."""

    external_id: str
    invoice_type: InvoiceType
    transaction_type: TransactionType
    status: InvoiceStatus
    overpaid: bool
    customer_guid: str
    subscription_guid: str
    plan_guid: str
    scheduled_at__gte: Instant
    scheduled_at__gt: Instant
    scheduled_at__lte: Instant
    scheduled_at__lt: Instant


class TransactionFilters(ListFilters, total=False):
    """Of transactions."""

    transaction_type: TransactionType
    submit_status: SubmitStatus
    status: TransactionStatus
    processor_uri: str
    invoice_guid: str
    customer_guid: str
    subscription_guid: str
    plan_guid: str


_RANGE = re.compile(r"__(gte|gt|lte|lt)\Z")
_GUID = re.compile(r"[A-Za-z0-9]+\Z")


def query_of(filters: Mapping[str, Any], known: Any) -> dict[str, str]:
    """A query string's parameters; TypeError for a name that the list does not have.

    The server ignores a parameter that it does not know, and a filter that is ignored answers too much.
    """
    for name in filters:
        if name not in known.__annotations__:
            raise TypeError(f"There is no filter {name!r}, only {', '.join(known.__annotations__)}")
    return {
        _RANGE.sub(r"[\1]", name): _text(name, value)
        for name, value in filters.items()
        if value is not None  # as if it were left out, like everywhere
    }


def body_of(values: Mapping[str, Any]) -> bytes:
    """A JSON body without what is left out: None, and ``KEEP`` where None is a value of its own."""
    return json.dumps(values, default=_written, allow_nan=False).encode()


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def changed(**values: Any) -> dict[str, Any]:
    """Those that are not ``KEEP``; None is a value."""
    return {name: value for name, value in values.items() if value is not KEEP}


def in_path(guid: str) -> str:
    """A guid as a part of a path; ValueError for what is none: an empty one would name the list."""
    if _GUID.match(guid) is None:
        raise ValueError(f"Not a guid: {guid!r}")
    return guid


def secret_in_path(secret: str) -> str:
    """A callback's key as a part of a path."""
    if not secret.strip("."):
        raise ValueError("Not a callback key")
    return quote(secret, safe="")


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _written(value, name) if isinstance(value, datetime) else str(value)


def _written(value: Any, name: str = "An instant") -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} cannot be sent: {value!r}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must know its time zone: {value!r}")
    return value.isoformat()
