"""Transactions: read only, since invoices are what callers act on."""

from __future__ import annotations

from pyramid.request import Request
from sqlalchemy.orm import selectinload

from billy.api.api_view import api_view
from billy.api.fields import MAXIMUM_LIMIT
from billy.api.pagination import Page, owned_by, page
from billy.api.schemas import ListQuery
from billy.api.security import Permission
from billy.models import Company, Customer, Invoice, Plan, Subscription, Transaction


@api_view("transactions", "GET", permission=Permission.COMPANY, query=ListQuery, returns=Page[Transaction])
@api_view("customer_transactions", "GET", permission=Permission.COMPANY, query=ListQuery, returns=Page[Transaction])
@api_view("plan_transactions", "GET", permission=Permission.COMPANY, query=ListQuery, returns=Page[Transaction])
@api_view("subscription_transactions", "GET", permission=Permission.COMPANY, query=ListQuery, returns=Page[Transaction])
@api_view("invoice_transactions", "GET", permission=Permission.COMPANY, query=ListQuery, returns=Page[Transaction])
def list_transactions(
    parent: Company | Customer | Plan | Subscription | Invoice, request: Request
) -> Page[Transaction]:
    """All transactions, or those of a customer, plan, subscription or invoice."""
    # One query for the failures of a page, however long it is.
    failures = selectinload(Transaction.failures, chunksize=MAXIMUM_LIMIT)
    return page(request, owned_by(parent, Transaction).options(failures))


@api_view("transaction", "GET", permission=Permission.COMPANY, returns=Transaction)
def show_transaction(transaction: Transaction, request: Request) -> Transaction:
    """One transaction."""
    return transaction
