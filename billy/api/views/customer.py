"""Customers."""

from __future__ import annotations

from billy import clock
from billy.api.api_view import api_view
from billy.api.external_ids import insert, refuse_taken
from billy.api.pagination import Page, page
from billy.api.processing import PROCESSOR_ERRORS, customer_at_processor
from billy.api.request import Request
from billy.api.schemas import CustomerCreate, CustomerQuery
from billy.api.security import Permission
from billy.errors import DuplicateExternalIDError, InvalidCustomer, InvalidOperationError, InvalidURIFormat
from billy.models import Company, Customer, Plan, lock


@api_view(
    "customers",
    "POST",
    permission=Permission.COMPANY,
    body=CustomerCreate,
    returns=Customer,
    raises=(DuplicateExternalIDError, InvalidURIFormat, InvalidCustomer, *PROCESSOR_ERRORS),
)
def create_customer(company: Company, request: Request) -> Customer:
    """Create a customer, here and at the processor."""
    body: CustomerCreate = request.validated
    now = clock.utc_now()
    # The guid is there before the call: asked again with it, the processor has the same record.
    customer = Customer(
        company_guid=company.guid,
        guid=request.new_guid("CU", now),
        external_id=body.external_id,
        deleted=False,
        created_at=now,
        updated_at=now,
    )
    refuse_taken(request.db, customer)
    customer.processor_uri = customer_at_processor(request, customer.guid, body.processor_uri)
    insert(request.db, customer)
    return customer


@api_view("customers", "GET", permission=Permission.COMPANY, query=CustomerQuery, returns=Page[Customer])
@api_view("plan_customers", "GET", permission=Permission.COMPANY, query=CustomerQuery, returns=Page[Customer])
def list_customers(parent: Company | Plan, request: Request) -> Page[Customer]:
    """All customers, or those who ever subscribed to a plan."""
    return page(request, Customer, parent)


@api_view("customer", "GET", permission=Permission.COMPANY, returns=Customer)
def show_customer(customer: Customer, request: Request) -> Customer:
    """One customer."""
    return customer


@api_view("customer", "DELETE", permission=Permission.COMPANY, returns=Customer, raises=(InvalidOperationError,))
def delete_customer(customer: Customer, request: Request) -> Customer:
    """Delete a customer: his subscriptions end, and what can still be stopped is not charged."""
    lock(request.db, customer).delete(request.db, clock.utc_now())
    return customer
