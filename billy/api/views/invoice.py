"""Invoices."""

from __future__ import annotations

from billy import clock
from billy.api.api_view import api_view
from billy.api.external_ids import insert
from billy.api.pagination import Page, page
from billy.api.processing import INSTRUMENT_ERRORS, submit, validate_instrument
from billy.api.request import Request
from billy.api.schemas import InvoiceChange, InvoiceCreate, InvoiceQuery, Refund
from billy.api.security import Permission
from billy.errors import DuplicateExternalIDError, InvalidOperationError, MoneyMoving, ValidationError
from billy.models import Company, Customer, Invoice, Plan, Subscription, TransactionType, disputed, lock, lock_invoice
from billy.models.invoice import new_invoice


@api_view(
    "invoices",
    "POST",
    permission=Permission.COMPANY,
    body=InvoiceCreate,
    returns=Invoice,
    raises=(DuplicateExternalIDError, *INSTRUMENT_ERRORS),
)
def create_invoice(company: Company, request: Request) -> Invoice:
    """Invoice a customer; with an instrument it is charged at once."""
    body: InvoiceCreate = request.validated
    customer = request.referred[Customer]
    _refuse_deleted(customer)
    validate_instrument(request, customer, body.funding_instrument_uri, TransactionType.DEBIT)
    if request.has_committed:  # he may be gone since
        _refuse_deleted(lock(request.db, customer))
    now = clock.utc_now()
    guid = request.new_guid("IV", now)
    invoice = Invoice(**new_invoice(now, company_guid=company.guid, guid=guid, **body.model_dump()))
    is_due = invoice.funding_instrument_uri is not None and invoice.effective_amount > 0
    charges = [invoice.charge(now)] if is_due else []
    insert(request.db, invoice)
    submit(request, invoice, charges)
    return invoice


@api_view("invoices", "GET", permission=Permission.COMPANY, query=InvoiceQuery, returns=Page[Invoice])
@api_view("customer_invoices", "GET", permission=Permission.COMPANY, query=InvoiceQuery, returns=Page[Invoice])
@api_view("plan_invoices", "GET", permission=Permission.COMPANY, query=InvoiceQuery, returns=Page[Invoice])
@api_view("subscription_invoices", "GET", permission=Permission.COMPANY, query=InvoiceQuery, returns=Page[Invoice])
def list_invoices(parent: Company | Customer | Plan | Subscription, request: Request) -> Page[Invoice]:
    """All invoices, or those of a customer (those of his subscriptions too), plan or subscription."""
    return page(request, Invoice, parent)


@api_view("invoice", "GET", permission=Permission.COMPANY, returns=Invoice)
def show_invoice(invoice: Invoice, request: Request) -> Invoice:
    """One invoice."""
    return invoice


@api_view(
    "invoice",
    "PUT",
    permission=Permission.COMPANY,
    body=InvoiceChange,
    returns=Invoice,
    raises=(InvalidOperationError, MoneyMoving, *INSTRUMENT_ERRORS),
)
def change_invoice(invoice: Invoice, request: Request) -> Invoice:
    """Charge an unpaid invoice to another instrument, at once."""
    body: InvoiceChange = request.validated
    db = request.db
    customer = db.get_one(Customer, (invoice.company_guid, invoice.customer_guid))
    validate_instrument(request, customer, body.funding_instrument_uri, invoice.transaction_type)
    if lock(db, customer).deleted:
        raise InvalidOperationError("Cannot charge an invoice of a deleted customer")
    charge = lock_invoice(db, invoice).change_instrument(body.funding_instrument_uri, clock.utc_now())
    db.flush()  # the old charge is canceled before the new one is alive: uq_transaction_charge_alive
    submit(request, invoice, [] if charge is None else [charge])
    return invoice


@api_view(
    "invoice_refund",
    "POST",
    permission=Permission.COMPANY,
    body=Refund,
    returns=Invoice,
    raises=(InvalidOperationError,),
)
def refund_invoice(invoice: Invoice, request: Request) -> Invoice:
    """Refund an invoice: give back all of it or a part, at once."""
    body: Refund = request.validated
    invoice = lock_invoice(request.db, invoice)
    in_dispute = disputed(request.db, invoice.company_guid, invoice.charges)
    submit(request, invoice, invoice.refund(body.amount, clock.utc_now(), disputed=in_dispute))
    return invoice


@api_view(
    "invoice_cancel",
    "POST",
    permission=Permission.COMPANY,
    returns=Invoice,
    raises=(InvalidOperationError, MoneyMoving),
)
def cancel_invoice(invoice: Invoice, request: Request) -> Invoice:
    """Cancel an invoice: nobody has to pay it any more."""
    lock_invoice(request.db, invoice).cancel(clock.utc_now())
    return invoice


def _refuse_deleted(customer: Customer) -> None:
    if customer.deleted:
        raise ValidationError.of("customer_guid", "Cannot create an invoice for a deleted customer")
