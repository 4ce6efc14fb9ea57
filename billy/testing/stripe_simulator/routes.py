"""Which request does what. A handler takes a call and the ids in the path, and returns what is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billy.testing.chaos import BEFORE, Fault
from billy.testing.stripe_simulator.form import Form, Refusal
from billy.testing.stripe_simulator.service import Account, Behavior, Resource, Service, fail, matching

_DISALLOWED = re.compile(r"[<>\\'\"*]|[^ -~]")


class Hindered(Exception):
    """The request meets a fault before anything is done."""


@dataclass
class Call:
    """One request of one account."""

    service: Service
    account: Account
    form: Form
    fault: Fault | None = None
    crashes: bool = False

    def make(self, kind: str, prefix: str, **fields: Any) -> Resource:
        """A new object."""
        return self.service.make(self.account, kind, prefix, **fields)

    def happens(self, type: str, record: Resource) -> None:
        """An event."""
        self.account.happened.append((type, record))

    def meet(self, behavior: Behavior, name: str) -> Behavior:
        """How the instrument ``name`` behaves this time; Hindered where nothing is done."""
        met = self.account.tries.get(name, 0)
        self.account.tries[name] = met + 1
        if behavior.times is not None and met >= behavior.times:
            return Behavior()
        self.fault, self.crashes = behavior.fault, behavior.crashes
        if self.fault in BEFORE:
            raise Hindered
        return behavior

    def page(self, url: str, records: list[Resource]) -> Resource:
        """The newest of the records, by ``limit``, ``starting_after`` and ``created``."""
        limit = self.form.integer("limit")
        after, created = self.form.text("starting_after"), Form(self.form.group("created"))
        least, beyond = created.integer("gte"), created.integer("gt")
        created.done()
        self.form.done()
        if limit is not None and not 1 <= limit <= 100:
            raise Refusal(400, "Invalid integer: limit must be between 1 and 100", param="limit")
        newest = [
            each
            for each in reversed(records)
            if (least is None or each["created"] >= least) and (beyond is None or each["created"] > beyond)
        ]
        if after is not None:
            ids = [each["id"] for each in newest]
            if after not in ids:
                raise Refusal(400, f"No such object: '{after}'", code="resource_missing", param="starting_after")
            newest = newest[ids.index(after) + 1 :]
        size = limit or 10
        return {"object": "list", "url": url, "has_more": len(newest) > size, "data": newest[:size]}


# --- customers, accounts, payment methods ---


def create_customer(call: Call) -> Resource:
    """POST /v1/customers"""
    fields = {name: call.form.text(name) for name in ("name", "email", "description")}
    metadata = call.form.metadata()
    call.form.done()
    return call.make("customer", "cus", **fields, metadata=metadata)


def create_payment_method(call: Call) -> Resource:
    """POST /v1/payment_methods: a card by its number, as test programs may send it."""
    kind = call.form.required("type")
    number, *_ = (call.form.group(name).get("number", "") for name in ("card", "us_bank_account", "billing_details"))
    call.form.done()
    if kind not in ("card", "us_bank_account"):
        raise Refusal(400, f"Invalid type: {kind}", param="type")
    behavior = "pending" if kind == "us_bank_account" else CARDS.get(number, "succeeds")
    key = next(key for key, account in call.service.accounts.items() if account is call.account)
    return call.account.objects[call.service.payment_method(key, behavior)]


CARDS = {
    "4000000000000341": "generic_decline",
    "4000000000009995": "insufficient_funds",
    "4000000000009979": "stolen_card",
    "4000002760003184": "authentication_required",
}
"""Some of Stripe's test numbers, and what they do to a charge without the customer; all can be attached here."""


def attach(call: Call, id: str) -> Resource:
    """POST /v1/payment_methods/…/attach"""
    method = call.account.find("payment_method", id)
    customer = call.account.find("customer", call.form.required("customer"), param="customer")
    call.form.done()
    if method["customer"] not in (None, customer["id"]):
        raise Refusal(400, "The payment method is attached to another customer.")
    method["customer"] = customer["id"]
    return method


