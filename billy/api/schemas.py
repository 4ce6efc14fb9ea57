"""What we accept: one schema a request. The same one reads forms and JSON; ``fields`` has the types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from billy.api.fields import (
    Amount,
    Count,
    CustomerGuid,
    Description,
    ExternalID,
    Flag,
    FrequencyChoice,
    GuidFilter,
    Interval,
    InvoiceStatusChoice,
    InvoiceTypeChoice,
    ItemName,
    Limit,
    Moment,
    Name,
    Offset,
    PeriodicAmount,
    PlanGuid,
    PlanTypeChoice,
    ProcessorKey,
    RefundAmount,
    SignedAmount,
    Start,
    Statement,
    SubmitStatusChoice,
    Surroundings,
    TransactionStatusChoice,
    TransactionTypeChoice,
    Unit,
    Uri,
    UriFilter,
    text_of,
)
from billy.api.parameters import SPELLINGS, Parameters
from billy.errors import ValidationError
from billy.models.base import MAXIMUM_AMOUNT
from billy.models.schedule import LONGEST_INTERVAL

MOST_LINES = 1000
"""Items, and adjustments, of an invoice."""


class Schema(BaseModel):
    """A request's parameters. An empty text is the same as an absent one, and so is a null."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, use_attribute_docstrings=True)

    numbered: ClassVar[Mapping[str, type[Schema]]] = {}
    """Lists that a form spells ``item_name1``, by their singular."""
    nullable: ClassVar[frozenset[str]] = frozenset()
    """Parameters for which a null of JSON means something."""
    keeps_empty: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, values: Any) -> Any:
        if cls.keeps_empty or not isinstance(values, dict):
            return values
        return {
            name: value for name, value in values.items() if value != "" and (value is not None or name in cls.nullable)
        }


S = TypeVar("S", bound=Schema)


def validate(schema: type[S], parameters: Parameters, surroundings: Surroundings) -> S:
    """The checked parameters; ValidationError names every wrong one."""
    errors = parameters.errors
    try:
        checked = schema.model_validate(parameters.values, context=surroundings)
    except pydantic.ValidationError as error:
        for mistake in error.errors(include_url=False, include_input=False):
            errors.setdefault(parameters.name(mistake["loc"]), []).append(text_of(mistake))
    if errors:
        raise ValidationError(errors)
    return checked


# -- bodies ------------------------------------------------------------------------------------------


class CompanyCreate(Schema):
    """POST /v1/companies"""

    processor_key: ProcessorKey
    """The company's key to the payment processor. It is stored encrypted, and never shown."""
    processor: Name | None = None
    """Which of the processors that this server knows, such as stripe; the server's default without it."""
    name: Name | None = None


class CustomerCreate(Schema):
    """POST /v1/customers"""

    processor_uri: Uri | None = None
    """The processor's record of the customer, if it has one already; otherwise it makes one."""
    external_id: ExternalID | None = None
    """Your own id; no two customers have the same."""


class PlanCreate(Schema):
    """POST /v1/plans"""

    plan_type: PlanTypeChoice
    """``debit`` takes the money from customers, ``credit`` pays it out to them."""
    frequency: FrequencyChoice
    amount: PeriodicAmount
    """Cents a period."""
    interval: Interval = 1
    """Every how many days, weeks, months or years; a century at most."""
    name: Name | None = None
    description: Description | None = None
    external_id: ExternalID | None = None
    """Your own id; no two plans have the same."""

    @field_validator("interval")
    @classmethod
    def _ends_within_a_century(cls, interval: int, info: ValidationInfo) -> int:
        longest = LONGEST_INTERVAL.get(info.data.get("frequency"), interval)  # type: ignore[arg-type]  # it may be wrong
        if interval > longest:
            raise PydanticKnownError("less_than_equal", {"le": longest})
        return interval


