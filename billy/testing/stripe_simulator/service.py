"""The service without HTTP: what it remembers, and what only its owner, its banks and its customers may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import urllib3

from billy import clock
from billy.testing.chaos import Chaos, Fault
from billy.testing.courier import Courier
from billy.testing.http_app import Misbehaving
from billy.testing.stripe_simulator.form import Refusal

Resource = dict[str, Any]

_BASE62 = string.digits + string.ascii_letters


@dataclass(frozen=True)
class Behavior:
    """What comes of paying with a payment method, or of refunding what was paid with it."""

    status: str = "succeeded"
    decline: str | None = None
    """A decline code."""
    fault: Fault | None = None
    crashes: bool = False
    """A 500 of Stripe's own, which its idempotency replays: before it acts, or after, as ``fault`` says."""
    times: int | None = None
    """How often, before all goes well; None is always."""


BEHAVIORS = {
    "succeeds": Behavior(),
    "pending": Behavior(status="processing"),
    "requires-action": Behavior(status="requires_action"),
    "declined": Behavior(decline="insufficient_funds"),
    "declined-twice": Behavior(decline="insufficient_funds", times=2),
    "stolen": Behavior(decline="stolen_card"),
    "authentication-required": Behavior(decline="authentication_required"),
    "slow-down": Behavior(fault=Fault.SLOW_DOWN),
    "lost-before": Behavior(fault=Fault.DROP_BEFORE, times=1),
    "lost-after": Behavior(fault=Fault.DROP_AFTER, times=1),
    "slow": Behavior(fault=Fault.DELAY_AFTER),
    "crashes-before": Behavior(fault=Fault.ERROR_BEFORE, crashes=True, times=1),
    "crashes-after": Behavior(fault=Fault.ERROR_AFTER, crashes=True, times=1),
    "half": Behavior(fault=Fault.HALF, times=1),
    "trickle": Behavior(fault=Fault.TRICKLE),
}
"""By name. ``refund-`` before a name has the payment succeed, and its refunds behave so."""


@dataclass(frozen=True)
class Saved:
    """What was answered to an idempotency key."""

    request: bytes
    status: int
    body: bytes


@dataclass(eq=False)
class Account:
    """All that belongs to one secret key."""

    id: str
    objects: dict[str, Resource] = field(default_factory=dict)
    """By id, oldest first."""
    behaviors: dict[str, tuple[Behavior, Behavior]] = field(default_factory=dict)
    """By payment method: of its payments, and of their refunds."""
    tries: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Saved] = field(default_factory=dict)
    """By idempotency key."""
    happened: list[tuple[str, Resource]] = field(default_factory=list)
    """Events to be published: type and object."""

    def of_kind(self, kind: str) -> list[Resource]:
        """All objects of a kind, oldest first."""
        return [each for each in self.objects.values() if each["object"] == kind]

    def find(self, kind: str, id: str, *, param: str = "id") -> Resource:
        """By id; ``resource_missing`` for another account's as for none."""
        found = self.objects.get(id)
        if found is None or found["object"] != kind:
            status = 404 if param == "id" else 400
            raise Refusal(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)
        return found


@dataclass(frozen=True)
class Delivery:
    """One try to deliver an event."""

    event: str
    type: str
    url: str
    attempt: int
    status: int | None


