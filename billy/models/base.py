"""What every table shares: composite keys that begin with the company, UTC instants, named constraints.

Primary keys are ``(company_guid, guid)`` and references carry the company along, so a row of one
company cannot point at another's: the database refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    ForeignKeyConstraint,
    MetaData,
    Select,
    String,
    Text,
    bindparam,
    cast,
    func,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}

# What a caller may store in a text column; checked by billy.api.schemas before the database sees it.
GUID_LENGTH = 64
URI_LENGTH = 128
NAME_LENGTH = 128
EXTERNAL_ID_LENGTH = 128
STATEMENT_LENGTH = 18
PROCESSOR_KEY_LENGTH = 255

MAXIMUM_AMOUNT = 99_999_999_999


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC; a naive one is refused. SQLite has no zones and stores the UTC wall time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: TypeError for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"naive datetime {value!r}: instants are timezone-aware")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: always aware, in UTC."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


# Guids sort by bytes; PostgreSQL's default collations do not, and could not use the index for it.
Guid = String(GUID_LENGTH).with_variant(String(GUID_LENGTH, collation="C"), "postgresql")


class Base(DeclarativeBase):
    """Maps plain annotations to our column types."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}

    _shown: tuple[str, ...] = ("guid",)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"<{type(self).__name__} {shown}>"


def enum_column(enum: type[StrEnum], name: str) -> Enum:
    """A StrEnum stored by value as text, with a CHECK named ``ck_<table>_<name>``."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


def reference(table: str, column: str) -> ForeignKeyConstraint:
    """``(company_guid, column)`` points at a row of ``table`` of the same company; it cannot be deleted."""
    return ForeignKeyConstraint(
        ["company_guid", column], [f"{table}.company_guid", f"{table}.guid"], ondelete="RESTRICT"
    )


def to_company() -> ForeignKeyConstraint:
    """``company_guid`` points at a company."""
    return ForeignKeyConstraint(["company_guid"], ["company.guid"], ondelete="RESTRICT")


R = TypeVar("R", bound=Base)


class Owned(Base):
    """A record that belongs to a company."""

    __abstract__ = True

    company_guid: Mapped[str] = mapped_column(Guid, primary_key=True, sort_order=-2)
    guid: Mapped[str] = mapped_column(Guid, primary_key=True, sort_order=-1)
    created_at: Mapped[datetime]


Own = TypeVar("Own", bound=Owned)


@cache
def _one_of(model: type[Owned]) -> Select[Any]:
    # Built once a model: each request looks something up, and putting a statement together takes longer than
    # running it.
    return select(model).where(model.company_guid == bindparam("company_guid"), model.guid == bindparam("guid"))


def find(session: Session, model: type[Own], company_guid: str, guid: str, *, locked: bool = False) -> Own | None:
    """A company's record by its guid, in one query and locked if need be; None if the company has none.

    Half the price of ``session.get``.
    """
    statement = _locked(model) if locked else _one_of(model)
    record: Own | None = session.scalar(statement, {"company_guid": company_guid, "guid": guid})
    return record


def among(session: Session, company_guid: Any, guid: Any, keys: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Whether a row's ``(company_guid, guid)`` is one of many keys.

    PostgreSQL plans a list of pairs as one OR for each, which takes longer than the query itself; from two
    arrays it looks each pair up in the index.
    """
    pairs = list(keys)
    row = tuple_(company_guid, guid)
    if session.get_bind().dialect.name != "postgresql":
        return row.in_(pairs)
    columns = (cast(list(column), ARRAY(Text)) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    listed = func.unnest(*columns).table_valued("company_guid", "guid").render_derived()
    return row.in_(select(listed.c.company_guid, listed.c.guid))


def lock(session: Session, record: R) -> R:
    """Lock a record's row until the transaction ends, and read it again.

    The refresh matters as much as the lock: a state that was read before the wait is stale (D14). The
    lock is NO KEY UPDATE, so inserting rows that refer to the record need not wait. SQLite has one
    writer at a time (BEGIN IMMEDIATE) and only refreshes.

    Locks are taken in the order customer, subscription, invoice, transaction; within a kind by guid.
    """
    key = inspect(type(record)).primary_key
    session.scalars(_locked(type(record)), {column.name: getattr(record, column.name) for column in key}).one()
    return record


@cache
def _locked(model: type[Base]) -> Select[Any]:
    return _locking(model, *(column == bindparam(column.name) for column in inspect(model).primary_key))


def lock_all(session: Session, model: type[R], *where: Any) -> list[R]:
    """Lock and read again all records of a kind that match, in the order of their primary key."""
    return list(session.scalars(_locking(model, *where).order_by(*inspect(model).primary_key)))


def _locking(model: type[R], *where: Any) -> Select[R]:
    statement = select(model).where(*where).with_for_update(key_share=True, of=model)
    return statement.execution_options(populate_existing=True)
