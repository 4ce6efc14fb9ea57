"""What Billy answers, as frozen records: the same fields as the API's document has, by the same names.

Money is a whole number of cents, an instant an aware ``datetime`` in UTC. A field that this client does not know
yet is left out, and so a newer server breaks nobody. ``tests/client/test_document.py`` compares every field and its
type with the document.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Generic, Literal, TypeVar, cast

from billy.client.errors import UnexpectedAnswer

T = TypeVar("T")

PlanType = Literal["debit", "credit"]
Frequency = Literal["daily", "weekly", "monthly", "yearly"]
ChargeType = Literal["debit", "credit"]
TransactionType = Literal["debit", "credit", "refund"]
InvoiceType = Literal["subscription", "customer"]
InvoiceStatus = Literal["staged", "processing", "settled", "canceled", "failed"]
SubmitStatus = Literal["staged", "retrying", "done", "failed", "canceled"]
TransactionStatus = Literal["pending", "succeeded", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """A tenant: whoever has its key sees and changes what belongs to it, and nothing else."""

    guid: str
    name: str | None
    api_key: str = field(repr=False)
    """The key of the request; on registration the new one, which is shown this once."""
    processor: str
    """The payment processor that moves its money."""
    callback_key: str | None = field(default=None, repr=False)
    """The secret in the address that the processor calls, where the server is set up to show it."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """Who is charged, or paid."""

    guid: str
    company_guid: str
    processor_uri: str | None
    """The processor's record of the customer; None while the processor could not be asked to make one."""
    external_id: str | None
    """Your own id."""
    deleted: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much, how often, and in which direction."""

    guid: str
    company_guid: str
    plan_type: PlanType
    frequency: Frequency
    interval: int
    """Every how many days, weeks, months or years."""
    amount: int
    """Cents a period."""
    name: str | None
    description: str | None
    external_id: str | None
    """Your own id."""
    deleted: bool
    """Nobody can subscribe to it any more."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """A customer on a plan."""

    guid: str
    customer_guid: str
    plan_guid: str
    amount: int | None
    """Cents a period instead of the plan's amount."""
    effective_amount: int
    """Cents a period: ``amount``, or else the plan's."""
    funding_instrument_uri: str | None
    """Charged for each invoice; without one, invoices wait for an instrument of their own."""
    appears_on_statement_as: str | None
    external_id: str | None
    """Your own id."""
    invoice_count: int
    """Invoices filed so far."""
    canceled: bool
    canceled_at: datetime | None
    started_at: datetime
    """Every due date is computed from it."""
    next_invoice_at: datetime
    """When the next invoice is due; keeps its value after a cancel."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceItem:
    """What was sold; it does not change what is due."""

    name: str
    amount: int
    """Cents."""
    type: str | None
    quantity: int | None
    volume: int | None
    unit: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceAdjustment:
    """A discount (negative) or a fee."""

    amount: int
    """Cents."""
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice:
    """An invoice of either kind: ``CustomerInvoice`` or ``SubscriptionInvoice``."""

    guid: str
    invoice_type: InvoiceType
    transaction_type: ChargeType
    """``debit``: the customer owes it. ``credit``: he is owed it."""
    status: InvoiceStatus
    customer_guid: str
    amount: int
    """Cents before adjustments."""
    total_adjustment_amount: int
    """Cents: the sum of ``adjustments``."""
    effective_amount: int
    """Cents that are due, adjustments included."""
    overpaid: bool
    """More was charged, and not given back, than was owed: refund it."""
    title: str | None
    appears_on_statement_as: str | None
    funding_instrument_uri: str | None
    """What it is charged to; without one it waits."""
    items: tuple[InvoiceItem, ...]
    adjustments: tuple[InvoiceAdjustment, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomerInvoice(Invoice):
    """An invoice that ``invoices.create`` made."""

    invoice_type: Literal["customer"]
    external_id: str | None
    """Your own id for the order; unique for a customer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionInvoice(Invoice):
    """An invoice that was filed for a period of a subscription."""

    invoice_type: Literal["subscription"]
    subscription_guid: str
    scheduled_at: datetime
    """The start of the period that it is for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransactionFailure:
    """Why a submission did not succeed."""

    guid: str
    error_message: str | None
    error_number: int | None
    error_code: str | None
    """The processor's own word."""
    count: int
    """How often in a row."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """One movement of money, and how far its submission to the processor got."""

    guid: str
    invoice_guid: str
    transaction_type: TransactionType
    submit_status: SubmitStatus
    """How far Billy got with submitting it."""
    status: TransactionStatus | None
    """What the processor says of it; None before it has a record."""
    amount: int
    """Cents."""
    funding_instrument_uri: str | None
    processor_uri: str | None
    """The processor's record of it."""
    appears_on_statement_as: str | None
    failure_count: int
    failures: tuple[TransactionFailure, ...]
    """Oldest first."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    offset: int
    """As it was applied; 0 after ``after``."""
    limit: int
    """As it was applied."""
    next: str | None
    """Where the next page is; None at the end."""
    total: int | None = None
    """How many there are, if they were counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Which server this is."""

    server: str
    powered_by: str
    version: str
    revision: str | None
    last_transaction_created_at: datetime | None
    """Of the company that calls; None without a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaRevisions:
    """Revisions of the database's schema: what it has, and what the server needs."""

    current: str | None
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRun:
    """The last run of the scheduler."""

    guid: str
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether the server can do its work."""

    status: Literal["ok", "schema_outdated", "unavailable"]
    database: Literal["ok", "unavailable"]
    schema: SchemaRevisions
    last_run: LastRun | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """What became of an event: ``ignore`` for a repeat, and for what does not concern Billy."""

    code: Literal["ok", "ignore"]


_INVOICES: dict[Any, type[Invoice]] = {"customer": CustomerInvoice, "subscription": SubscriptionInvoice}


def read(kind: type[T], body: Any, **details: Any) -> T:
    """A record of JSON; UnexpectedAnswer, with these details, if that is none."""
    try:
        return cast(T, _read(kind, body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else "a field is of another type"
        raise UnexpectedAnswer(f"The answer is no {kind.__name__}: {told}", **details) from None


def read_page(kind: type[T], body: Any, **details: Any) -> Page[T]:
    """A page of them."""
    page: Page[Any] = read(Page, body, **details)
    return dataclasses.replace(page, items=tuple(read(kind, item, **details) for item in page.items))


def _read(kind: Any, value: Any) -> Any:
    if kind is Invoice:
        kind = _INVOICES.get(value["invoice_type"], Invoice)
    if dataclasses.is_dataclass(kind):
        return _read_record(kind, value)
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _read(arguments[0], value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if origin is Literal:
        kind = str  # a word may be newer than we are
    if kind in (str, int, bool) and type(value) is not kind:
        raise TypeError
    return value


def _read_record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    values = {}
    for each in dataclasses.fields(kind):
        if each.name in value or each.default is dataclasses.MISSING:
            values[each.name] = _read(hints[each.name], value[each.name])
    return kind(**values)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