class Service(Misbehaving):
    """A processor, and the hands that a real one would not let anybody have."""

    def __init__(
        self,
        *,
        chaos: Chaos | None = None,
        slow: float = 30.0,
        retry_delay: float = 600.0,
        callback_timeout: float = 10.0,
        idempotent: bool = True,
    ) -> None:
        """``slow`` is how long a slow card takes, ``retry_delay`` how long a webhook waits for its first retry.

        Without ``idempotent`` keys are ignored, as a faulty middleman might.
        """
        super().__init__(chaos=chaos, slow=slow)
        self.idempotent = idempotent
        self.lock = threading.RLock()
        """Held while a request is acted on, and never while one waits or sends."""
        self.accounts: dict[str, Account] = {}
        """By secret key."""
        self.courier = Courier(retry_delay=retry_delay, timeout=callback_timeout)
        self._deliveries: list[Delivery] = []

    def new_key(self) -> str:
        """The secret key of a new account."""
        key = f"sk_test_{_random(24)}"
        with self.lock:
            self.accounts[key] = Account(f"acct_{_random(16)}")
        return key

    def revoke(self, key: str) -> None:
        """End a key: 401 from now on. KeyError if it does not exist (any more)."""
        with self.lock:
            del self.accounts[key]

    def payment_method(self, key: str, behavior: str) -> str:
        """The id of a new payment method, nobody's yet, that behaves as ``BEHAVIORS`` says, or by its decline code."""
        name = behavior.removeprefix("refund-")
        behaves = BEHAVIORS.get(name) or Behavior(decline=name)
        both = (Behavior(), behaves) if behavior.startswith("refund-") else (behaves, Behavior())
        kind = "us_bank_account" if behaves.status == "processing" and both[0] is behaves else "card"
        with self.lock:
            account = self.accounts[key]
            made = self.make(account, "payment_method", "pm", type=kind, customer=None)
            account.behaviors[made["id"]] = both
        return str(made["id"])

    def connected_account(self, key: str) -> str:
        """The id of a new connected account, to which transfers can be made."""
        with self.lock:
            return str(self.make(self.accounts[key], "account", "acct")["id"])

    def settle(self, id: str, status: str) -> str:
        """Say how a payment or a refund ended; the id of the event.

        ``status`` is succeeded, failed or, for a payment, processing. KeyError if there is no such record,
        ValueError if it cannot end so.
        """
        with self.lock:
            account, record = self._find(id)
            if record["object"] == "refund" and status in ("succeeded", "failed"):
                record.update(status=status, failure_reason="declined" if status == "failed" else None)
                account.happened.append(("charge.refund.updated", record))
            elif record["object"] == "payment_intent" and status in _ENDS and record["status"] == "processing":
                record.update(status=_ENDS[status][0])
                if status == "failed":
                    fail(record, "payment_method_provider_decline", record["payment_method_types"][0])
                account.happened.append((_ENDS[status][1], record))
            else:
                raise ValueError(f"{id} is {record.get('status')} and cannot end as {status}")
            return self.publish(account)[-1]

    def dispute(self, intent: str, status: str = "needs_response") -> str:
        """Dispute a payment, or say how its dispute stands now; the id of the event."""
        with self.lock:
            account, record = self._find(intent)
            found = [each for each in account.of_kind("dispute") if each["payment_intent"] == record["id"]]
            values = {"payment_intent": record["id"], "charge": record["latest_charge"], "amount": record["amount"]}
            dispute = found[0] if found else self.make(account, "dispute", "dp", reason="fraudulent", **values)
            dispute.update(status=status)
            ended = status in ("won", "lost", "warning_closed")
            type = "charge.dispute.closed" if ended else f"charge.dispute.{'updated' if found else 'created'}"
            account.happened.append((type, dispute))
            return self.publish(account)[-1]

    def announce(self, id: str, type: str) -> str:
        """Have an event of a type happen about a record; its id."""
        with self.lock:
            account, record = self._find(id)
            account.happened.append((type, record))
            return self.publish(account)[-1]

    def forget_keys(self) -> None:
        """Let every idempotency key expire, as a day does."""
        with self.lock:
            for account in self.accounts.values():
                account.answers.clear()

    def ledger(self, *kinds: str, key: str | None = None) -> list[Resource]:
        """Every payment, refund and transfer of all accounts or of a key's; or only some of the three."""
        with self.lock:
            accounts = list(self.accounts.values()) if key is None else [self.accounts[key]]
            return [
                dict(record)
                for account in accounts
                for kind in kinds or MOVEMENTS
                for record in account.of_kind(kind)
            ]

    def record(self, id: str) -> Resource:
        """Any record as it stands now; KeyError if there is none."""
        with self.lock:
            return dict(self._find(id)[1])

    def body_of(self, event: str) -> bytes:
        """What is delivered for an event."""
        with self.lock:
            return orjson.dumps(self._find(event)[1])

    def callback_urls(self, key: str) -> list[str]:
        """Where an account's events are sent, oldest first."""
        with self.lock:
            return [each["url"] for each in self.accounts[key].of_kind("webhook_endpoint")]

    def deliveries(self) -> list[Delivery]:
        """Every try to deliver an event, oldest first."""
        with self.lock:
            return list(self._deliveries)

    def wait_for_callbacks(self, timeout: float = 10) -> None:
        """Until every event is delivered or given up; TimeoutError if that takes longer."""
        self.courier.wait(timeout)

    # -- for the routes ------------------------------------------------------------------------------

    def make(self, account: Account, kind: str, prefix: str, **fields: Any) -> Resource:
        """A new object of an account."""
        created = int(clock.utc_now().timestamp())
        made = {"id": f"{prefix}_{_random(24)}", "object": kind, "created": created, "livemode": False, **fields}
        account.objects[made["id"]] = made
        return made

    def publish(self, account: Account) -> list[str]:
        """Make the events that happened, and have them delivered; their ids."""
        events = []
        for type, record in account.happened:
            snapshot = orjson.loads(orjson.dumps(record))
            event = self.make(account, "event", "evt", type=type, data={"object": snapshot})
            events.append(str(event["id"]))
            for endpoint in account.of_kind("webhook_endpoint"):
                if type in endpoint["enabled_events"] or "*" in endpoint["enabled_events"]:
                    self.courier.send(_Letter(self, account, event, endpoint))
        account.happened.clear()
        return events

    def note_delivery(self, delivery: Delivery) -> None:
        """Add to the list of deliveries."""
        with self.lock:
            self._deliveries.append(delivery)

    def _find(self, id: str) -> tuple[Account, Resource]:
        for account in self.accounts.values():
            if id in account.objects:
                return account, account.objects[id]
        raise KeyError(id)


