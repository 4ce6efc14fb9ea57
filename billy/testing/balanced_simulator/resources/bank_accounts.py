"""Bank accounts, and the two small deposits that prove whose they are."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.magic import REFUSED_ACCOUNTS, magic_of_account
from billy.testing.balanced_simulator.resources.base import Call, Resource
from billy.testing.balanced_simulator.resources.instruments import Instrument, find_instrument
from billy.testing.balanced_simulator.store import Record, Store

_ROUTING_NUMBER = re.compile(r"[0-9]{9}\Z", re.ASCII)
_ACCOUNT_NUMBER = re.compile(r"[0-9]{1,17}\Z", re.ASCII)
_TYPES = ("checking", "savings")
_ATTEMPTS = 3
_DEPOSITS = [1, 1]


class BankAccounts(Instrument):
    """``/bank_accounts``."""

    type = "bank_accounts"
    already_associated = "bank-account-already-associated"
    templates = {
        "bank_account_verification": "/verifications/{bank_accounts.bank_account_verification}",
        "bank_account_verifications": "/bank_accounts/{bank_accounts.id}/verifications",
        "credits": "/bank_accounts/{bank_accounts.id}/credits",
        "customer": "/customers/{bank_accounts.customer}",
        "debits": "/bank_accounts/{bank_accounts.id}/debits",
        "settlements": "/bank_accounts/{bank_accounts.id}/settlements",
    }
    nested = {
        "credits": ("destination",),
        "debits": ("source",),
        "settlements": ("destination",),
        "verifications": ("bank_account",),
    }

    def tokenize(self, store: Store, body: Body, now: datetime) -> Record:
        """It can be credited; to be debited it has to be verified."""
        name = body.required("name")
        account_number = body.required("account_number")
        routing_number = body.required("routing_number")
        if not _ACCOUNT_NUMBER.match(account_number):
            raise ApiError("invalid-bank-account-number", "The account number is not valid.")
        if not _ROUTING_NUMBER.match(routing_number) or (routing_number, account_number) in REFUSED_ACCOUNTS:
            raise ApiError(
                "invalid-routing-number", "Routing number is invalid.", extras={"routing_number": "is invalid"}
            )
        account_type = body.text("account_type") or "checking"
        if account_type not in _TYPES:
            raise invalid("account_type", f'"{account_type[:100]}" must be one of {", ".join(_TYPES)}')
        fields = {
            "account_number": "x" * max(len(account_number) - 4, 0) + account_number[-4:],
            "account_type": account_type,
            "address": body.address(),
            "bank_name": "BANK OF AMERICA, N.A.",
            "can_credit": True,
            "can_debit": False,
            "fingerprint": hashlib.sha256(f"{routing_number}/{account_number}".encode()).hexdigest(),
            "meta": body.meta() or {},
            "name": name,
            "routing_number": routing_number,
        }
        record = store.make("bank_accounts", now, fields, {"bank_account_verification": None, "customer": None})
        record.magic = magic_of_account(routing_number, account_number)
        return record


class Verifications(Resource):
    """``/verifications``, made under their bank account."""

    type = "bank_account_verifications"
    parents = frozenset({"bank_accounts"})
    templates = {"bank_account": "/bank_accounts/{bank_account_verifications.bank_account}"}

    def create_under(self, call: Call, parent: Record, body: Body) -> Record:
        """One that is under way, or went well, is enough."""
        account = find_instrument(call, parent.id, "no-funding-source")
        latest = call.company.records.get(account.links["bank_account_verification"] or "")
        if latest is not None and latest.fields["verification_status"] != "failed":
            raise ApiError("bank-account-authentication-already-exists", f"{account.id} already has {latest.id}.")
        record = call.make(
            self.type,
            {
                "attempts": 0,
                "attempts_remaining": _ATTEMPTS,
                "deposit_status": "succeeded",
                "verification_status": "pending",
            },
            {"bank_account": account.id},
        )
        account.links["bank_account_verification"] = record.id
        call.announce("bank_account_verification.created", record)
        call.announce("bank_account_verification.deposited", record)
        return record

    def update(self, call: Call, record: Record, body: Body) -> None:
        """Tell both deposits: one cent each."""
        if record.fields["verification_status"] != "pending":
            raise ApiError("bank-account-authentication-not-pending", f"{record.id} is not pending.")
        told = [body.integer(name, 0, 99) for name in ("amount_1", "amount_2")]
        if None in told:
            raise invalid("amount_2" if told[0] is not None else "amount_1", "missing")
        attempts = record.fields["attempts"] + 1
        record.change(call.now, attempts=attempts, attempts_remaining=_ATTEMPTS - attempts)
        if told == _DEPOSITS:
            record.change(call.now, verification_status="succeeded")
            call.company.find(record.links["bank_account"]).change(call.now, can_debit=True)
            call.announce("bank_account_verification.verified", record)
            call.announce("bank_account_verification.succeeded", record)
            return
        if attempts == _ATTEMPTS:
            record.change(call.now, verification_status="failed")
            call.announce("bank_account_verification.failed", record)
        raise ApiError("bank-account-authentication-failed", "Authentication amounts do not match.")
