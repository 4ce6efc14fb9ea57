"""Debits, credits, refunds and reversals have this in common: they move money in or out of the escrow."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NoReturn

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.magic import Refusal
from billy.testing.balanced_simulator.resources.base import Call, Resource, notes
from billy.testing.balanced_simulator.store import Company, Record

TYPES = ("debits", "credits", "refunds", "reversals")

_STATEMENT_TEXT = re.compile(r"""[A-Za-z0-9 .<>(){}\[\]+&!$;\-%_?:#@~='"^`|]*\Z""")


class Money(Resource):
    """One of the four."""

    filters = frozenset({"amount", "created_at", "meta", "status", "transaction_number"})
    sorts = frozenset({"amount", "created_at"})
    shows_failure = True

    def enter(
        self,
        call: Call,
        fields: dict[str, object],
        links: dict[str, str | None],
        status: str,
        *,
        captured: Record | None = None,
    ) -> Record:
        """A new record, its money and its events, in the order that a debit of a ``captured`` hold has."""
        failure = {"failure_reason": None, "failure_reason_code": None} if self.shows_failure else {}
        record = call.make(self.type, {"currency": "USD", **fields, **failure, "status": status}, links)
        _move(call.company, record, share_of(record), call.now)
        call.announce(f"{self.noun}.created", record)
        if captured is not None:
            call.announce("hold.captured", captured)
        if status != "pending":
            call.announce(f"{self.noun}.{status}", record)
        return record

    def refuse(self, call: Call, fields: dict[str, object], links: dict[str, str | None], refusal: Refusal) -> NoReturn:
        """Answer with the error, and with the failed record if there is to be one."""
        record = None
        if refusal.recorded:
            record = self.enter(call, fields, links, "failed")
            if self.shows_failure:
                record.change(call.now, failure_reason=refusal.reason, failure_reason_code=refusal.code)
        raise ApiError(refusal.code, refusal.reason, additional=refusal.additional, record=record)

    def update(self, call: Call, record: Record, body: Body) -> None:
        """Only ``description`` and ``meta`` can be changed."""
        record.change(call.now, **notes(body, record.fields))
        call.announce(f"{self.noun}.updated", record)


def share_of(record: Record) -> int:
    """What the escrow holds because of it: what goes out is gone at once, what comes in counts when it is there."""
    amount: int = record.fields["amount"]
    status = record.fields["status"]
    if record.type in ("debits", "reversals"):
        return amount if status == "succeeded" else 0
    return 0 if status == "failed" else -amount


def settle(company: Company, record: Record, status: str, now: datetime) -> None:
    """Say how it ended, or that it was taken back."""
    before = share_of(record)
    failure = {}
    if "failure_reason" in record.fields:
        failed = status == "failed"
        failure["failure_reason"] = "R01: Returned by the bank." if failed else None
        failure["failure_reason_code"] = "returned" if failed else None
    record.change(now, **{"status": status, **failure})
    _move(company, record, share_of(record) - before, now)


def escrow(company: Company) -> int:
    """What can be paid out."""
    assert company.marketplace is not None
    cents: int = company.marketplace.fields["in_escrow"]
    return cents


def left_of(company: Company, record: Record, type: str, link: str) -> int:
    """What refunds, or reversals, have not given back yet; those that failed do not count."""
    given_back = sum(
        other.fields["amount"]
        for other in company.by_type[type]
        if other.links[link] == record.id and other.fields["status"] != "failed"
    )
    amount: int = record.fields["amount"]
    return amount - given_back


def statement_text(body: Body, longest: int) -> str:
    """``appears_on_statement_as``, checked; empty if none was sent."""
    text = body.text("appears_on_statement_as") or ""
    if len(text) > longest:
        raise invalid("appears_on_statement_as", f'"{text[:100]}" must have length <= {longest}')
    if not _STATEMENT_TEXT.match(text):
        raise invalid("appears_on_statement_as", f'"{text}" has characters that a statement cannot show')
    return text


def _move(company: Company, record: Record, cents: int, now: datetime) -> None:
    if cents and company.marketplace is not None:
        company.marketplace.change(now, in_escrow=escrow(company) + cents)
