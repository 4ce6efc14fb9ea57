"""Refunds of debits, and reversals of credits."""

from __future__ import annotations

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError
from billy.testing.balanced_simulator.magic import Refusal
from billy.testing.balanced_simulator.resources.base import Call, notes
from billy.testing.balanced_simulator.resources.money import Money, escrow, left_of
from billy.testing.balanced_simulator.store import Record


class Refunds(Money):
    """``/refunds``, made under their debit."""

    type = "refunds"
    parents = frozenset({"debits"})
    templates = {
        "debit": "/debits/{refunds.debit}",
        "dispute": "/disputes/{refunds.dispute}",
        "events": "/refunds/{refunds.id}/events",
        "order": "/orders/{refunds.order}",
    }
    shows_failure = False

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """``POST /debits/WD…/refunds``: all that is left, if no amount is named."""
        source = call.company.find(parent.links["source"])
        behavior = call.meet(source, source.magic.refund)
        if parent.fields["status"] != "succeeded":
            raise ApiError("refund-invalid-debit-state", f"{parent.id} is {parent.fields['status']}.")
        if parent.links["dispute"] is not None:
            raise ApiError("debit-disputed", f"{parent.id} is disputed.")
        left = left_of(call.company, parent, "refunds", "debit")
        if left == 0:
            raise ApiError("debit-already-refunded", f"{parent.id} has already been fully refunded.")
        amount = body.amount(default=left, at_most=left)
        fields: dict[str, object] = {"amount": amount, **notes(body)}
        links = {"debit": parent.id, "dispute": None, "order": None}
        if behavior.refusal is not None:
            self.refuse(call, fields, links, behavior.refusal)
        if amount > escrow(call.company):
            self.refuse(call, fields, links, Refusal("refund-insufficient-funds", "The escrow is too low."))
        return self.enter(call, fields, links, behavior.status)


class Reversals(Money):
    """``/reversals``, made under their credit."""

    type = "reversals"
    parents = frozenset({"credits"})
    filters = Money.filters - {"meta"}
    templates = {
        "credit": "/credits/{reversals.credit}",
        "events": "/reversals/{reversals.id}/events",
        "order": "/orders/{reversals.order}",
    }

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """``POST /credits/CR…/reversals``: it is pending, or succeeds, as its credit does."""
        links = {"credit": parent.id, "order": None}
        status = parent.fields["status"]
        if call.company.find(parent.links["destination"]).type == "cards":
            raise ApiError("cannot-reverse-credits-to-cards", "Credits to cards cannot be reversed.")
        left = left_of(call.company, parent, "reversals", "credit")
        if left == 0:
            raise ApiError("credit-already-reversed", f"{parent.id} has already been fully reversed.")
        fields: dict[str, object] = {"amount": body.amount(default=left, at_most=left), **notes(body)}
        if status == "failed":
            self.refuse(call, fields, links, Refusal("cannot-reverse-credit", f"{parent.id} has failed."))
        return self.enter(call, fields, links, status)
