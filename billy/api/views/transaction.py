"""Transactions: read only, since invoices are what callers act on."""

from __future__ import annotations

from billy.api.api_view import api_view
from billy.api.pagination import Page, page
from billy.api.request import Request
from billy.api.schemas import TransactionQuery
from billy.api.security import Permission
from billy.models import Company, Customer, Invoice, Plan, Subscription, Transaction
from billy.models.transaction import load_failures


@api_view("transactions", "GET", permission=Permission.COMPANY, query=TransactionQuery, returns=Page[Transaction])
@api_view(
    "customer_transactions", "GET", permission=Permission.COMPANY, query=TransactionQuery, returns=Page[Transaction]
)
@api_view(
    "plan_transactions", "GET", permission=Permission.COMPANY, query=TransactionQuery, returns=Page[Transaction]
)
@api_view(
    "subscription_transactions", "GET", permission=Permission.COMPANY, query=TransactionQuery, returns=Page[Transaction]
)
@api_view(
    "invoice_transactions", "GET", permission=Permission.COMPANY, query=TransactionQuery, returns=Page[Transaction]
)
def list_transactions(
    parent: Company | Customer | Plan | Subscription | Invoice, request: Request
) -> Page[Transaction]:
    """All transactions, or those of a customer, plan, subscription or invoice."""
    transactions = page(request, Transaction, parent)
    load_failures(request.connection, transactions.items)
    return transactions


@api_view("transaction", "GET", permission=Permission.COMPANY, returns=Transaction)
def show_transaction(transaction: Transaction, request: Request) -> Transaction:
    """One transaction."""
    load_failures(request.connection, [transaction])
    return transaction
