"""Lists: newest first, a page at a time, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pyramid.request import Request
from sqlalchemy import ColumnElement, Select, select

from billy.models import Company
from billy.models.base import Owned

T = TypeVar("T")
R = TypeVar("R", bound=Owned)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; ``offset`` and ``limit`` are what was applied, so clients page by them."""

    items: Sequence[T]
    offset: int
    limit: int


def owned_by(parent: Company | Owned, model: type[R]) -> Select[R]:
    """All records of a kind that belong to a company, or to one of its records."""
    if isinstance(parent, Company):
        return select(model).where(model.company_guid == parent.guid)
    reference: ColumnElement[str] = getattr(model, f"{parent.__tablename__}_guid")
    return select(model).where(model.company_guid == parent.company_guid, reference == parent.guid)


def page(request: Request, statement: Select[R], *order: Any) -> Page[R]:
    """The page of a list that ``request.query`` asks for, filtered as it says.

    Newest first, unless another ``order`` is given: guids sort by time, and no two are the same, so pages
    neither repeat nor skip a record (D28).
    """
    model = statement.column_descriptions[0]["entity"]
    for column, value in request.query.filters.items():
        statement = statement.where(getattr(model, column) == value)
    statement = statement.order_by(*(order or [model.guid.desc()]))
    items = request.db.scalars(statement.offset(request.query.offset).limit(request.query.limit)).all()
    return Page(items, request.query.offset, request.query.limit)
