"""What the tests of the API do over and over, in a company's own name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.client import Client

Record = dict[str, Any]
Wrong = Sequence[tuple[str, Any, str]]

MISSING = "a parameter that is not sent"


def new_plan(company: Client, **params: Any) -> Record:
    """10.00 a month."""
    ordinary = {"plan_type": "debit", "frequency": "monthly", "amount": 1000}
    plan: Record = company.post("/v1/plans", {**ordinary, **params}).json
    return plan


def new_customer(company: Client, **params: Any) -> Record:
    customer: Record = company.post("/v1/customers", params).json
    return customer


def subscribe(
    company: Client,
    *,
    plan: Record | None = None,
    customer: Record | None = None,
    card: str | None = "/cards/ok",
    **params: Any,
) -> Record:
    """A customer on a plan; new ones, unless they are given."""
    chosen = {
        "plan_guid": (plan or new_plan(company))["guid"],
        "customer_guid": (customer or new_customer(company))["guid"],
    }
    if card is not None:
        chosen["funding_instrument_uri"] = card
    subscription: Record = company.post("/v1/subscriptions", {**chosen, **params}).json
    return subscription


def new_invoice(
    company: Client, *, customer: Record | None = None, card: str | None = None, amount: int = 1000, **params: Any
) -> Record:
    """An invoice of 10.00, charged to ``card`` if there is one."""
    chosen: Record = {"customer_guid": (customer or new_customer(company))["guid"], "amount": amount}
    if card is not None:
        chosen["funding_instrument_uri"] = card
    invoice: Record = company.post("/v1/invoices", {**chosen, **params}).json
    return invoice


def invoice_now(company: Client, invoice: Record) -> Record:
    """An invoice as it stands now."""
    now: Record = company.get(f"/v1/invoices/{invoice['guid']}").json
    return now


def listed(company: Client, path: str, **query: Any) -> list[Record]:
    """The items of a list, oldest first."""
    page = company.get(path, {"limit": 1000, **query}).json
    return list(reversed(page["items"]))


def transactions_of(company: Client, record: Record) -> list[Record]:
    """The transactions of an invoice or a subscription, oldest first."""
    noun = {"IV": "invoices", "SU": "subscriptions", "CU": "customers"}[record["guid"][:2]]
    return listed(company, f"/v1/{noun}/{record['guid']}/transactions")


def invoices_of(company: Client, subscription: Record) -> list[Record]:
    """The invoices of a subscription, oldest first."""
    return listed(company, f"/v1/subscriptions/{subscription['guid']}/invoices")


def refusals(
    company: Client, method: str, path: str, good: Mapping[str, Any], wrong: Wrong, *, as_json: bool = False
) -> list[tuple[str, Any, str]]:
    """What the API has against each wrong value, sent one at a time among good ones.

    Equal to ``wrong`` if it refuses every one with the expected text, names that parameter, and no other.
    """
    told = []
    for name, value, _ in wrong:
        params = {**good, name: value}
        if value is MISSING:
            del params[name]
        sent = {"json": params} if as_json else {"params": params}
        answer = company.request(method, path, status=400, **sent).json
        assert answer["error_class"] == "ValidationError"
        told += [(named, value, text) for named, texts in answer["errors"].items() for text in texts]
    return told
