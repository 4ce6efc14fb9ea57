"""Lists: newest first, a page at a time, in a fixed number of queries.

A page begins after a number of records (``offset``), or after a record (``after``), which takes as long a million
records down as at the top. A list with a range of instants, ``created_at[gte]=…``, is ordered by that instant, so
one index has both. Not by guid alone, although those sort by time: a clock that steps back, or a record that was
created elsewhere, would put it on the wrong side of the range.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, func, select, tuple_

from billy.api.request import Request
from billy.errors import ValidationError
from billy.models import Base, Company, Customer, Invoice, Plan, Subscription
from billy.models.base import Owned
from billy.models.plain import fetch, model_of, shape

T = TypeVar("T")
R = TypeVar("R", bound=Owned)

_RANGES = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}
_BY_PERIOD = ("subscription_guid", "plan_guid")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; ``offset`` and ``limit`` are what was applied, so clients page by them."""

    items: Sequence[T]
    offset: int
    limit: int
    next: str | None
    """The address of the page after it, without the host; None at the end."""
    total: int | None
    """How many there are, if that was asked for."""


def page(request: Request, model: type[R], parent: Company | Owned) -> Page[R]:
    """The page of ``parent``'s records of a kind that ``request.query`` asks for, filtered as it says."""
    query = request.query
    filters = query.filters
    statements = _statements(model, model_of(parent), frozenset(filters))
    values = {_bound(name): value for name, value in filters.items()}
    if model_of(parent) is Company:
        values["company_guid"] = parent.guid
    else:
        values["company_guid"], values["parent_guid"] = request.identity.guid, parent.guid
    wanted = statements.first
    total = request.connection.scalar(statements.count, values) if query.count else None
    if query.after is not None:
        wanted = statements.after
        values |= _position(request, statements, values, model)
    # One more than the page has, to know whether there is another.
    values |= {"offset": query.offset, "limit": query.limit + 1}
    found = fetch(request.connection, model, wanted, values)
    items = found[: query.limit]
    following = _address(request, items[-1].guid) if len(found) > len(items) else None
    return Page(items, query.offset, query.limit, following, total)


def _position(
    request: Request, statements: _Statements, values: Mapping[str, Any], model: type[Owned]
) -> dict[str, Any]:
    query = request.query
    if query.offset:
        raise ValidationError.of("offset", "Cannot be combined with after")
    row = request.connection.execute(statements.position, {**values, "after": query.after}).first()
    if row is None or None in row:
        raise ValidationError.of("after", f"No such {model.__name__} record {query.after} in this list")
    return {f"after_{number}": value for number, value in enumerate(row)}


def _address(request: Request, after: str) -> str:
    # Without the host: what a proxy calls this server is not what its clients do.
    query = request.query
    return f"{request.path}?{urlencode({**query.filters_as_text, 'limit': query.limit, 'after': after})}"


@dataclass(frozen=True, slots=True)
class _Statements:
    first: Select[Any]
    """A page by its offset."""
    after: Select[Any]
    """A page after a position."""
    position: Select[Any]
    """Where a record stands."""
    count: Select[Any]


@lru_cache(maxsize=1000)  # callers choose the combinations
def _statements(model: type[Owned], parent: type[Base], filters: frozenset[str]) -> _Statements:
    # Built once for each kind of list: putting a statement together takes as long as running it.
    if (model, parent) == (Customer, Plan) and not filters:
        return _customers_of_plan()
    of_parent = [model.company_guid == bindparam("company_guid")]
    if parent is not Company:
        of_parent.append(_belongs_to(model, parent))
    fitting = [*of_parent, *(_fits(model, name) for name in sorted(filters))]
    order = _order(model, parent, filters)
    newest_first = (column.desc() for column in order)
    listed = shape(model).select().where(*fitting).order_by(*newest_first).limit(bindparam("limit"))
    passed = [bindparam(f"after_{number}", type_=column.type) for number, column in enumerate(order)]
    return _Statements(
        first=listed.offset(bindparam("offset")),
        after=listed.where(tuple_(*order) < tuple_(*passed) if len(order) > 1 else order[0] < passed[0]),
        position=select(*order).where(*of_parent, model.guid == bindparam("after")),
        count=select(func.count()).select_from(model).where(*fitting),
    )


def _customers_of_plan() -> _Statements:
    # Cut from the plan's index and not from the customers: PostgreSQL would go through all of the company's, the
    # newest first, and the plan's may be the oldest.
    column = Subscription.customer_guid
    its = (Subscription.company_guid == bindparam("company_guid"), Subscription.plan_guid == bindparam("parent_guid"))
    guids = select(column).where(*its).distinct().order_by(column.desc()).limit(bindparam("limit"))

    def customers(page: Any) -> Select[Any]:
        same = (Customer.company_guid == bindparam("company_guid"), Customer.guid == page.c.customer_guid)
        return shape(Customer).select().join(page, and_(*same)).order_by(Customer.guid.desc())

    return _Statements(
        first=customers(guids.offset(bindparam("offset")).subquery()),
        after=customers(guids.where(column < bindparam("after_0")).subquery()),
        position=select(column).where(*its, column == bindparam("after")).limit(1),
        count=select(func.count(column.distinct())).where(*its),
    )


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


def _fits(model: type[Owned], name: str) -> ColumnElement[bool]:
    if (model, name) == (Subscription, "canceled"):
        return Subscription.canceled_at.is_not(None) == bindparam("canceled")
    column, _, comparison = name.rstrip("]").partition("[")
    compare = _RANGES.get(comparison, operator.eq)
    fits: ColumnElement[bool] = compare(getattr(model, column), bindparam(_bound(name)))
    return fits


def _bound(name: str) -> str:
    return name.rstrip("]").replace("[", "_")


def _order(model: type[Owned], parent: type[Base], filters: frozenset[str]) -> tuple[Any, ...]:
    # Newest first. Guids sort by time, and no two are the same, so pages neither repeat nor skip a record (D28).
    ranged = sorted(name.partition("[")[0] for name in filters if "[" in name)
    if ranged:
        return (getattr(model, ranged[0]), model.guid)
    if model is Invoice and (parent in (Subscription, Plan) or not filters.isdisjoint(_BY_PERIOD)):
        return (Invoice.scheduled_at, Invoice.guid)  # the latest period first
    return (model.guid,)
