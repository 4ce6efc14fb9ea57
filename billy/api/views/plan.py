"""Plans."""

from __future__ import annotations

from billy import clock
from billy.api.api_view import api_view
from billy.api.external_ids import insert
from billy.api.pagination import Page, page
from billy.api.request import Request
from billy.api.schemas import PlanCreate, PlanQuery
from billy.api.security import Permission
from billy.errors import DuplicateExternalIDError, InvalidOperationError
from billy.models import Company, Plan, lock


@api_view(
    "plans",
    "POST",
    permission=Permission.COMPANY,
    body=PlanCreate,
    returns=Plan,
    raises=(DuplicateExternalIDError,),
)
def create_plan(company: Company, request: Request) -> Plan:
    """Create a plan."""
    body: PlanCreate = request.validated
    now = clock.utc_now()
    plan = Plan(
        company_guid=company.guid,
        guid=request.new_guid("PL", now),
        deleted=False,
        created_at=now,
        updated_at=now,
        **body.model_dump(),
    )
    insert(request.db, plan)
    return plan


@api_view("plans", "GET", permission=Permission.COMPANY, query=PlanQuery, returns=Page[Plan])
def list_plans(company: Company, request: Request) -> Page[Plan]:
    """All plans."""
    return page(request, Plan, company)


@api_view("plan", "GET", permission=Permission.COMPANY, returns=Plan)
def show_plan(plan: Plan, request: Request) -> Plan:
    """One plan."""
    return plan


@api_view("plan", "DELETE", permission=Permission.COMPANY, returns=Plan, raises=(InvalidOperationError,))
def delete_plan(plan: Plan, request: Request) -> Plan:
    """Delete a plan: nobody can subscribe to it any more, and whoever did goes on."""
    lock(request.db, plan).delete(clock.utc_now())
    return plan
