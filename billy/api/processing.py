"""What a view asks of the payment processor, and the commits that go with it.

No database transaction is open during a call (``outside_database``), so whatever a view looked at
before one may be stale after it: lock the record, and look again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import select

from billy import clock
from billy.api.idempotency import reached
from billy.api.request import Request
from billy.db import outside_database
from billy.errors import (
    InvalidFundingInstrument,
    InvalidURIFormat,
    Misconfigured,
    OutcomeUnknown,
    ProcessorError,
    Refused,
    Unavailable,
)
from billy.models import (
    Company,
    Customer,
    Invoice,
    Subscription,
    Transaction,
    TransactionStatus,
    TransactionType,
    lock,
)
from billy.processors.base import Callback, Processor, SubmissionType

log = structlog.get_logger(__name__)

PROCESSOR_ERRORS = (Refused, Misconfigured, Unavailable, OutcomeUnknown)
"""What a view may raise that waits for a processor's answer."""
INSTRUMENT_ERRORS = (InvalidURIFormat, InvalidFundingInstrument, *PROCESSOR_ERRORS)
"""… that has an instrument validated."""


def validate_instrument(request: Request, customer: Customer, uri: str | None, purpose: str) -> None:
    """Raise what the processor has against debiting, or crediting, a customer with an instrument.

    It is the customer's afterwards, so a charge is one call. What the customer has paid with before is not new,
    and not asked about again.
    """
    if uri is None or _has_worked(request, customer, uri, purpose):
        return
    customer_uri = customer.processor_uri
    with _processor(request, request.identity) as processor:
        if customer_uri is None:  # the processor was away when he was created
            customer_uri = processor.create_customer(customer.guid)
        processor.validate_funding_instrument(uri, SubmissionType(purpose), customer_uri)
    if customer.processor_uri is None and lock(request.db, customer).processor_uri is None:
        customer.processor_uri = customer_uri
        customer.updated_at = clock.utc_now()
        request.db.flush()  # the caller locks him again, which reads him again


def _has_worked(request: Request, customer: Customer, uri: str, purpose: str) -> bool:
    statement = select(Transaction.guid).where(
        Transaction.company_guid == customer.company_guid,
        Transaction.customer_guid == customer.guid,
        Transaction.funding_instrument_uri == uri,
        Transaction.transaction_type == TransactionType(purpose),
        Transaction.status == TransactionStatus.SUCCEEDED,
    )
    return request.db.scalar(statement.limit(1)) is not None


def customer_at_processor(request: Request, guid: str, uri: str | None) -> str | None:
    """The processor's record of a customer who is new to it: the given one, checked, or a new one.

    None while the processor cannot be asked: the first charge makes the record then.
    """
    with _processor(request, request.identity) as processor:
        if uri is not None:
            processor.validate_customer(uri)
            return uri
        try:
            return processor.create_customer(guid, is_first_try=request.hold is None or request.hold.is_first_try)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("customer_creation_postponed", customer=guid, code=error.code)
            return None


def register_callback(request: Request, company: Company) -> None:
    """Have the processor call the company back; if that fails, the scheduler tries again."""
    reached(request, company)
    try:
        with outside_database(request):
            sealed_secret = request.registry["billy.processors"].register_callback(company)
    except ProcessorError as error:
        log.warning("callback_not_registered", company=company.guid, code=error.code)
    else:
        lock(request.db, company)
        company.callback_was_registered(clock.utc_now(), sealed_secret=sealed_secret)


def read_callback(request: Request, company: Company, body: bytes, headers: Mapping[str, str]) -> Callback | None:
    """What a callback means, after asking the processor itself."""
    with outside_database(request):
        callback: Callback | None = request.registry["billy.processors"].read_callback(company, body, headers)
        return callback


def submit(request: Request, record: Invoice | Subscription, transactions: Sequence[Transaction]) -> None:
    """Submit new transactions at once; ``record`` is what the request answers with.

    Commits, and never raises for what the processor does.
    """
    if transactions:
        reached(request, record)
        request.has_committed = True
        submitter, metrics = request.registry["billy.submitter"], request.registry["billy.metrics"]
        results = submitter.submit_now(request.db, transactions, started=request.started)
        if metrics is not None:
            metrics.submitted(results)


@contextmanager
def _processor(request: Request, company: Company) -> Iterator[Processor]:
    with outside_database(request):
        yield request.registry["billy.processors"].of(company)