class SubscriptionCreate(Schema):
    """POST /v1/subscriptions"""

    customer_guid: CustomerGuid
    plan_guid: PlanGuid
    funding_instrument_uri: Uri | None = None
    """What each invoice is charged to; without one, invoices wait for an instrument of their own."""
    amount: PeriodicAmount | None = None
    """Cents a period instead of the plan's amount."""
    appears_on_statement_as: Statement | None = None
    """Printable ASCII, but no asterisk, comma or slash."""
    started_at: Start | None = None
    """When the first invoice is due; now, if it is left out. Not in the past, and at most 100 years ahead."""
    external_id: ExternalID | None = None
    """Your own id; no two subscriptions have the same."""


class SubscriptionChange(Schema):
    """PUT /v1/subscriptions/<guid>: what is absent stays as it is."""

    nullable = frozenset({"amount", "appears_on_statement_as"})

    funding_instrument_uri: Uri | None = None
    amount: PeriodicAmount | None = None
    """Cents a period; null for the plan's amount."""
    appears_on_statement_as: Statement | None = None
    """Null for none."""
    open_invoices: Flag = False
    """Charge what is unpaid to the instrument too."""

    @property
    def changes(self) -> dict[str, Any]:
        """The columns that were named, with their new values."""
        return self.model_dump(exclude_unset=True, exclude={"open_invoices"})


class SubscriptionCancel(Schema):
    """POST /v1/subscriptions/<guid>/cancel"""

    open_invoices: Flag = False
    """Cancel what is unpaid too."""


class Line(Schema):
    """One of a list; a field that it does not have is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Item(Line):
    """What was sold; it does not change what is due."""

    name: ItemName
    amount: SignedAmount
    """Cents."""
    type: Name | None = None
    quantity: Count | None = None
    volume: Count | None = None
    unit: Unit | None = None

    @model_validator(mode="before")
    @classmethod
    def _respell(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for spelled, name in SPELLINGS.items():
                if spelled in values and values.get(name) in (None, values[spelled]):
                    values = {**values, name: values[spelled]}
                    del values[spelled]
        return values


class Adjustment(Line):
    """A discount (negative) or a fee."""

    amount: SignedAmount
    """Cents, added to what is due."""
    reason: Name | None = None


class InvoiceCreate(Schema):
    """POST /v1/invoices"""

    numbered = {"item": Item, "adjustment": Adjustment}

    customer_guid: CustomerGuid
    amount: Amount
    """Cents before adjustments."""
    funding_instrument_uri: Uri | None = None
    """Charged at once; without one, the invoice waits."""
    title: Name | None = None
    external_id: ExternalID | None = None
    """Your own id for the order; no two invoices of a customer have the same."""
    appears_on_statement_as: Statement | None = None
    """Printable ASCII, but no asterisk, comma or slash."""
    items: Annotated[list[Item], Field(max_length=MOST_LINES)] = []
    """What was sold."""
    adjustments: Annotated[list[Adjustment], Field(max_length=MOST_LINES)] = []
    """They are added to the amount; with them it is at least 0."""

    @field_validator("adjustments")
    @classmethod
    def _leave_something_due(cls, adjustments: list[Adjustment], info: ValidationInfo) -> list[Adjustment]:
        if "amount" in info.data:
            effective = info.data["amount"] + sum(adjustment.amount for adjustment in adjustments)
            if not 0 <= effective <= MAXIMUM_AMOUNT:
                raise PydanticCustomError(
                    "effective_amount",
                    "The effective amount would be {effective}; it must be at least 0 and at most {most}",
                    {"effective": effective, "most": MAXIMUM_AMOUNT},
                )
        return adjustments


class InvoiceChange(Schema):
    """PUT /v1/invoices/<guid>"""

    funding_instrument_uri: Uri


class Refund(Schema):
    """POST /v1/invoices/<guid>/refund"""

    amount: RefundAmount
    """Cents; at most what was charged and not yet given back."""


# -- lists -------------------------------------------------------------------------------------------


_NO_FILTERS = {"offset", "limit", "after", "count"}


class ListQuery(Schema):
    """The query of any list: a page of it, and filters, all of which have to fit."""

    keeps_empty = True

    offset: Offset = 0
    """How many records to leave out. The deeper, the slower: ``after`` is not."""
    limit: Limit = 20
    """How many records to answer; more than 1000 is lowered to it, and the answer says so."""
    after: GuidFilter | None = None
    """Go on after this record of the list, as ``next`` of the page before has it."""
    count: Flag = False
    """Answer ``total`` too: how many records fit. They are counted one by one, so ask once and not with every page."""

    created_at_gte: Moment | None = Field(None, alias="created_at[gte]")
    """Created then or later. A list with a range of instants is ordered by that instant, the latest first."""
    created_at_gt: Moment | None = Field(None, alias="created_at[gt]")
    """Created later."""
    created_at_lte: Moment | None = Field(None, alias="created_at[lte]")
    """Created then or earlier."""
    created_at_lt: Moment | None = Field(None, alias="created_at[lt]")
    """Created earlier."""

    @property
    def filters(self) -> dict[str, Any]:
        """The values to match, by the name of the filter: ``status``, ``created_at[gte]``."""
        return self.model_dump(exclude_unset=True, by_alias=True, exclude=_NO_FILTERS)

    @property
    def filters_as_text(self) -> dict[str, Any]:
        """The same as one would write them."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude=_NO_FILTERS)

    @classmethod
    def refuses(cls, name: str) -> bool:
        """Whether a name is one of a filter, but not of this list: to ignore it would answer too much."""
        return name not in _names(cls) and ("[" in name or name in _filters_of_any())


