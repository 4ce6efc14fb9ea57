"""What we emit: one dict a resource, written by hand.

``resources`` has the types of these dicts, so the type checker misses no field and lets none in. Nothing is
shown because the table happens to have a column for it. Instants stay datetimes: orjson writes them as
isoformat() would, ``2014-02-08T08:22:10.629000+00:00``, with no fraction where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pyramid.config import Configurator
from pyramid.response import Response

from billy.api import resources
from billy.api.pagination import Page
from billy.api.request import Request
from billy.models import Company, Customer, Invoice, InvoiceType, Plan, Subscription, Transaction, TransactionFailure
from billy.models.plain import model_of
from billy.settings import Settings

CONTENT_TYPE = "application/json; charset=UTF-8"


def company(record: Company, request: Request) -> resources.Company:
    """With the key that the caller presented, or has just been given: no other is known in clear."""
    fields: resources.Company = {
        "guid": record.guid,
        "name": record.name,
        "api_key": request.api_key,
        "processor": record.processor or request.registry["billy.processors"].names[0],
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }
    settings: Settings = request.registry["billy.settings"]
    if settings.display_callback_key:
        fields["callback_key"] = request.registry["billy.vault"].open(record.sealed_callback_key)
    return fields


def customer(record: Customer, request: Request) -> resources.Customer:
    """A customer."""
    return {
        "guid": record.guid,
        "company_guid": record.company_guid,
        "processor_uri": record.processor_uri,
        "external_id": record.external_id,
        "deleted": record.deleted,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def plan(record: Plan, request: Request) -> resources.Plan:
    """A plan."""
    return {
        "guid": record.guid,
        "company_guid": record.company_guid,
        "plan_type": record.plan_type,
        "frequency": record.frequency,
        "interval": record.interval,
        "amount": record.amount,
        "name": record.name,
        "description": record.description,
        "external_id": record.external_id,
        "deleted": record.deleted,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def subscription(record: Subscription, request: Request) -> resources.Subscription:
    """A subscription."""
    return {
        "guid": record.guid,
        "customer_guid": record.customer_guid,
        "plan_guid": record.plan_guid,
        "amount": record.amount,
        "effective_amount": record.effective_amount,
        "funding_instrument_uri": record.funding_instrument_uri,
        "appears_on_statement_as": record.appears_on_statement_as,
        "external_id": record.external_id,
        "invoice_count": record.invoice_count,
        "canceled": record.canceled,
        "canceled_at": record.canceled_at,
        "started_at": record.started_at,
        "next_invoice_at": record.next_invoice_at,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def invoice(record: Invoice, request: Request) -> resources.CustomerInvoice | resources.SubscriptionInvoice:
    """An invoice; the last fields depend on what it was filed for."""
    fields: resources.InvoiceFields = {
        "guid": record.guid,
        "transaction_type": record.transaction_type,
        "status": record.status,
        "customer_guid": record.customer_guid,
        "amount": record.amount,
        "total_adjustment_amount": record.total_adjustment_amount,
        "effective_amount": record.effective_amount,
        "overpaid": record.overpaid,
        "title": record.title,
        "appears_on_statement_as": record.appears_on_statement_as,
        "funding_instrument_uri": record.funding_instrument_uri,
        "items": record.items,  # type: ignore[typeddict-item]  # a document in the database
        "adjustments": record.adjustments,  # type: ignore[typeddict-item]  # likewise
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }
    if record.subscription_guid is None or record.scheduled_at is None:  # a CHECK has it that both are
        return {**fields, "invoice_type": InvoiceType.CUSTOMER, "external_id": record.external_id}
    return {
        **fields,
        "invoice_type": InvoiceType.SUBSCRIPTION,
        "subscription_guid": record.subscription_guid,
        "scheduled_at": record.scheduled_at,
    }


def transaction(record: Transaction, request: Request) -> resources.Transaction:
    """A transaction and its failures, oldest first."""
    return {
        "guid": record.guid,
        "invoice_guid": record.invoice_guid,
        "transaction_type": record.transaction_type,
        "submit_status": record.submit_status,
        "status": record.status,
        "amount": record.amount,
        "funding_instrument_uri": record.funding_instrument_uri,
        "processor_uri": record.processor_uri,
        "appears_on_statement_as": record.appears_on_statement_as,
        "failure_count": record.failure_count,
        "failures": [failure(one, request) for one in record.failures],
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def failure(record: TransactionFailure, request: Request) -> resources.TransactionFailure:
    """Why a submission did not succeed; ``count`` is how often in a row."""
    return {
        "guid": record.guid,
        "error_message": record.error_message,
        "error_number": record.error_number,
        "error_code": record.error_code,
        "count": record.count,
        "created_at": record.created_at,
    }


def page(value: Page[Any], request: Request) -> resources.Page[Any]:
    """A page of a list."""
    items = [serialize(item, request) for item in value.items]
    fields: resources.Page[Any] = {"items": items, "offset": value.offset, "limit": value.limit, "next": value.next}
    if value.total is not None:
        fields["total"] = value.total
    return fields


SERIALIZERS: Mapping[type, Callable[[Any, Request], Mapping[str, Any]]] = {
    Company: company,
    Customer: customer,
    Plan: plan,
    Subscription: subscription,
    Invoice: invoice,
    Transaction: transaction,
}


def serialize(value: Any, request: Request) -> Any:
    """A record or a page of them as plain values; plain values as they are."""
    if isinstance(value, Page):
        return page(value, request)
    serializer = SERIALIZERS.get(model_of(value))
    return value if serializer is None else serializer(value, request)


def write_json(response: Response, value: Any, request: Request) -> Response:
    """Make ``value`` the JSON body of a response."""
    settings: Settings = request.registry["billy.settings"]
    pretty = orjson.OPT_INDENT_2 if settings.pretty_print else 0
    response.headers["Content-Type"] = CONTENT_TYPE
    response.body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | pretty)
    return response


def _renderer(info: Any) -> Callable[[Any, Mapping[str, Any]], bytes]:
    def render(value: Any, system: Mapping[str, Any]) -> bytes:
        request = system["request"]
        body: bytes = write_json(request.response, serialize(value, request), request).body
        return body

    return render


def includeme(config: Configurator) -> None:
    """The renderer of every view."""
    config.add_renderer("resource", _renderer)