# --- payments ---


def create_payment_intent(call: Call) -> Resource:
    """POST /v1/payment_intents, to be confirmed at once, without the customer."""
    form = call.form
    amount = form.amount()
    if amount is None:
        raise Refusal(400, "Missing required param: amount.", code="parameter_missing", param="amount")
    fields = {
        "amount": amount,
        "currency": form.required("currency"),
        "description": form.text("description"),
        "statement_descriptor_suffix": _suffix(form.text("statement_descriptor_suffix")),
        "metadata": form.metadata(),
    }
    automatic = Form(form.group("automatic_payment_methods"))
    is_redirecting = automatic.flag("enabled") and automatic.text("allow_redirects") != "never"
    automatic.done()
    customer = call.account.find("customer", form.required("customer"), param="customer")
    method = call.account.find("payment_method", form.required("payment_method"), param="payment_method")
    is_confirmed, is_off_session = form.flag("confirm"), form.flag("off_session")
    form.done()
    if is_redirecting and is_confirmed:
        raise Refusal(400, "A return_url is required, since payment methods may redirect.", param="return_url")
    if not (is_confirmed and is_off_session):
        raise Refusal(400, "Only payments off session that are confirmed at once are simulated.", param="confirm")
    if method["customer"] not in (None, customer["id"]):
        raise Refusal(400, "The payment method does not belong to the customer.", param="payment_method")
    behavior = call.meet(call.account.behaviors[method["id"]][0], method["id"])
    intent = call.make(
        "payment_intent", "pi", customer=customer["id"], payment_method=method["id"],
        payment_method_types=[method["type"]], last_payment_error=None, latest_charge=None, **fields,
        status=behavior.status,
    )  # fmt: skip
    if behavior.decline is not None:
        error = fail(intent, behavior.decline)
        call.happens("payment_intent.payment_failed", intent)
        raise Refusal(402, **error, payment_intent=dict(intent))
    if behavior.status in ("succeeded", "processing"):
        intent["latest_charge"] = call.make(
            "charge", "ch", payment_intent=intent["id"], amount=amount, metadata=fields["metadata"],
            payment_method=method["id"],
        )["id"]  # fmt: skip
    call.happens(f"payment_intent.{behavior.status}", intent)
    return intent


def _suffix(text: str | None) -> str | None:
    if text is not None and (len(text) > 20 or _DISALLOWED.search(text) or not re.search("[A-Za-z]", text)):
        raise Refusal(400, "The statement descriptor suffix is not allowed.", param="statement_descriptor_suffix")
    return text


def cancel(call: Call, id: str) -> Resource:
    """POST /v1/payment_intents/…/cancel"""
    intent = call.account.find("payment_intent", id)
    call.form.done()
    if intent["status"] in ("succeeded", "canceled", "processing"):
        raise Refusal(400, f"It is {intent['status']}.", code="payment_intent_unexpected_state")
    intent.update(status="canceled")
    call.happens("payment_intent.canceled", intent)
    return intent


def create_refund(call: Call) -> Resource:
    """POST /v1/refunds"""
    intent = call.account.find("payment_intent", call.form.required("payment_intent"), param="payment_intent")
    amount, metadata = call.form.amount(), call.form.metadata()
    call.form.done()
    if intent["status"] != "succeeded":
        text = f"The payment is {intent['status']} and cannot be refunded."
        raise Refusal(400, text, code="payment_intent_unexpected_state")
    disputes = matching(call.account.of_kind("dispute"), payment_intent=intent["id"])
    if any(each["status"] in ("needs_response", "under_review", "lost") for each in disputes):
        raise Refusal(400, "The charge has been charged back.", code="charge_disputed")
    refunds = [each for each in _refunds(call, intent) if each["status"] not in ("failed", "canceled")]
    left = intent["amount"] - sum(each["amount"] for each in refunds)
    if left == 0:
        raise Refusal(400, "The charge has already been refunded.", code="charge_already_refunded")
    if (amount or left) > left:
        text = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise Refusal(400, text, param="amount")
    charge = call.account.objects[intent["latest_charge"]]
    method = charge["payment_method"]
    behavior = call.meet(call.account.behaviors[method][1], f"refund of {method}")
    refund = call.make(
        "refund", "re", payment_intent=intent["id"], charge=charge["id"], amount=amount or left, metadata=metadata,
        failure_reason=None, status="pending" if behavior.status == "processing" else "succeeded",
    )  # fmt: skip
    call.happens("charge.refunded", charge)
    return refund


