"""What the API promises of each resource, field by field, to check a server's answers from outside.

Written from the API reference of 2014, not from our serializers: a field that those forget or rename
must show. Answers may have more fields than these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Check = Callable[[Any], bool]
Fields = Mapping[str, Check]


def text(value: Any) -> bool:
    """A string that is not empty."""
    return isinstance(value, str) and value != ""


def number(value: Any) -> bool:
    """A whole number; JSON's true is none, though Python's is."""
    return isinstance(value, int) and not isinstance(value, bool)


def truth(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def instant(value: Any) -> bool:
    """An ISO 8601 instant in UTC, with its offset."""
    try:
        return isinstance(value, str) and value.endswith("+00:00") and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def optional(check: Check) -> Check:
    """Null, or what ``check`` wants."""
    return lambda value: value is None or check(value)


def one_of(*values: str) -> Check:
    """One of some words."""
    return lambda value: value in values


def list_of(fields: Fields) -> Check:
    """A list of objects with these fields."""
    return lambda value: isinstance(value, list) and not any(mistakes(item, fields) for item in value)


def page_of(fields: Fields) -> Fields:
    """One page of a list."""
    return {"items": list_of(fields), "offset": number, "limit": number}


def mistakes(answer: Any, fields: Fields) -> list[str]:
    """What is wrong with an answer, a phrase for each field; empty if nothing is."""
    if not isinstance(answer, dict):
        return [f"an object was expected, not {answer!r}"]
    missing = [f"{name} is missing" for name in fields if name not in answer]
    return missing + [
        f"{name} is {answer[name]!r}" for name, check in fields.items() if name in answer and not check(answer[name])
    ]


_STAMPS: Fields = {"guid": text, "created_at": instant, "updated_at": instant}

SERVER: Fields = {"server": text, "version": text, "revision": optional(text)}

COMPANY: Fields = {**_STAMPS, "api_key": text, "processor": text}

CUSTOMER: Fields = {**_STAMPS, "company_guid": text, "processor_uri": optional(text), "deleted": truth}

PLAN: Fields = {
    **_STAMPS,
    "company_guid": text,
    "plan_type": one_of("debit", "credit"),
    "frequency": one_of("daily", "weekly", "monthly", "yearly"),
    "interval": number,
    "amount": number,
    "deleted": truth,
}

SUBSCRIPTION: Fields = {
    **_STAMPS,
    "customer_guid": text,
    "plan_guid": text,
    "amount": optional(number),
    "effective_amount": number,
    "funding_instrument_uri": optional(text),
    "appears_on_statement_as": optional(text),
    "invoice_count": number,
    "canceled": truth,
    "canceled_at": optional(instant),
    "started_at": instant,
    "next_invoice_at": instant,
}

ITEM: Fields = {
    "name": text,
    "amount": number,
    "type": optional(text),
    "quantity": optional(number),
    "volume": optional(number),
    "unit": optional(text),
}

ADJUSTMENT: Fields = {"amount": number, "reason": optional(text)}

INVOICE: Fields = {
    **_STAMPS,
    "invoice_type": one_of("subscription", "customer"),
    "transaction_type": one_of("debit", "credit"),
    "status": one_of("staged", "processing", "settled", "canceled", "failed"),
    "customer_guid": text,
    "amount": number,
    "total_adjustment_amount": number,
    "effective_amount": number,
    "title": optional(text),
    "appears_on_statement_as": optional(text),
    "funding_instrument_uri": optional(text),
    "items": list_of(ITEM),
    "adjustments": list_of(ADJUSTMENT),
}
"""Of either type."""

CUSTOMER_INVOICE: Fields = {**INVOICE, "invoice_type": one_of("customer"), "external_id": optional(text)}

SUBSCRIPTION_INVOICE: Fields = {
    **INVOICE,
    "invoice_type": one_of("subscription"),
    "subscription_guid": text,
    "scheduled_at": instant,
}

FAILURE: Fields = {
    "guid": text,
    "error_message": optional(text),
    "error_number": optional(number),
    "error_code": optional(text),
    "created_at": instant,
}

TRANSACTION: Fields = {
    **_STAMPS,
    "invoice_guid": text,
    "transaction_type": one_of("debit", "credit", "refund"),
    "submit_status": one_of("staged", "retrying", "done", "failed", "canceled"),
    "status": optional(one_of("pending", "succeeded", "failed")),
    "amount": number,
    "funding_instrument_uri": optional(text),
    "processor_uri": optional(text),
    "appears_on_statement_as": optional(text),
    "failure_count": number,
    "failures": list_of(FAILURE),
}

ERROR: Fields = {"error_class": text, "error_message": text}

CALLBACK: Fields = {"code": one_of("ok", "ignore")}
