"""Debits, and the holds that come before those of cards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError
from billy.testing.balanced_simulator.resources.base import Call, Resource, notes
from billy.testing.balanced_simulator.resources.cards import Cards
from billy.testing.balanced_simulator.resources.instruments import find_instrument
from billy.testing.balanced_simulator.resources.money import Money, statement_text
from billy.testing.balanced_simulator.store import Record, timestamp

_HELD_FOR = timedelta(days=7)
_STATEMENT_TEXT = 22
_STATEMENT_SHOWS = 18


class Debits(Money):
    """``/debits``. There is no idempotency: two identical requests are two charges."""

    type = "debits"
    parents = frozenset({"bank_accounts", "card_holds", "cards"})
    templates = {
        "card_hold": "/holds/{debits.card_hold}",
        "customer": "/customers/{debits.customer}",
        "dispute": "/disputes/{debits.dispute}",
        "events": "/debits/{debits.id}/events",
        "order": "/orders/{debits.order}",
        "refunds": "/debits/{debits.id}/refunds",
        "source": "/resources/{debits.source}",
    }
    nested = {"refunds": ("debit",)}

    def create(self, call: Call, body: Body) -> Record:
        """``source`` is a reference or a card of its own."""
        if isinstance(inline := body.value("source"), dict):
            return self._charge(call, Cards().create(call, Body(inline)), body)
        return self._charge(call, find_instrument(call, body.reference("source"), "no-funding-source"), body)

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """Of a card, of a bank account, or the capture of a hold."""
        if parent.type == "card_holds":
            return self._capture(call, parent, body)
        return self._charge(call, parent, body)

    def _charge(self, call: Call, source: Record, body: Body) -> Record:
        fields, links = _wanted(body, body.amount()), _links(source)
        refuse_if_not_debitable(source)
        behavior = call.meet(source, source.magic.debit)
        if behavior.refusal is not None:
            self.refuse(call, fields, links, behavior.refusal)
        if source.type == "cards" and behavior.status != "failed":
            hold = make_hold(call, source, fields)
            call.announce("hold.updated", hold)
            return self._of_hold(call, hold, fields, links, behavior.status)
        return self.enter(call, fields, links, behavior.status)

    def _capture(self, call: Call, hold: Record, body: Body) -> Record:
        source = call.company.find(hold.links["card"])
        held = hold.fields["amount"]
        fields = _wanted(body, body.amount(default=held, at_most=held))
        if hold.fields["voided_at"] is not None:
            raise ApiError("hold-already-voided", f"{hold.id} has been voided.")
        if hold.links["debit"] is not None:
            raise ApiError("hold-already-captured", f"{hold.id} has been captured.")
        behavior = call.meet(source, source.magic.debit)
        if behavior.refusal is not None:
            self.refuse(call, fields, _links(source), behavior.refusal)
        return self._of_hold(call, hold, fields, _links(source), behavior.status)

    def _of_hold(
        self, call: Call, hold: Record, fields: dict[str, object], links: dict[str, str | None], status: str
    ) -> Record:
        debit = self.enter(call, fields, {**links, "card_hold": hold.id}, status, captured=hold)
        hold.links["debit"] = debit.id
        hold.change(call.now)
        return debit


class CardHolds(Resource):
    """``/card_holds``, as far as a debit shows them."""

    type = "card_holds"
    parents = frozenset({"cards"})
    templates = {
        "card": "/resources/{card_holds.card}",
        "customer": "/customers/{card_holds.customer}",
        "debit": "/debits/{card_holds.debit}",
        "debits": "/card_holds/{card_holds.id}/debits",
        "events": "/card_holds/{card_holds.id}/events",
        "order": "/orders/{card_holds.order}",
    }
    filters = frozenset({"amount", "created_at", "expires_at", "is_void", "meta", "transaction_number"})
    sorts = frozenset({"amount", "created_at"})
    nested = {"debits": ("card_hold",)}

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """``POST /cards/CC…/card_holds``."""
        fields = {"amount": body.amount(), **notes(body)}
        refuse_if_not_debitable(parent)
        behavior = call.meet(parent, parent.magic.debit)
        if (refusal := behavior.refusal) is not None:
            raise ApiError(refusal.code, refusal.reason, additional=refusal.additional)
        return make_hold(call, parent, fields)

    def update(self, call: Call, record: Record, body: Body) -> None:
        """``is_void`` voids it."""
        if body.value("is_void") in (True, "true"):
            _void(call, record)
        else:
            record.change(call.now, **notes(body, record.fields))
            call.announce("hold.updated", record)

    def delete(self, call: Call, record: Record) -> bool:
        """Void it: unlike other deletions this one shows what became of it."""
        _void(call, record)
        return True

    def filter_value(self, record: Record, name: str) -> Any:
        """``is_void`` can be asked for, and is not shown."""
        return record.fields["voided_at"] is not None if name == "is_void" else super().filter_value(record, name)


class Disputes(Resource):
    """``/disputes``: only ``Service.settle`` makes one."""

    type = "disputes"
    templates = {"events": "/disputes/{disputes.id}/events", "transaction": "/resources/{disputes.transaction}"}


def make_hold(call: Call, card: Record, fields: dict[str, object]) -> Record:
    """A hold of so much; whether it copies a debit's ``meta`` is not known, here it does."""
    record = call.make(
        "card_holds",
        {
            "amount": fields["amount"],
            "currency": "USD",
            "description": fields["description"],
            "meta": fields["meta"],
            "expires_at": timestamp(call.now + _HELD_FOR),
            "failure_reason": None,
            "failure_reason_code": None,
            "status": "succeeded",
            "voided_at": None,
        },
        {"card": card.id, "customer": card.links["customer"], "debit": None, "order": None},
    )
    call.announce("hold.created", record)
    return record


def refuse_if_not_debitable(source: Record) -> None:
    """A bank account has to be verified, and what is unstored is of no use any more."""
    if not source.fields["can_debit"] or source.is_removed:
        raise ApiError("funding-source-not-debitable", f"{source.id} cannot be debited.")


def _void(call: Call, hold: Record) -> None:
    if hold.links["debit"] is not None:
        raise ApiError("hold-already-captured", f"{hold.id} has been captured.")
    if hold.fields["voided_at"] is not None:
        raise ApiError("hold-already-voided", f"{hold.id} has been voided.")
    hold.change(call.now, voided_at=timestamp(call.now))
    call.announce("hold.voided", hold)


def _wanted(body: Body, amount: int) -> dict[str, object]:
    text = statement_text(body, _STATEMENT_TEXT)[:_STATEMENT_SHOWS] or "example.com"
    return {"amount": amount, "appears_on_statement_as": f"BAL*{text}", **notes(body)}


def _links(source: Record) -> dict[str, str | None]:
    customer = source.links["customer"]
    return {"card_hold": None, "customer": customer, "dispute": None, "order": None, "source": source.id}


def dispute(call: Call, debit: Record) -> Record:
    """What a cardholder's bank does after some time."""
    record = call.make(
        "disputes",
        {
            "amount": debit.fields["amount"],
            "currency": "USD",
            "initiated_at": timestamp(call.now),
            "reason": "fraud",
            "respond_by": timestamp(call.now + timedelta(days=30)),
            "status": "pending",
        },
        {"transaction": debit.id},
    )
    debit.links["dispute"] = record.id
    debit.change(call.now)
    call.announce("dispute.created", record)
    call.announce("debit.succeeded", debit)
    return record
