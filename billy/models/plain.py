"""Records without the ORM: what is only read, or changed by the hundred.

The ORM's bookkeeping takes three times as long as the verbs and properties of the models do, and as long as the
query itself. A plain record is made of a mapped class's own verbs and properties, so there is one truth, and has
the same attributes: the columns, and what the mapped class loads by a join. Nobody writes it back by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, bindparam, inspect, select

from billy.models.base import Base, Owned

R = TypeVar("R", bound=Base)
Own = TypeVar("Own", bound=Owned)


@cache
def plain(model: type[R]) -> type[R]:
    """The class of a model's plain records."""
    verbs = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, FunctionType | property | staticmethod) and not name.startswith("__")
    }
    names = {"_shown": model._shown, "__repr__": model.__repr__, "model": model}
    made: type[R] = type(f"Plain{model.__name__}", (), {**verbs, **names})
    return made


def model_of(record: object) -> type:
    """The mapped class of a record, plain or not; the class of anything else."""
    model: type = getattr(type(record), "model", type(record))
    return model


@dataclass(frozen=True, slots=True)
class Shape:
    """How the columns of a row become a record."""

    model: type[Any]
    made_as: type[Any]
    """The class of the record."""
    columns: tuple[Any, ...]
    names: tuple[str, ...]
    joined: tuple[tuple[str, Shape, Any], ...]
    """What is loaded with it: the attribute, its shape and the condition."""

    def select(self) -> Select[Any]:
        """All rows, to be cut down by ``where`` and the like."""
        columns, source = list(self.columns), self.model.__table__
        for _, shape, condition in self.joined:
            columns += shape.columns
            source = source.join(shape.model.__table__, condition)
        return select(*columns).select_from(source)

    def record(self, values: Iterable[Any]) -> Any:
        """The record of one row, which begins with the columns of ``select``."""
        made = self.made_as()
        rest = iter(values)
        vars(made).update(zip(self.names, rest))  # noqa: B905  # what is left over is of the next
        for name, shape, _ in self.joined:
            setattr(made, name, shape.record(rest))
        return made


@cache
def shape(model: Any, *, without: Collection[str] = frozenset()) -> Shape:
    """The shape of a model's rows, maybe without some columns."""
    mapper = inspect(model)
    columns = tuple(column for column in model.__table__.c if column.name not in without)
    eager = (each for each in mapper.relationships if each.lazy == "joined")
    joined = tuple((each.key, shape(each.entity.class_), each.primaryjoin) for each in eager)
    return Shape(model, plain(model), columns, tuple(column.name for column in columns), joined)


def fetch(connection: Connection, model: type[R], statement: Select[Any], values: Mapping[str, Any]) -> list[R]:
    """The plain records that a statement made of ``shape(model).select()`` finds."""
    make = shape(model).record
    return [make(row) for row in connection.execute(statement, values)]


@cache
def _one_of(model: type[Owned]) -> Select[Any]:
    # Built once a model: putting a statement together takes longer than running it.
    own = (model.company_guid == bindparam("company_guid"), model.guid == bindparam("guid"))
    return shape(model).select().where(*own)


def find(connection: Connection, model: type[Own], company_guid: str, guid: str) -> Own | None:
    """A company's record by its guid, in one query; None if the company has none."""
    found = fetch(connection, model, _one_of(model), {"company_guid": company_guid, "guid": guid})
    return found[0] if found else None