def _refunds(call: Call, intent: Resource) -> list[Resource]:
    return list(matching(call.account.of_kind("refund"), payment_intent=intent["id"]))


def create_transfer(call: Call) -> Resource:
    """POST /v1/transfers"""
    amount = call.form.amount()
    if amount is None:
        raise Refusal(400, "Missing required param: amount.", code="parameter_missing", param="amount")
    destination = call.form.required("destination")
    fields = {
        "amount": amount,
        "currency": call.form.required("currency"),
        "destination": destination,
        "description": call.form.text("description"),
        "metadata": call.form.metadata(),
        "reversed": False,
    }
    call.form.done()
    call.account.find("account", destination, param="destination")
    return call.make("transfer", "tr", **fields)


# --- webhooks ---


def create_webhook_endpoint(call: Call) -> Resource:
    """POST /v1/webhook_endpoints: the answer is the only one that shows the secret."""
    url, version = call.form.required("url"), call.form.text("api_version")
    events = list(call.form.group("enabled_events").values())
    call.form.done()
    if not url.startswith(("https://", "http://")):
        raise Refusal(400, "Invalid URL: it has to begin with https://", code="url_invalid", param="url")
    endpoint = call.make("webhook_endpoint", "we", url=url, enabled_events=events, api_version=version)
    endpoint["secret"] = f"whsec_{endpoint['id'][3:]}"
    return endpoint


def _shown(record: Resource) -> Resource:
    """As it is shown when it was not just made."""
    return {name: value for name, value in record.items() if name != "secret"}


# --- the table ---

Handler = Callable[..., Resource]

_CREATE: dict[str, Handler] = {
    "customers": create_customer,
    "payment_methods": create_payment_method,
    "payment_intents": create_payment_intent,
    "refunds": create_refund,
    "transfers": create_transfer,
    "webhook_endpoints": create_webhook_endpoint,
}
_ACT: dict[tuple[str, str], Handler] = {
    ("payment_methods", "attach"): attach,
    ("payment_intents", "cancel"): cancel,
}
_KINDS = {
    "customers": "customer",
    "payment_methods": "payment_method",
    "payment_intents": "payment_intent",
    "refunds": "refund",
    "transfers": "transfer",
    "webhook_endpoints": "webhook_endpoint",
    "accounts": "account",
    "disputes": "dispute",
    "events": "event",
    "charges": "charge",
}
_FILTERS = {
    "payment_intents": ("customer", "customer"),
    "refunds": ("payment_intent", "payment_intent"),
    "transfers": ("destination", "account"),
}


def answer(call: Call, method: str, path: str) -> Resource:
    """What is shown; Refusal or Hindered."""
    match (method, *path.removeprefix("/v1/").split("/")):
        case ("POST", noun) if noun in _CREATE:
            return _CREATE[noun](call)
        case ("GET", noun) if noun in _KINDS:
            return _list(call, noun)
        case ("GET", noun, id) if noun in _KINDS:
            call.form.done()
            return _shown(call.account.find(_KINDS[noun], id))
        case ("POST", noun, id, verb) if (noun, verb) in _ACT:
            return _ACT[noun, verb](call, id)
    raise Refusal(404, f"Unrecognized request URL ({method}: {path}).")


def _list(call: Call, noun: str) -> Resource:
    wanted = {}
    if noun in _FILTERS:
        name, kind = _FILTERS[noun]
        wanted[name] = call.form.text(name)
        if wanted[name] is not None:
            call.account.find(kind, wanted[name] or "", param=name)
    records = [_shown(each) for each in matching(call.account.of_kind(_KINDS[noun]), **wanted)]
    return call.page(f"/v1/{noun}", records)
