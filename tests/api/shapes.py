"""What the API reference says of each resource: its fields, all of them, and the type of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
Fields = Mapping[str, Check]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00")


def mistakes(fields: Fields, record: Mapping[str, Any]) -> dict[str, Any]:
    """What is missing, of another type, or not in the reference, with what stands there instead."""
    wrong = {name: record.get(name, "missing") for name, check in fields.items() if not check(record.get(name, ...))}
    return wrong | {name: value for name, value in record.items() if name not in fields}


def page_mistakes(fields: Fields, page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same for a list, whose envelope is checked too."""
    return [found for found in (mistakes(PAGE, page), *(mistakes(fields, item) for item in page["items"])) if found]


def exactly(kind: type) -> Check:
    """Of this type, and no subclass: True is no integer."""
    return lambda value: type(value) is kind


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def one_of(*choices: str) -> Check:
    return lambda value: value in choices


def guid(prefix: str) -> Check:
    pattern = re.compile(prefix + "[1-9A-HJ-NP-Za-km-z]{22}")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def instant(value: Any) -> bool:
    return isinstance(value, str) and _INSTANT.fullmatch(value) is not None


def list_of(fields: Fields) -> Check:
    return lambda value: type(value) is list and not any(mistakes(fields, each) for each in value)


text, integer, flag = exactly(str), exactly(int), exactly(bool)

PAGE: Fields = {"items": exactly(list), "offset": integer, "limit": integer}

COMPANY: Fields = {
    "guid": guid("CP"),
    "name": or_null(text),
    "api_key": text,
    "created_at": instant,
    "updated_at": instant,
}

CUSTOMER: Fields = {
    "guid": guid("CU"),
    "company_guid": guid("CP"),
    "processor_uri": or_null(text),
    "external_id": or_null(text),
    "deleted": flag,
    "created_at": instant,
    "updated_at": instant,
}

PLAN: Fields = {
    "guid": guid("PL"),
    "company_guid": guid("CP"),
    "plan_type": one_of("debit", "credit"),
    "frequency": one_of("daily", "weekly", "monthly", "yearly"),
    "amount": integer,
    "interval": integer,
    "name": or_null(text),
    "description": or_null(text),
    "external_id": or_null(text),
    "deleted": flag,
    "created_at": instant,
    "updated_at": instant,
}

SUBSCRIPTION: Fields = {
    "guid": guid("SU"),
    "customer_guid": guid("CU"),
    "plan_guid": guid("PL"),
    "amount": or_null(integer),
    "effective_amount": integer,
    "funding_instrument_uri": or_null(text),
    "appears_on_statement_as": or_null(text),
    "external_id": or_null(text),
    "invoice_count": integer,
    "canceled": flag,
    "canceled_at": or_null(instant),
    "started_at": instant,
    "next_invoice_at": instant,
    "created_at": instant,
    "updated_at": instant,
}

ITEM: Fields = {
    "name": text,
    "amount": integer,
    "type": or_null(text),
    "unit": or_null(text),
    "quantity": or_null(integer),
    "volume": or_null(integer),
}

ADJUSTMENT: Fields = {"amount": integer, "reason": or_null(text)}

INVOICE: Fields = {
    "guid": guid("IV"),
    "invoice_type": one_of("customer"),
    "transaction_type": one_of("debit", "credit"),
    "status": one_of("staged", "processing", "settled", "canceled", "failed"),
    "customer_guid": guid("CU"),
    "amount": integer,
    "total_adjustment_amount": integer,
    "effective_amount": integer,
    "overpaid": flag,
    "title": or_null(text),
    "external_id": or_null(text),
    "appears_on_statement_as": or_null(text),
    "funding_instrument_uri": or_null(text),
    "items": list_of(ITEM),
    "adjustments": list_of(ADJUSTMENT),
    "created_at": instant,
    "updated_at": instant,
}

SUBSCRIPTION_INVOICE: Fields = {
    **{name: check for name, check in INVOICE.items() if name != "external_id"},
    "invoice_type": one_of("subscription"),
    "subscription_guid": guid("SU"),
    "scheduled_at": instant,
}

FAILURE: Fields = {
    "guid": guid("TF"),
    "error_message": or_null(text),
    "error_number": or_null(integer),
    "error_code": or_null(text),
    "count": integer,
    "created_at": instant,
}

TRANSACTION: Fields = {
    "guid": guid("TX"),
    "invoice_guid": guid("IV"),
    "transaction_type": one_of("debit", "credit", "refund"),
    "submit_status": one_of("staged", "retrying", "done", "failed", "canceled"),
    "status": or_null(one_of("pending", "succeeded", "failed")),
    "amount": integer,
    "funding_instrument_uri": or_null(text),
    "processor_uri": or_null(text),
    "appears_on_statement_as": or_null(text),
    "failure_count": integer,
    "failures": list_of(FAILURE),
    "created_at": instant,
    "updated_at": instant,
}

ERROR: Fields = {"error_class": text, "error_message": text, "request_id": text}
PARAMETER_ERROR: Fields = {
    **ERROR,
    "errors": lambda value: (
        type(value) is dict
        and all(texts and all(type(each) is str for each in texts) for texts in value.values())
    ),
}