class PlanQuery(ListQuery):
    """Plans."""

    external_id: ExternalID | None = None
    plan_type: PlanTypeChoice | None = None
    frequency: FrequencyChoice | None = None
    deleted: Flag | None = None


class CustomerQuery(ListQuery):
    """Customers."""

    external_id: ExternalID | None = None
    processor_uri: UriFilter | None = None
    deleted: Flag | None = None


class SubscriptionQuery(ListQuery):
    """Subscriptions."""

    external_id: ExternalID | None = None
    customer_guid: GuidFilter | None = None
    plan_guid: GuidFilter | None = None
    canceled: Flag | None = None
    next_invoice_at_gte: Moment | None = Field(None, alias="next_invoice_at[gte]")
    """The next invoice is due then or later."""
    next_invoice_at_gt: Moment | None = Field(None, alias="next_invoice_at[gt]")
    """… later."""
    next_invoice_at_lte: Moment | None = Field(None, alias="next_invoice_at[lte]")
    """… then or earlier."""
    next_invoice_at_lt: Moment | None = Field(None, alias="next_invoice_at[lt]")
    """… earlier."""


class InvoiceQuery(ListQuery):
    """Invoices."""

    external_id: ExternalID | None = None
    invoice_type: InvoiceTypeChoice | None = None
    transaction_type: TransactionTypeChoice | None = None
    status: InvoiceStatusChoice | None = None
    overpaid: Flag | None = None
    customer_guid: GuidFilter | None = None
    subscription_guid: GuidFilter | None = None
    """In the order of the periods, the latest first."""
    plan_guid: GuidFilter | None = None
    """In the order of the periods, the latest first."""
    scheduled_at_gte: Moment | None = Field(None, alias="scheduled_at[gte]")
    """For a period that starts then or later; invoices of subscriptions only."""
    scheduled_at_gt: Moment | None = Field(None, alias="scheduled_at[gt]")
    """… later."""
    scheduled_at_lte: Moment | None = Field(None, alias="scheduled_at[lte]")
    """… then or earlier."""
    scheduled_at_lt: Moment | None = Field(None, alias="scheduled_at[lt]")
    """… earlier."""


class TransactionQuery(ListQuery):
    """Transactions."""

    transaction_type: TransactionTypeChoice | None = None
    submit_status: SubmitStatusChoice | None = None
    status: TransactionStatusChoice | None = None
    processor_uri: UriFilter | None = None
    invoice_guid: GuidFilter | None = None
    customer_guid: GuidFilter | None = None
    subscription_guid: GuidFilter | None = None
    plan_guid: GuidFilter | None = None


@cache
def _names(schema: type[Schema]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in schema.model_fields.items())


@cache
def _filters_of_any() -> frozenset[str]:
    return frozenset().union(*map(_names, ListQuery.__subclasses__()))
