"""Where: every path, and the factory that finds what it names.

A trailing slash is accepted everywhere (``tweens``). A method that a path does not have is refused
before anything is looked up: 405, with those that it has in ``Allow``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPMethodNotAllowed
from pyramid.registry import Registry

from billy.api.contexts import called_back_company, callers_company, own_company, public, record
from billy.api.request import Request
from billy.models import Customer, Invoice, Plan, Subscription, Transaction

Factory = Callable[[Request], Any]

ROUTES = (
    ("index", "/", public),
    ("health", "/health", public),
    ("ready", "/health/ready", public),
    ("metrics", "/metrics", public),
    ("openapi", "/v1/openapi.json", public),
    ("docs", "/docs", public),
    ("docs_file", "/docs/{file}", public),
    ("companies", "/v1/companies", public),
    ("company", "/v1/companies/{guid}", own_company),
    ("callback", "/v1/companies/{guid}/callbacks/{callback_key}", called_back_company),
    ("customers", "/v1/customers", callers_company),
    ("customer", "/v1/customers/{guid}", record(Customer)),
    ("customer_subscriptions", "/v1/customers/{guid}/subscriptions", record(Customer)),
    ("customer_invoices", "/v1/customers/{guid}/invoices", record(Customer)),
    ("customer_transactions", "/v1/customers/{guid}/transactions", record(Customer)),
    ("plans", "/v1/plans", callers_company),
    ("plan", "/v1/plans/{guid}", record(Plan)),
    ("plan_customers", "/v1/plans/{guid}/customers", record(Plan)),
    ("plan_subscriptions", "/v1/plans/{guid}/subscriptions", record(Plan)),
    ("plan_invoices", "/v1/plans/{guid}/invoices", record(Plan)),
    ("plan_transactions", "/v1/plans/{guid}/transactions", record(Plan)),
    ("subscriptions", "/v1/subscriptions", callers_company),
    ("subscription", "/v1/subscriptions/{guid}", record(Subscription)),
    ("subscription_cancel", "/v1/subscriptions/{guid}/cancel", record(Subscription)),
    ("subscription_invoices", "/v1/subscriptions/{guid}/invoices", record(Subscription)),
    ("subscription_transactions", "/v1/subscriptions/{guid}/transactions", record(Subscription)),
    ("invoices", "/v1/invoices", callers_company),
    ("invoice", "/v1/invoices/{guid}", record(Invoice)),
    ("invoice_cancel", "/v1/invoices/{guid}/cancel", record(Invoice)),
    ("invoice_refund", "/v1/invoices/{guid}/refund", record(Invoice)),
    ("invoice_transactions", "/v1/invoices/{guid}/transactions", record(Invoice)),
    ("transactions", "/v1/transactions", callers_company),
    ("transaction", "/v1/transactions/{guid}", record(Transaction)),
)


def methods(registry: Registry, route_name: str) -> list[str]:
    """The methods that a route's views answer, sorted; HEAD wherever GET."""
    found = {
        view["introspectable"]["request_methods"]
        for view in registry.introspector.get_category("views") or ()
        if view["introspectable"]["route_name"] == route_name
    }
    return sorted(found | {"HEAD"} if "GET" in found else found)


def includeme(config: Configurator) -> None:
    """Add the routes."""
    allowed = cache(lambda route_name: methods(config.registry, route_name))

    def only_allowed(name: str, factory: Factory) -> Factory:
        def find_or_refuse(request: Request) -> Any:
            if request.method not in allowed(name):
                allow = ", ".join(allowed(name))
                raise HTTPMethodNotAllowed(f"This address answers {allow} only", headers=[("Allow", allow)])
            return factory(request)

        return find_or_refuse

    for name, pattern, factory in ROUTES:
        config.add_route(name, pattern, factory=only_allowed(name, factory))
