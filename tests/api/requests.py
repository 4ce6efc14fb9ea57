"""One good request for each operation that takes an idempotency key, on records of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from webtest.response import TestResponse

from billy.db import read_only
from billy.models import Base
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe
from tests.support.client import Client


@dataclass(frozen=True)
class Sent:
    """A request, as often as one likes."""

    client: Client
    method: str
    path: str
    params: dict[str, Any]

    def __call__(self, key: str | None, *, status: Any = 200, **more: Any) -> TestResponse:
        """Send it with a key; ``more`` are other parameters."""
        headers = {} if key is None else {"Idempotency-Key": key}
        params = {**self.params, **more}
        return self.client.request(self.method, self.path, params, status=status, headers=headers)


def create_company(company: Client) -> Sent:
    return Sent(Client(company.app), "POST", "/v1/companies", {"processor_key": "another-processor-key"})


def create_customer(company: Client) -> Sent:
    return Sent(company, "POST", "/v1/customers", {})


def delete_customer(company: Client) -> Sent:
    subscription = subscribe(company)
    return Sent(company, "DELETE", f"/v1/customers/{subscription['customer_guid']}", {})


def create_plan(company: Client) -> Sent:
    return Sent(company, "POST", "/v1/plans", {"plan_type": "debit", "frequency": "weekly", "amount": 500})


def delete_plan(company: Client) -> Sent:
    return Sent(company, "DELETE", f"/v1/plans/{new_plan(company)['guid']}", {})


def create_subscription(company: Client) -> Sent:
    params = {"customer_guid": new_customer(company)["guid"], "plan_guid": new_plan(company)["guid"]}
    return Sent(company, "POST", "/v1/subscriptions", {**params, "funding_instrument_uri": "/cards/new"})


def change_subscription(company: Client) -> Sent:
    guid = subscribe(company, card="/cards/declined")["guid"]
    params = {"funding_instrument_uri": "/cards/new", "open_invoices": "true"}
    return Sent(company, "PUT", f"/v1/subscriptions/{guid}", params)


def cancel_subscription(company: Client) -> Sent:
    return Sent(company, "POST", f"/v1/subscriptions/{subscribe(company)['guid']}/cancel", {})


def create_invoice(company: Client) -> Sent:
    params = {"customer_guid": new_customer(company)["guid"], "amount": 700}
    return Sent(company, "POST", "/v1/invoices", {**params, "funding_instrument_uri": "/cards/new"})


def change_invoice(company: Client) -> Sent:
    guid = new_invoice(company, card="/cards/declined")["guid"]
    return Sent(company, "PUT", f"/v1/invoices/{guid}", {"funding_instrument_uri": "/cards/new"})


def refund_invoice(company: Client) -> Sent:
    guid = new_invoice(company, card="/cards/ok")["guid"]
    return Sent(company, "POST", f"/v1/invoices/{guid}/refund", {"amount": 200})


def cancel_invoice(company: Client) -> Sent:
    return Sent(company, "POST", f"/v1/invoices/{new_invoice(company)['guid']}/cancel", {})


REQUESTS: dict[str, Callable[[Client], Sent]] = {
    make.__name__: make
    for make in (
        create_company,
        create_customer,
        delete_customer,
        create_plan,
        delete_plan,
        create_subscription,
        change_subscription,
        cancel_subscription,
        create_invoice,
        change_invoice,
        refund_invoice,
        cancel_invoice,
    )
}
"""By the id of the operation."""


def stored(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but the keys'."""
    with read_only(engine).connect() as connection:
        return {
            table.name: [
                dict(row) for row in connection.execute(table.select().order_by(*table.primary_key)).mappings()
            ]
            for table in Base.metadata.sorted_tables
            if table.name != "idempotency_key"
        }
