"""The shape of each resource, as the document of the API has it: its fields, all of them, and the type of each.

Every answer to a test is checked against the document anyway (``conftest``); these are for tests that say what
an answer is an answer *of*.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema.protocols import Validator

from billy.api.components import all_schemas
from tests.support.conformance import validator

COMPANY = "Company"
CUSTOMER = "Customer"
PLAN = "Plan"
SUBSCRIPTION = "Subscription"
INVOICE = "CustomerInvoice"
SUBSCRIPTION_INVOICE = "SubscriptionInvoice"
TRANSACTION = "Transaction"
SERVER = "Server"
ERROR = "Error"
PARAMETER_ERROR = "a ValidationError"


def mistakes(shape: str, record: Mapping[str, Any]) -> dict[str, str]:
    """What is missing, of another type, or not in the document."""
    if shape == PARAMETER_ERROR:
        return mistakes(ERROR, record) or ({} if record.get("errors") else {"errors": "is missing"})
    return {error.json_path: error.message for error in _validator(shape).iter_errors(record)}


def page_mistakes(shape: str, page: Mapping[str, Any]) -> dict[str, str]:
    """The same for a list."""
    return mistakes(f"{shape}Page", page)


@cache
def _validator(shape: str) -> Validator:
    return validator({"$ref": f"#/components/schemas/{shape}"}, {"schemas": all_schemas()})
