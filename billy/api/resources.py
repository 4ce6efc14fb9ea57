"""What we emit: the fields of each resource, their types and what they mean.

This is the one description of an answer. ``serializers`` writes dicts of these types, so the type checker
refuses one that forgets a field or has one too many, and ``openapi`` prints them as the document. They cost
nothing at run time: no answer is built or checked through them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, Field, WithJsonSchema, with_config

# Python 3.11's own TypedDict does not keep what pydantic needs to know.
from typing_extensions import TypedDict

from billy import guid, models
from billy.models import (
    Frequency,
    InvoiceStatus,
    InvoiceType,
    PlanType,
    SubmitStatus,
    TransactionStatus,
    TransactionType,
)

T = TypeVar("T")

Instant = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time", "pattern": r"\+00:00$"})]
Guid = Annotated[str, Field(pattern=f"^{guid.PATTERN}$")]
Cents = Annotated[int, Field(description="In cents.")]
ChargeType = Annotated[TransactionType, WithJsonSchema({"enum": [TransactionType.DEBIT, TransactionType.CREDIT]})]

_documented = with_config(ConfigDict(use_attribute_docstrings=True))


@_documented
class Company(TypedDict):
    """A tenant: whoever has its key sees and changes what belongs to it, and nothing else."""

    guid: Guid
    name: str | None
    api_key: str
    """The key of this very request; on registration the new one. No other is known in clear."""
    processor: str
    """The payment processor that moves its money: a name that this server knows."""
    callback_key: NotRequired[str]
    """The secret in the address that the processor calls, where the server is set up to show it."""
    created_at: Instant
    updated_at: Instant


@_documented
class Customer(TypedDict):
    """Who is charged, or paid."""

    guid: Guid
    company_guid: Guid
    processor_uri: str | None
    """The processor's record of the customer; null while the processor could not be asked to make one."""
    external_id: str | None
    """The company's own id."""
    deleted: bool
    created_at: Instant
    updated_at: Instant


@_documented
class Plan(TypedDict):
    """How much, how often, and in which direction."""

    guid: Guid
    company_guid: Guid
    plan_type: PlanType
    frequency: Frequency
    interval: int
    """Every how many days, weeks, months or years."""
    amount: Cents
    name: str | None
    description: str | None
    external_id: str | None
    """The company's own id."""
    deleted: bool
    """Nobody can subscribe to it any more."""
    created_at: Instant
    updated_at: Instant


@_documented
class Subscription(TypedDict):
    """A customer on a plan."""

    guid: Guid
    customer_guid: Guid
    plan_guid: Guid
    amount: int | None
    """Cents a period instead of the plan's amount."""
    effective_amount: int
    """Cents a period: ``amount``, or else the plan's."""
    funding_instrument_uri: str | None
    """Charged for each invoice; without one, invoices wait for an instrument of their own."""
    appears_on_statement_as: str | None
    external_id: str | None
    """The company's own id."""
    invoice_count: int
    """Invoices filed so far."""
    canceled: bool
    canceled_at: Instant | None
    started_at: Instant
    """Every due date is computed from it."""
    next_invoice_at: Instant
    """When the next invoice is due; keeps its value after a cancel."""
    created_at: Instant
    updated_at: Instant


@_documented
class InvoiceItem(TypedDict):
    """What was sold; it does not change what is due."""

    name: str
    amount: Cents
    type: str | None
    quantity: int | None
    volume: int | None
    unit: str | None


@_documented
class InvoiceAdjustment(TypedDict):
    """A discount (negative) or a fee."""

    amount: Cents
    reason: str | None


@_documented
class InvoiceFields(TypedDict):
    """What both kinds of invoices have."""

    guid: Guid
    transaction_type: ChargeType
    """``debit``: the customer owes it. ``credit``: he is owed it."""
    status: InvoiceStatus
    customer_guid: Guid
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
    items: list[InvoiceItem]
    adjustments: list[InvoiceAdjustment]
    created_at: Instant
    updated_at: Instant


@_documented
class CustomerInvoice(InvoiceFields):
    """An invoice that was made with ``POST /v1/invoices``."""

    invoice_type: Literal[InvoiceType.CUSTOMER]
    external_id: str | None
    """The company's own id for the order; unique for a customer."""


@_documented
class SubscriptionInvoice(InvoiceFields):
    """An invoice that was filed for a period of a subscription."""

    invoice_type: Literal[InvoiceType.SUBSCRIPTION]
    subscription_guid: Guid
    scheduled_at: Instant
    """The start of the period that it is for."""


Invoice = Annotated[CustomerInvoice | SubscriptionInvoice, Field(discriminator="invoice_type")]


@_documented
class TransactionFailure(TypedDict):
    """Why a submission did not succeed."""

    guid: Guid
    error_message: str | None
    error_number: int | None
    error_code: str | None
    """The processor's own word."""
    count: int
    """How often in a row."""
    created_at: Instant


@_documented
class Transaction(TypedDict):
    """One movement of money, and how far its submission to the processor got."""

    guid: Guid
    invoice_guid: Guid
    transaction_type: TransactionType
    submit_status: SubmitStatus
    """How far Billy got with submitting it."""
    status: TransactionStatus | None
    """What the processor says of it; null before it has a record."""
    amount: Cents
    funding_instrument_uri: str | None
    processor_uri: str | None
    """The processor's record of it."""
    appears_on_statement_as: str | None
    failure_count: int
    failures: list[TransactionFailure]
    """Oldest first."""
    created_at: Instant
    updated_at: Instant


@_documented
class Page(TypedDict, Generic[T]):
    """One page of a list."""

    items: list[T]
    offset: int
    """As it was applied; 0 after ``after``."""
    limit: int
    """As it was applied: page by what stands here, it may be less than what was asked for."""
    next: str | None
    """The address of the next page, without the host, with the same filters; null at the end."""
    total: NotRequired[int]
    """How many there are, with ``count=true``."""


@_documented
class Server(TypedDict):
    """Which server this is."""

    server: str
    powered_by: str
    version: str
    revision: str | None
    last_transaction_created_at: Instant | None
    """Of the company that calls; null without a key."""


@_documented
class SchemaRevisions(TypedDict):
    """Revisions of the database's schema: what it has, and what this server needs."""

    current: str | None
    head: str


@_documented
class LastRun(TypedDict):
    """The last run of the scheduler."""

    guid: Guid
    started_at: Instant
    finished_at: Instant | None


@_documented
class Health(TypedDict):
    """Whether the server can do its work."""

    status: Literal["ok", "schema_outdated", "unavailable"]
    database: Literal["ok", "unavailable"]
    schema: SchemaRevisions
    last_run: LastRun | None


@_documented
class Callback(TypedDict):
    """What became of an event."""

    code: Literal["ok", "ignore"]
    """``ignore`` for a repeat, and for what does not concern Billy."""


@_documented
class Error(TypedDict):
    """What went wrong; the body of every answer of 400 and above."""

    error_class: str
    """For programs."""
    error_message: str
    """For people."""
    errors: NotRequired[dict[str, list[str]]]
    """Of a ``ValidationError``: what is wrong with each parameter, spelled as the caller spelled it."""
    request_id: str
    """Under which the server's log has it; also in the header ``X-Request-Id``."""


OF_MODEL: dict[type, Any] = {
    models.Company: Company,
    models.Customer: Customer,
    models.Plan: Plan,
    models.Subscription: Subscription,
    models.Invoice: Invoice,
    models.Transaction: Transaction,
}
"""How a view's records are shown."""

OTHERS: tuple[Any, ...] = (Server, Health, Callback, Error)
"""What is shown besides."""
