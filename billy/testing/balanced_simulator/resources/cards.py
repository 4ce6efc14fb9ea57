"""Cards: tokenised, claimed, associated, unstored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.magic import magic_of_card
from billy.testing.balanced_simulator.resources.instruments import Instrument
from billy.testing.balanced_simulator.store import Record, Store

_NUMBER = re.compile(r"[0-9]{12,19}\Z", re.ASCII)
_BRANDS = {"4": "Visa", "5": "MasterCard", "34": "American Express", "37": "American Express", "6": "Discover"}
_CVV_RESULTS = {"yes": "Match", "no": "No Match", "unsupported": "Not Supported"}
_POSTAL_MATCHES = {"94301": "yes", "90210": "no", "90211": "unsupported", "94103": "yes"}
_STREET_MATCHES = {("965 Mission St", "94103"): "yes", ("21 Jump St", "90210"): "no"}


class Cards(Instrument):
    """``/cards``."""

    type = "cards"
    already_associated = "card-already-funding-src"
    templates = {
        "card_holds": "/cards/{cards.id}/card_holds",
        "customer": "/customers/{cards.customer}",
        "debits": "/cards/{cards.id}/debits",
        "disputes": "/cards/{cards.id}/disputes",
    }
    nested = {
        "card_holds": ("card",),
        "credits": ("destination",),
        "debits": ("source",),
        "disputes": ("transaction", "source"),
    }

    def templates_of(self, records: Sequence[Record]) -> Mapping[str, str]:
        """``credits`` only for a card that can be credited: the service's own client goes by that."""
        if any(record.fields["can_credit"] for record in records):
            return {**self.templates, "credits": "/cards/{cards.id}/credits"}
        return self.templates

    def tokenize(self, store: Store, body: Body, now: datetime) -> Record:
        """Spaces and dashes may stand in the number."""
        number = re.sub(r"[ -]", "", body.required("number"))
        if not _NUMBER.match(number):
            raise ApiError("card-number-not-valid", "The card number is not valid.", extras={"number": "not valid"})
        month = body.integer("expiration_month", 1, 12)
        year = body.integer("expiration_year", 1000, 9999)
        for name, value in (("expiration_month", month), ("expiration_year", year)):
            if value is None:
                raise invalid(name, "missing")
        if not passes_luhn(number) or (year, month) < (now.year, now.month):
            raise ApiError("card-not-validated", "Card cannot be validated.")
        magic, cvv, address = magic_of_card(number), body.text("cvv"), body.address()
        fields = {
            "address": address,
            **_address_checks(address),
            "bank_name": "BANK OF HAWAII",
            "brand": next((brand for prefix, brand in _BRANDS.items() if number.startswith(prefix)), "Visa"),
            "can_credit": magic.can_credit,
            "can_debit": True,
            "category": "other",
            "cvv": "xxx" if cvv else None,
            "cvv_match": magic.cvv_match if cvv else None,
            "cvv_result": _CVV_RESULTS[magic.cvv_match] if cvv else None,
            "expiration_month": month,
            "expiration_year": year,
            "fingerprint": hashlib.sha256(number.encode()).hexdigest(),
            "is_verified": True,
            "meta": body.meta() or {},
            "name": body.text("name"),
            "number": "x" * (len(number) - 4) + number[-4:],
            "type": "debit" if magic.can_credit else "credit",
        }
        record = store.make("cards", now, fields, {"customer": None})
        record.magic = magic
        return record


def passes_luhn(number: str) -> bool:
    """Whether the last digit is the right one."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _address_checks(address: Mapping[str, str | None]) -> dict[str, Any]:
    line, postal_code = address["line1"], address["postal_code"]
    postal = None if postal_code is None else _POSTAL_MATCHES.get(postal_code, "yes")
    street = _STREET_MATCHES.get((line, postal_code), "yes") if line and postal_code else None
    result = None if postal is None else f"Postal code {postal}, street {street}"
    return {"avs_postal_match": postal, "avs_street_match": street, "avs_result": result}
