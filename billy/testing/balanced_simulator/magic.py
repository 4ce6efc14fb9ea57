"""The numbers that make an instrument misbehave.

The service's own are in ``CARDS`` and ``ACCOUNTS``. ``OUR_CARDS`` are the simulator's: the service never had
them. All of ours pass Luhn's check, can be debited and credited, and take any CVV.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from billy.testing.balanced_simulator.errors import STATUS_OF
from billy.testing.chaos import Fault


@dataclass(frozen=True)
class Refusal:
    """A no of the bank; ``recorded`` says whether it leaves a failed record behind."""

    code: str
    reason: str
    additional: str | None = None
    recorded: bool = True


@dataclass(frozen=True)
class Behavior:
    """What comes of a debit, a credit or a refund."""

    status: str = "succeeded"
    refusal: Refusal | None = None
    fault: Fault | None = None
    times: int | None = None
    """How often, before all goes well; None is always."""


@dataclass(frozen=True)
class Magic:
    """The behavior of an instrument."""

    debit: Behavior = Behavior()
    credit: Behavior = Behavior()
    refund: Behavior = Behavior()
    can_credit: bool = False
    is_invalid: bool = False
    """It fails on its first authenticated use."""
    cvv_match: str = "yes"


ORDINARY = Magic()

_FROZEN = Refusal("card-declined", "R758: Account Frozen.", "Account Frozen")

BEHAVIORS = {
    "succeeds": Behavior(),
    "pending": Behavior(status="pending"),
    "fails": Behavior(status="failed"),
    "declined": Behavior(refusal=_FROZEN),
    "declined-twice": Behavior(refusal=_FROZEN, times=2),
    "insufficient-funds": Behavior(refusal=Refusal("insufficient-funds", "Insufficient funds.")),
    "not-valid": Behavior(refusal=Refusal("card-not-valid", "Card is not valid.")),
    "slow-down": Behavior(fault=Fault.SLOW_DOWN),
    "lost-before": Behavior(fault=Fault.DROP_BEFORE, times=1),
    "lost-after": Behavior(fault=Fault.DROP_AFTER, times=1),
    "slow": Behavior(fault=Fault.DELAY_AFTER),
    "error-before": Behavior(fault=Fault.ERROR_BEFORE, times=1),
    "error-after": Behavior(fault=Fault.ERROR_AFTER, times=1),
    "half": Behavior(fault=Fault.HALF, times=1),
    "trickle": Behavior(fault=Fault.TRICKLE),
}
"""By name."""

_OF_REFUNDS = "refund-"
_WITHOUT_RECORD = "-without-record"


def magic_named(name: str) -> Magic:
    """``lost-after`` loses the answers to debits and credits, ``refund-lost-after`` those to refunds.

    Every ``category_code`` that means a refusal is a name too, and what is refused may leave no record:
    ``authorization-failed-without-record``. ValueError for other names.
    """
    behavior = _behavior_named(name.removeprefix(_OF_REFUNDS))
    if name.startswith(_OF_REFUNDS):
        return Magic(refund=behavior, can_credit=True)
    return Magic(debit=behavior, credit=behavior, can_credit=True)


def _behavior_named(name: str) -> Behavior:
    if name in BEHAVIORS:
        return BEHAVIORS[name]
    if STATUS_OF.get(name) in (400, 402, 403, 404, 409):
        return Behavior(refusal=Refusal(name, "Refused by the simulator."))
    if name.endswith(_WITHOUT_RECORD):
        behavior = _behavior_named(name.removesuffix(_WITHOUT_RECORD))
        if behavior.refusal is not None:
            return replace(behavior, refusal=replace(behavior.refusal, recorded=False))
    raise ValueError(f"There is no behavior {name[:100]!r}")


CARDS = {
    "4342561111111118": Magic(can_credit=True),
    "4210101111111112": Magic(credit=Behavior(status="pending"), can_credit=True),
    "4444444444444448": Magic(debit=BEHAVIORS["declined"]),
    "4222222222222220": Magic(is_invalid=True),
    "5112000200000002": Magic(cvv_match="no"),
    "4457000300000007": Magic(cvv_match="unsupported"),
}
"""The service's test cards; every other number that passes Luhn's check succeeds."""

OUR_CARDS = {
    "4999990000000015": "pending",
    "4999990000000023": "fails",
    "4999990000000031": "declined-without-record",
    "4999990000000049": "declined-twice",
    "4999990000000056": "insufficient-funds",
    "4999990000000064": "not-valid",
    "4999990000000072": "slow-down",
    "4999990000000080": "lost-before",
    "4999990000000098": "lost-after",
    "4999990000000106": "slow",
    "4999990000000114": "error-before",
    "4999990000000122": "error-after",
    "4999990000000130": "half",
    "4999990000000148": "trickle",
    "4999990000000155": "refund-pending",
    "4999990000000163": "refund-fails",
    "4999990000000171": "refund-lost-before",
    "4999990000000189": "refund-lost-after",
    "4999990000000197": "insufficient-funds-without-record",
    "4999990000000205": "not-valid-without-record",
}
"""The simulator's own, and which behavior each has."""

ACCOUNTS = {
    ("021000021", "9900000000"): "pending",
    ("321174851", "9900000001"): "pending",
    ("021000021", "9900000002"): "succeeds",
    ("321174851", "9900000003"): "succeeds",
    ("021000021", "9900000004"): "fails",
    ("321174851", "9900000005"): "fails",
    ("021000021", "9900000095"): "succeeds",
}
"""The service's test accounts by routing and account number; every other account is pending."""

REFUSED_ACCOUNTS = {("100000007", "8887776665555"), ("111111118", "8887776665555")}
"""Those whose routing number is refused."""


def magic_of_card(number: str) -> Magic:
    """By the card's digits."""
    if number in OUR_CARDS:
        return magic_named(OUR_CARDS[number])
    return CARDS.get(number, ORDINARY)


def magic_of_account(routing_number: str, account_number: str) -> Magic:
    """By both numbers."""
    return magic_named(ACCOUNTS.get((routing_number, account_number), "pending"))
