"""What the nouns have in common: the methods that a path may take, and one request's way through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, method_not_allowed
from billy.testing.balanced_simulator.magic import Behavior
from billy.testing.balanced_simulator.store import Company, Record, Store
from billy.testing.chaos import BEFORE, Fault

GOES_WELL = Behavior()


class Hindered(Exception):
    """The instrument's magic says that nothing shall be done, in this way."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


@dataclass
class Call:
    """One authenticated request: on whose records, at what time, and what comes of it besides the answer."""

    store: Store
    company: Company
    now: datetime
    fault: Fault | None = None
    """What the instrument's magic makes of the answer."""
    announced: list[tuple[str, Record]] = field(default_factory=list)
    """The events to publish when all is done, oldest first."""

    def make(self, type: str, fields: Mapping[str, Any], links: Mapping[str, str | None] | None = None) -> Record:
        """A record of the company's."""
        record = self.store.make(type, self.now, fields, links)
        self.company.keep(record)
        return record

    def find(self, id: str) -> Record:
        """By id; a card or a bank account that nobody has claimed becomes the company's. 404 for others'."""
        if id in self.store.unclaimed:
            self.claim(self.store.unclaimed[id])
            del self.store.unclaimed[id]
        return self.company.find(id)

    def claim(self, instrument: Record) -> Record:
        """Its first authenticated use, which is when the bank is asked whether there is such a card."""
        if instrument.magic.is_invalid:
            raise ApiError("card-declined", "Card cannot be validated.", additional="Card cannot be validated")
        self.company.keep(instrument)
        self.announce(f"{instrument.type.removesuffix('s')}.created", instrument)
        return instrument

    def announce(self, type: str, record: Record) -> None:
        """Have an event published."""
        self.announced.append((type, record))

    def meet(self, instrument: Record, behavior: Behavior) -> Behavior:
        """What the instrument's magic makes of this use; raises Hindered where nothing is done."""
        if behavior == GOES_WELL:
            return GOES_WELL
        instrument.tries += 1
        if behavior.times is not None and instrument.tries > behavior.times:
            return GOES_WELL
        if behavior.fault in BEFORE:
            raise Hindered(behavior.fault)
        self.fault = behavior.fault
        return behavior


class Resource:
    """A noun. What a subclass does not override is not allowed."""

    type: ClassVar[str]
    templates: ClassVar[Mapping[str, str]] = {}
    """The URI templates of its envelope's ``links``, by the name after the dot."""
    filters: ClassVar[frozenset[str]] = frozenset({"created_at", "meta"})
    sorts: ClassVar[frozenset[str]] = frozenset({"created_at"})
    nested: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The collections under an object: by path segment, the links that lead from an item up to the object."""

    parents: ClassVar[frozenset[str]] = frozenset()
    """The types of objects that it is made under."""

    @property
    def noun(self) -> str:
        """As in ``debit.created``."""
        return self.type.removesuffix("s")

    def templates_of(self, records: Sequence[Record]) -> Mapping[str, str]:
        """The templates that an envelope with these shows."""
        return self.templates

    def shown(self, record: Record) -> dict[str, Any]:
        """As JSON."""
        return record.shown()

    def shown_at_creation(self, record: Record) -> dict[str, Any]:
        """As JSON, in the answer to the request that made it."""
        return self.shown(record)

    def filter_value(self, record: Record, name: str) -> Any:
        """What a filter or a sort on ``name`` looks at."""
        return record.fields.get(name)

    def create(self, call: Call, body: Body) -> Record:
        """Answer a POST to the collection."""
        raise method_not_allowed()

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """Answer a POST to the collection under an object."""
        raise method_not_allowed()

    def update(self, call: Call, record: Record, body: Body) -> None:
        """Answer a PUT or a PATCH."""
        raise method_not_allowed()

    def delete(self, call: Call, record: Record) -> bool:
        """Answer a DELETE; whether the answer shows the object."""
        raise method_not_allowed()


class Unused(Resource):
    """A noun that Billy has no use for: its lists are empty, and nothing can be made."""

    def __init__(self, type: str) -> None:
        self.type = type  # type: ignore[misc]  # the one class that serves several nouns


def notes(body: Body, now_shown: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``description`` and ``meta``: those sent, or those shown now."""
    shown = now_shown or {"description": None, "meta": {}}
    description, meta = body.text("description"), body.meta()
    return {
        "description": shown["description"] if description is None else description,
        "meta": shown["meta"] if meta is None else meta,
    }