MOVEMENTS = ("payment_intent", "refund", "transfer")

_ENDS = {
    "succeeded": ("succeeded", "payment_intent.succeeded"),
    "failed": ("requires_payment_method", "payment_intent.payment_failed"),
    "processing": ("processing", "payment_intent.processing"),
}


def fail(intent: Resource, decline: str, type: str = "card") -> Resource:
    """Have a payment fail; its error."""
    code = decline if decline == "authentication_required" or type != "card" else "card_declined"
    error = {
        "type": "card_error" if type == "card" else "invalid_request_error",
        "code": code,
        "message": f"The payment was declined: {decline}.",
        "payment_method": {"id": intent["payment_method"], "object": "payment_method", "type": type},
        **({"decline_code": decline} if type == "card" else {}),
    }
    intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
    return error


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """The header ``Stripe-Signature``."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


@dataclass(frozen=True)
class _Letter:
    service: Service
    account: Account
    event: Resource
    endpoint: Resource

    def is_wanted(self) -> bool:
        with self.service.lock:
            return self.endpoint["id"] in self.account.objects

    def knock(self, pool: urllib3.PoolManager) -> int | None:
        body = orjson.dumps(self.event)
        signature = sign(body, self.endpoint["secret"], int(clock.utc_now().timestamp()))
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
        return pool.request("POST", self.endpoint["url"], body=body, headers=headers, redirect=False).status

    def note(self, attempt: int, status: int | None, state: str) -> None:
        self.service.note_delivery(
            Delivery(self.event["id"], self.event["type"], self.endpoint["url"], attempt, status)
        )


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def matching(records: list[Resource], **wanted: Any) -> Iterator[Resource]:
    """Those of records that have these values, where the value is not None."""
    return (
        each for each in records if all(each.get(name) == value for name, value in wanted.items() if value is not None)
    )
