"""Where Stripe's records stand, in Billy's words: payments, refunds, transfers and disputes."""

from __future__ import annotations

from billy.errors import Refused
from billy.processors.answers import Lost, text_of
from billy.processors.base import DisputeStatus, Receipt, ReceiptStatus, SubmissionType
from billy.processors.stripe_wire import Resource, id_of, refusal

RECORDS = {SubmissionType.DEBIT: ("pi",), SubmissionType.CREDIT: ("tr",), SubmissionType.REFUND: ("re", "pyr")}
"""How the ids of each movement's records begin."""

ENDED_BY_US = ("requires_payment_method", "requires_action", "requires_confirmation")
"""Where a payment of Billy's stands that did not succeed, and could still."""

_REFUNDS = {
    "succeeded": ReceiptStatus.SUCCEEDED,
    "failed": ReceiptStatus.FAILED,
    "canceled": ReceiptStatus.FAILED,
}

_DISPUTES = {
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}


def receipt_of(record: Resource) -> Receipt:
    """Where a payment, a refund or a transfer stands."""
    kind = record.get("object")
    if kind == "transfer":
        # Transfers do not fail. One that was taken back as a whole paid nothing.
        uri = id_of(record, *RECORDS[SubmissionType.CREDIT])
        if record.get("reversed"):
            return Receipt(uri, ReceiptStatus.FAILED, "The transfer was reversed", "reversed")
        return Receipt(uri, ReceiptStatus.SUCCEEDED)
    if kind == "refund":
        uri = id_of(record, *RECORDS[SubmissionType.REFUND])
        status = _REFUNDS.get(str(record.get("status")), ReceiptStatus.PENDING)
        if status is not ReceiptStatus.FAILED:
            return Receipt(uri, status)
        code = text_of(record.get("failure_reason"), 64) or str(record.get("status"))
        return Receipt(uri, status, f"The refund failed: {code}", code)
    uri = id_of(record, *RECORDS[SubmissionType.DEBIT])
    if record.get("status") == "succeeded":
        return Receipt(uri, ReceiptStatus.SUCCEEDED)
    if record.get("status") in (*ENDED_BY_US, "canceled"):
        why = _why(record)
        return Receipt(uri, ReceiptStatus.FAILED, str(why), why.code)
    return Receipt(uri, ReceiptStatus.PENDING)


def outcome_of(record: Resource) -> Receipt:
    """What a submission that left this record came to: a payment that did not succeed was refused …"""
    receipt = receipt_of(record)
    if receipt.status is ReceiptStatus.FAILED and record.get("object") == "payment_intent" and not _is_late(record):
        raise _why(record)
    return receipt


def _is_late(intent: Resource) -> bool:
    # … unless a bank returned it days after it had been accepted.
    error = intent.get("last_payment_error")
    method = error.get("payment_method") if isinstance(error, dict) else None
    return isinstance(method, dict) and method.get("type") in DELAYED


DELAYED = ("us_bank_account", "sepa_debit", "bacs_debit", "au_becs_debit", "acss_debit", "nz_bank_account")
"""Kinds of payment methods whose payments are ``processing`` for days."""


def _why(intent: Resource) -> Refused:
    error = intent.get("last_payment_error")
    if isinstance(error, dict):
        return refusal(error, number=402)
    status = str(intent.get("status"))
    code = "requires_action" if status == "requires_confirmation" else status
    return refusal({"code": code, "message": _WHY.get(code)}, number=402)


_WHY = {
    "requires_action": "The customer has to authenticate, which a charge without him cannot wait for",
    "requires_payment_method": "The payment failed, and Stripe does not say why",
    "canceled": "The payment was canceled",
}


def amount_of(record: Resource) -> int:
    """Cents."""
    amount = record.get("amount")
    if not isinstance(amount, int):
        raise Lost("Stripe's record has no amount")
    return amount


def dispute_of(record: Resource) -> DisputeStatus:
    """Where a dispute stands; what Stripe calls a warning is a bank that asks."""
    return _DISPUTES.get(str(record.get("status")), DisputeStatus.INQUIRY)
