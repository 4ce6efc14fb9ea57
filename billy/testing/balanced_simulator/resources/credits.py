"""Credits, which pay out of the escrow."""

from __future__ import annotations

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError
from billy.testing.balanced_simulator.magic import Refusal
from billy.testing.balanced_simulator.resources.base import Call, notes
from billy.testing.balanced_simulator.resources.instruments import find_instrument
from billy.testing.balanced_simulator.resources.money import Money, escrow, statement_text
from billy.testing.balanced_simulator.store import Record

_STATEMENT_TEXT = {"bank_accounts": 14, "cards": 12}
_CARD_LIMIT = 250_000


class Credits(Money):
    """``/credits``."""

    type = "credits"
    parents = frozenset({"bank_accounts", "cards"})
    templates = {
        "customer": "/customers/{credits.customer}",
        "destination": "/resources/{credits.destination}",
        "events": "/credits/{credits.id}/events",
        "order": "/orders/{credits.order}",
        "reversals": "/credits/{credits.id}/reversals",
    }
    nested = {"reversals": ("credit",)}

    def create(self, call: Call, body: Body) -> Record:
        """``destination`` is a reference."""
        return self._pay(call, find_instrument(call, body.reference("destination"), "no-funding-destination"), body)

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """To a card or a bank account."""
        return self._pay(call, parent, body)

    def _pay(self, call: Call, destination: Record, body: Body) -> Record:
        amount = body.amount()
        fields = {
            "amount": amount,
            "appears_on_statement_as": statement_text(body, _STATEMENT_TEXT[destination.type]) or "example.com",
            **notes(body),
        }
        links = {"customer": destination.links["customer"], "destination": destination.id, "order": None}
        _refuse_if_not_creditable(destination, amount)
        behavior = call.meet(destination, destination.magic.credit)
        if behavior.refusal is not None:
            self.refuse(call, fields, links, behavior.refusal)
        if amount > escrow(call.company):
            self.refuse(call, fields, links, Refusal("insufficient-funds", "Insufficient funds in the escrow."))
        return self.enter(call, fields, links, behavior.status)


def _refuse_if_not_creditable(destination: Record, amount: int) -> None:
    if destination.is_removed:
        raise ApiError("request", f"{destination.id} has been removed.")
    if not destination.fields["can_credit"]:
        raise ApiError("funding-destination-not-creditable", f"{destination.id} cannot be credited.")
    if destination.type == "cards":
        if not destination.fields["name"]:
            raise ApiError("name-required-to-credit", f"{destination.id} has no name.", extras={"name": "missing"})
        if amount > _CARD_LIMIT:
            raise ApiError("amount-exceeds-limit", f"A card is credited {_CARD_LIMIT} cents at most.")
