"""What cards and bank accounts have in common: a customer for good, and a store that they can be taken out of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError
from billy.testing.balanced_simulator.resources.base import Call, Resource
from billy.testing.balanced_simulator.store import Record, Store


class Instrument(Resource):
    """A card or a bank account."""

    parents = frozenset({"customers"})
    already_associated: str
    filters = frozenset({"created_at", "is_valid", "meta"})

    def tokenize(self, store: Store, body: Body, now: datetime) -> Record:
        """One that belongs to nobody yet."""
        raise NotImplementedError

    def create(self, call: Call, body: Body) -> Record:
        """Tokenised with a key it is claimed at once."""
        return call.claim(self.tokenize(call.store, body, call.now))

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """``POST /customers/CU…/cards``."""
        record = self.create(call, body)
        record.links["customer"] = parent.id
        return record

    def update(self, call: Call, record: Record, body: Body) -> None:
        """Associate it, change its ``meta``."""
        if (customer := body.reference("customer")) is not None:
            self.associate(call, record, find_customer(call, customer))
        if (meta := body.meta()) is not None:
            record.change(call.now, meta=meta)
        call.announce(f"{self.noun}.updated", record)

    def associate(self, call: Call, record: Record, customer: Record) -> None:
        """Make it the customer's; the same customer again is harmless."""
        if record.links["customer"] == customer.id:
            return
        if record.links["customer"] is not None:
            raise ApiError(self.already_associated, f"{record.id} already belongs to another customer.")
        record.links["customer"] = customer.id
        record.change(call.now)

    def delete(self, call: Call, record: Record) -> bool:
        """Unstore it."""
        record.is_removed = True
        call.announce(f"{self.noun}.invalidated", record)
        return False

    def filter_value(self, record: Record, name: str) -> Any:
        """``is_valid`` can be asked for, and is not shown."""
        return not record.is_removed if name == "is_valid" else super().filter_value(record, name)


def find_customer(call: Call, id: str) -> Record:
    """A customer of the company's."""
    record = call.find(id)
    if record.type != "customers":
        raise ApiError("request", f"{id} is not a customer.")
    return record


def find_instrument(call: Call, id: str | None, missing: str) -> Record:
    """A card or a bank account of the company's; ``missing`` is the error's code if none is named."""
    record = None if id is None else call.find(id)
    if record is None or record.type not in ("cards", "bank_accounts"):
        raise ApiError(missing, "There is no card or bank account to move the money from or to.")
    return record
