"""The floor of the web figures: a bare Pyramid application over the bare driver, without any code of Billy's.

It looks up the key, asks for what it needs with one SELECT, and answers the same JSON to the letter. It checks
nothing, logs nothing, and reads without beginning a transaction.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg2.extras import RealDictCursor
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.router import Router

from benchmarks.server import connect

_KEY = """
    SELECT company_guid FROM api_key JOIN company ON company.guid = company_guid
    WHERE key_hash = %s AND (expires_at IS NULL OR expires_at > %s)
"""

_SUBSCRIPTION = """
    SELECT s.guid, s.customer_guid, s.plan_guid, s.amount, coalesce(s.amount, p.amount) AS effective_amount,
        s.funding_instrument_uri, s.appears_on_statement_as, s.external_id, s.invoice_count,
        s.canceled_at IS NOT NULL AS canceled, s.canceled_at, s.started_at, s.next_invoice_at,
        s.created_at, s.updated_at
    FROM subscription s JOIN plan p ON p.company_guid = s.company_guid AND p.guid = s.plan_guid
    WHERE s.company_guid = %s AND s.guid = %s
"""

_INVOICE = """
    guid, invoice_type, transaction_type, status, customer_guid, amount, total_adjustment_amount,
    amount + total_adjustment_amount AS effective_amount, overpaid, title, appears_on_statement_as,
    funding_instrument_uri, items, adjustments, created_at, updated_at
"""

_INVOICES = f"""
    SELECT {_INVOICE}, subscription_guid, scheduled_at
    FROM invoice WHERE company_guid = %s ORDER BY guid DESC LIMIT %s OFFSET %s
"""

_TRANSACTIONS = """
    SELECT guid, invoice_guid, transaction_type, submit_status, status, amount, funding_instrument_uri, processor_uri,
        appears_on_statement_as, failure_count, created_at, updated_at
    FROM transaction WHERE company_guid = %s ORDER BY guid DESC LIMIT %s OFFSET %s
"""

_CUSTOMER = "SELECT deleted FROM customer WHERE company_guid = %s AND guid = %s"

_NEW_INVOICE = f"""
    INSERT INTO invoice
        (company_guid, guid, invoice_type, customer_guid, transaction_type, status, amount, total_adjustment_amount,
         overpaid, items, adjustments, created_at, updated_at)
    VALUES (%s, %s, 'customer', %s, 'debit', 'staged', %s, 0, false, '[]', '[]', %s, %s)
    RETURNING {_INVOICE}, external_id
"""


def make_bare_app(url: str) -> Router:
    """The application over a database, with a connection for each thread."""
    own = threading.local()

    def open_cursor() -> Any:
        if not hasattr(own, "cursor"):
            connection = connect(url)
            connection.autocommit = True
            own.cursor = connection.cursor(cursor_factory=RealDictCursor)
        return own.cursor

    def company(request: Request, cursor: Any) -> str:
        key = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[0]
        cursor.execute(_KEY, (hashlib.sha256(key.encode()).hexdigest(), datetime.now(UTC)))
        guid: str = cursor.fetchone()["company_guid"]
        return guid

    def get_subscription(request: Request) -> Response:
        cursor = open_cursor()
        cursor.execute(_SUBSCRIPTION, (company(request, cursor), request.matchdict["guid"]))
        return _json(cursor.fetchone())

    def page(statement: str, **fields: Any) -> Callable[[Request], Response]:
        def get_page(request: Request) -> Response:
            limit, offset = int(request.GET.get("limit", 20)), int(request.GET.get("offset", 0))
            cursor = open_cursor()
            cursor.execute(statement, (company(request, cursor), limit + 1, offset))
            items = [{**row, **fields} for row in cursor.fetchall()[:limit]]
            after = f"{request.path}?limit={limit}&after={items[-1]['guid']}"
            return _json({"items": items, "offset": offset, "limit": limit, "next": after})

        return get_page

    def post_invoice(request: Request) -> Response:
        cursor = open_cursor()
        connection, owner = cursor.connection, company(request, cursor)
        customer, amount = request.POST["customer_guid"], int(request.POST["amount"])
        connection.autocommit = False
        cursor.execute(_CUSTOMER, (owner, customer))
        assert not cursor.fetchone()["deleted"]
        now = datetime.now(UTC)
        # Sorts by time, as Billy's do: it goes to the end of the index, not into its middle.
        cursor.execute(_NEW_INVOICE, (owner, f"IV1B{time.time_ns():020}", customer, amount, now, now))
        invoice = cursor.fetchone()
        connection.commit()
        connection.autocommit = True
        return _json(invoice)

    with Configurator() as config:
        config.add_route("subscription", "/v1/subscriptions/{guid}")
        config.add_view(get_subscription, route_name="subscription", request_method="GET")
        config.add_route("invoices", "/v1/invoices")
        config.add_view(page(_INVOICES), route_name="invoices", request_method="GET")
        config.add_view(post_invoice, route_name="invoices", request_method="POST")
        config.add_route("transactions", "/v1/transactions")
        config.add_view(page(_TRANSACTIONS, failures=[]), route_name="transactions", request_method="GET")
        return config.make_wsgi_app()


def _json(value: Any) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return Response(body=body, content_type="application/json", charset="UTF-8")
