"""A company's own ids of its records, which are unique: a second one is told apart from a bug.

The constraint decides, so two requests at once cannot both win. The check before it only spares a
processor a customer that is never used.
"""

from __future__ import annotations

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from billy.errors import DuplicateExternalIDError
from billy.models.base import Owned


def insert(session: Session, record: Owned) -> None:
    """Add a record and flush; DuplicateExternalIDError if its ``external_id`` is taken.

    The error leaves the session to be rolled back, as the request's is.
    """
    session.add(record)
    try:
        session.flush()
    except IntegrityError as error:
        told = str(error.orig)  # PostgreSQL names the constraint, SQLite its columns
        if str(_constraint(record).name) in told or f"{record.__tablename__}.external_id" in told:
            raise _duplicate(record) from None
        raise


def refuse_taken(session: Session, record: Owned) -> None:
    """DuplicateExternalIDError if the ``external_id`` of a record that is not yet inserted is taken now."""
    columns = _constraint(record).columns
    values = [getattr(record, column.name) for column in columns]
    if None not in values:
        same = [column == value for column, value in zip(columns, values, strict=True)]
        if session.scalar(select(type(record).guid).where(*same)) is not None:
            raise _duplicate(record)


def _constraint(record: Owned) -> UniqueConstraint:
    return next(
        constraint
        for constraint in record.__table__.constraints  # type: ignore[attr-defined]  # a Table, not any FromClause
        if isinstance(constraint, UniqueConstraint) and "external_id" in constraint.columns
    )


def _duplicate(record: Owned) -> DuplicateExternalIDError:
    *_, owner, external_id = (getattr(record, column.name) for column in _constraint(record).columns)
    return DuplicateExternalIDError(f"{type(record).__name__} {owner} with external_id {external_id} already exists")
