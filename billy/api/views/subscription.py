"""Subscriptions."""

from __future__ import annotations

from billy import clock
from billy.api.api_view import api_view
from billy.api.external_ids import insert
from billy.api.pagination import Page, page
from billy.api.processing import INSTRUMENT_ERRORS, submit, validate_instrument
from billy.api.request import Request
from billy.api.schemas import SubscriptionCancel, SubscriptionChange, SubscriptionCreate, SubscriptionQuery
from billy.api.security import Permission
from billy.errors import DuplicateExternalIDError, InvalidOperationError, MoneyMoving, ValidationError
from billy.models import Company, Customer, Plan, Subscription, lock


@api_view(
    "subscriptions",
    "POST",
    permission=Permission.COMPANY,
    body=SubscriptionCreate,
    returns=Subscription,
    raises=(DuplicateExternalIDError, *INSTRUMENT_ERRORS),
)
def create_subscription(company: Company, request: Request) -> Subscription:
    """Subscribe a customer to a plan; without ``started_at`` it starts now, and the first invoice is charged."""
    body: SubscriptionCreate = request.validated
    db = request.db
    customer, plan = request.referred[Customer], request.referred[Plan]
    _refuse_deleted(customer, plan)
    validate_instrument(request, customer, body.funding_instrument_uri, plan.plan_type)
    if request.has_committed:  # either may be gone since
        _refuse_deleted(lock(db, customer), lock(db, plan))
    now = clock.utc_now()
    started_at = body.started_at or now
    subscription = Subscription(
        company_guid=company.guid,
        guid=request.new_guid("SU", now),
        started_at=started_at,
        next_invoice_at=started_at,
        invoice_count=0,
        created_at=now,
        updated_at=now,
        **body.model_dump(exclude={"started_at"}),
    )
    insert(db, subscription)
    charges = [charge for _, charge in subscription.file_due(db, now) if charge is not None]
    if body.started_at is None:
        submit(request, subscription, charges)
    return subscription


@api_view("subscriptions", "GET", permission=Permission.COMPANY, query=SubscriptionQuery, returns=Page[Subscription])
@api_view(
    "customer_subscriptions", "GET", permission=Permission.COMPANY, query=SubscriptionQuery, returns=Page[Subscription]
)
@api_view(
    "plan_subscriptions", "GET", permission=Permission.COMPANY, query=SubscriptionQuery, returns=Page[Subscription]
)
def list_subscriptions(parent: Company | Customer | Plan, request: Request) -> Page[Subscription]:
    """All subscriptions, or those of a customer or plan."""
    return page(request, Subscription, parent)


@api_view("subscription", "GET", permission=Permission.COMPANY, returns=Subscription)
def show_subscription(subscription: Subscription, request: Request) -> Subscription:
    """One subscription."""
    return subscription


@api_view(
    "subscription",
    "PUT",
    permission=Permission.COMPANY,
    body=SubscriptionChange,
    returns=Subscription,
    raises=(InvalidOperationError, MoneyMoving, *INSTRUMENT_ERRORS),
)
def change_subscription(subscription: Subscription, request: Request) -> Subscription:
    """Change what comes next; ``open_invoices`` charges what is unpaid to the instrument too."""
    body: SubscriptionChange = request.validated
    if not (body.changes or body.open_invoices):
        raise ValidationError.of("funding_instrument_uri", "There is nothing to change, neither this nor anything else")
    customer = request.db.get_one(Customer, (subscription.company_guid, subscription.customer_guid))
    validate_instrument(request, customer, body.funding_instrument_uri, subscription.plan.plan_type)
    now = clock.utc_now()
    lock(request.db, subscription).change(body.changes, now)
    if body.open_invoices:
        if subscription.funding_instrument_uri is None:
            raise ValidationError.of("open_invoices", "There is no funding_instrument_uri to charge them to")
        subscription.move_open_invoices(request.db, now)
    return subscription


@api_view(
    "subscription_cancel",
    "POST",
    permission=Permission.COMPANY,
    body=SubscriptionCancel,
    returns=Subscription,
    raises=(InvalidOperationError, MoneyMoving),
)
def cancel_subscription(subscription: Subscription, request: Request) -> Subscription:
    """Cancel a subscription: no more invoices are filed; ``open_invoices`` cancels those that are unpaid too."""
    body: SubscriptionCancel = request.validated
    now = clock.utc_now()
    lock(request.db, subscription).cancel(now)
    if body.open_invoices:
        subscription.cancel_open_invoices(request.db, now)
    return subscription


def _refuse_deleted(customer: Customer, plan: Plan) -> None:
    errors = {}
    if customer.deleted:
        errors["customer_guid"] = ["Cannot subscribe a deleted customer"]
    if plan.deleted:
        errors["plan_guid"] = ["Cannot subscribe to a deleted plan"]
    if errors:
        raise ValidationError(errors)
