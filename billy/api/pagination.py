"""Lists: newest first, a page at a time, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, select

from billy.api.request import Request
from billy.models import Base, Company, Customer, Invoice, Plan, Subscription
from billy.models.base import Owned

T = TypeVar("T")
R = TypeVar("R", bound=Owned)
S = TypeVar("S", bound=Select[Any])


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; ``offset`` and ``limit`` are what was applied, so clients page by them."""

    items: Sequence[T]
    offset: int
    limit: int


def page(request: Request, model: type[R], parent: Company | Owned) -> Page[R]:
    """The page of ``parent``'s records of a kind that ``request.query`` asks for, filtered as it says."""
    query = request.query
    filters = query.filters
    values = {"offset": query.offset, "limit": query.limit, **filters}
    if isinstance(parent, Company):
        values["company_guid"] = parent.guid
    else:
        values["company_guid"], values["parent_guid"] = parent.company_guid, parent.guid
    items = request.db.scalars(_page_of(model, type(parent), frozenset(filters)), values).all()
    return Page(items, query.offset, query.limit)


@cache
def _page_of(model: type[Owned], parent: type[Base], filters: frozenset[str]) -> Select[Any]:
    # Built once for each kind of list: putting a statement together takes as long as running it.
    if (model, parent) == (Customer, Plan) and not filters:
        return _customers_of_plan()
    statement = select(model).where(model.company_guid == bindparam("company_guid"))
    if parent is not Company:
        statement = statement.where(_belongs_to(model, parent))
    for column in sorted(filters):
        statement = statement.where(getattr(model, column) == bindparam(column))
    return _cut(statement.order_by(*_order(model, parent)))


def _customers_of_plan() -> Select[Any]:
    # The page is cut from the plan's index and not from the customers: PostgreSQL would go through all of the
    # company's, the newest first, and the plan's may be the oldest.
    its = (Subscription.company_guid == bindparam("company_guid"), Subscription.plan_guid == bindparam("parent_guid"))
    guids = select(Subscription.customer_guid).where(*its).distinct().order_by(Subscription.customer_guid.desc())
    page = _cut(guids).subquery()
    same = (Customer.company_guid == bindparam("company_guid"), Customer.guid == page.c.customer_guid)
    return select(Customer).join(page, and_(*same)).order_by(Customer.guid.desc())


def _cut(statement: S) -> S:
    return statement.offset(bindparam("offset")).limit(bindparam("limit"))


def _belongs_to(model: type[Owned], parent: type[Base]) -> ColumnElement[bool]:
    if (model, parent) == (Customer, Plan):
        # Who ever subscribed to it, each once (D27). A filter leaves few, and each is looked up.
        return exists().where(
            Subscription.company_guid == Customer.company_guid,
            Subscription.plan_guid == bindparam("parent_guid"),
            Subscription.customer_guid == Customer.guid,
        )
    reference: ColumnElement[str] = getattr(model, f"{parent.__tablename__}_guid")
    return reference == bindparam("parent_guid")


def _order(model: type[Owned], parent: type[Base]) -> Sequence[ColumnElement[Any]]:
    # Newest first. Guids sort by time, and no two are the same, so pages neither repeat nor skip a record (D28).
    if model is Invoice and parent in (Subscription, Plan):
        return (Invoice.scheduled_at.desc(), Invoice.guid.desc())  # the latest period first
    return (model.guid.desc(),)
