"""Customers. Their events are called ``account.*``, as they were before they were customers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.resources.base import Call, Resource
from billy.testing.balanced_simulator.resources.instruments import find_instrument
from billy.testing.balanced_simulator.store import Record

_TEXTS = ("business_name", "ein", "name", "phone", "ssn_last4")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")
_UNDER = (
    *("accounts", "bank_accounts", "card_holds", "cards", "credits", "debits", "disputes", "external_accounts"),
    *("orders", "refunds", "reversals"),
)


class Customers(Resource):
    """``/customers``."""

    type = "customers"
    templates = {
        **{name: f"/customers/{{customers.id}}/{name}" for name in (*_UNDER, "transactions")},
        "source": "/resources/{customers.source}",
        "destination": "/resources/{customers.destination}",
    }
    filters = frozenset({"created_at", "email", "meta"})
    nested = {
        **dict.fromkeys(_UNDER, ("customer",)),
        "disputes": ("transaction", "customer"),
        "refunds": ("debit", "customer"),
        "reversals": ("credit", "customer"),
    }

    def create(self, call: Call, body: Body) -> Record:
        """Everything is optional."""
        blank = dict.fromkeys((*_TEXTS, "email", "dob_month", "dob_year"))
        fields = {**blank, **_given(body), "address": body.address()}
        instruments = _instruments(call, body, None)
        record = call.make(
            "customers", {**fields, "merchant_status": _merchant_status(fields)}, {"source": None, "destination": None}
        )
        _link(record, instruments)
        call.announce("account.created", record)
        return record

    def update(self, call: Call, record: Record, body: Body) -> None:
        """The fields that are given."""
        fields = {**record.fields, **_given(body)}
        if "address" in body:
            fields["address"] = body.address()
        instruments = _instruments(call, body, record.id)
        record.change(call.now, **{**fields, "merchant_status": _merchant_status(fields)})
        _link(record, instruments)
        call.announce("account.updated", record)

    def delete(self, call: Call, record: Record) -> bool:
        """Only while nothing happened with it."""
        for type in ("card_holds", "debits", "credits"):
            if any(other.links["customer"] == record.id for other in call.company.by_type[type]):
                raise ApiError("customer-in-use", f"{record.id} has {type} and cannot be deleted.")
        call.company.forget(record)
        call.announce("account.deleted", record)
        return False


def _given(body: Body) -> dict[str, Any]:
    given: dict[str, Any] = {name: body.text(name) for name in (*_TEXTS, "email")}
    given["dob_month"] = body.integer("dob_month", 1, 12)
    given["dob_year"] = body.integer("dob_year", 1800, 9999)
    given["meta"] = body.meta()
    if given["email"] is not None and not _EMAIL.match(given["email"]):
        raise invalid("email", f'"{given["email"][:100]}" must be a valid email address as specified by RFC-2822')
    return {name: value for name, value in given.items() if value is not None}


def _instruments(call: Call, body: Body, customer_id: str | None) -> dict[str, Record]:
    found = {}
    for name, missing in (("source", "no-funding-source"), ("destination", "no-funding-destination")):
        if (id := body.reference(name)) is not None:
            found[name] = find_instrument(call, id, missing)
            if found[name].links["customer"] not in (None, customer_id):
                raise ApiError("cannot-associate-card", f"{id} already belongs to another customer.")
    return found


def _link(customer: Record, instruments: Mapping[str, Record]) -> None:
    for name, instrument in instruments.items():
        instrument.links["customer"] = customer.id
        customer.links[name] = instrument.id


def _merchant_status(fields: Mapping[str, Any]) -> str:
    born = fields["dob_month"] is not None and fields["dob_year"] is not None
    return "underwritten" if fields["name"] and born and fields["address"]["postal_code"] else "no-match"
