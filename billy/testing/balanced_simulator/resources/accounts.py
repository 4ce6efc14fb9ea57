"""Keys, marketplaces, callbacks and events: what a company has beside its money."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from billy.testing.balanced_simulator.body import Body
from billy.testing.balanced_simulator.errors import ApiError, invalid
from billy.testing.balanced_simulator.resources.base import Call, Resource
from billy.testing.balanced_simulator.store import DELIVERY_STATES, Event, Record

_PLAIN = (
    *("bank_accounts", "callbacks", "card_holds", "cards", "credits", "customers", "debits", "disputes", "events"),
    *("orders", "refunds", "reversals"),
)
_METHODS = ("post", "put", "get")
_REVISIONS = ("1.0", "1.1")


class ApiKeys(Resource):
    """``/api_keys``. The first one needs no key and makes the company."""

    type = "api_keys"

    def create(self, call: Call, body: Body) -> Record:
        """With a secret."""
        return call.store.new_key(call.company, call.now)

    def delete(self, call: Call, record: Record) -> bool:
        """Revoke it, even if it is the one that asks."""
        call.store.revoke(record.fields["secret"])
        return False

    def shown_at_creation(self, record: Record) -> dict[str, Any]:
        """The only time that the secret is seen."""
        return record.shown()

    def shown(self, record: Record) -> dict[str, Any]:
        """Without the secret."""
        return {name: value for name, value in record.shown().items() if name != "secret"}


class Marketplaces(Resource):
    """``/marketplaces``, of which a company has one."""

    type = "marketplaces"
    templates = {
        **{name: f"/{name}" for name in _PLAIN},
        "owner_customer": "/customers/{marketplaces.owner_customer}",
    }

    def create(self, call: Call, body: Body) -> Record:
        """The only one."""
        if call.company.marketplace is not None:
            raise ApiError("marketplace-already-created", f"There is {call.company.marketplace.id} already.")
        fields = {
            "domain_url": body.text("domain_url") or "example.com",
            "in_escrow": 0,
            "meta": body.meta() or {},
            "name": body.text("name") or "Test Marketplace",
            "production": False,
            "support_email_address": body.text("support_email_address") or "support@example.com",
            "support_phone_number": body.text("support_phone_number") or "+16505551234",
            "unsettled_fees": 0,
        }
        return call.make("marketplaces", fields, {"owner_customer": None})


class Callbacks(Resource):
    """``/callbacks``: where the company wants to be told of events."""

    type = "callbacks"
    filters = frozenset()
    sorts = frozenset()

    def create(self, call: Call, body: Body) -> Record:
        """One a URL."""
        url, method = body.required("url"), (body.text("method") or "post").lower()
        revision = body.text("revision") or "1.1"
        if not is_deliverable(url):
            raise invalid("url", f'"{url[:100]}" must be an http or https URL')
        if method not in _METHODS:
            raise invalid("method", f'"{method[:100]}" must be one of {", ".join(_METHODS)}')
        if revision not in _REVISIONS:
            raise invalid("revision", f'"{revision[:100]}" must be one of {", ".join(_REVISIONS)}')
        if any(other.fields["url"] == url for other in call.company.newest("callbacks")):
            raise ApiError("duplicate-webhook-url", "There is a callback for this URL already.")
        return call.make("callbacks", {"url": url, "method": method, "revision": revision})

    def delete(self, call: Call, record: Record) -> bool:
        """What is not delivered yet never will be."""
        call.company.forget(record)
        return False

    def shown(self, record: Record) -> dict[str, Any]:
        """The one type without timestamps and ``meta``."""
        hidden = ("created_at", "updated_at", "meta")
        return {name: value for name, value in record.shown().items() if name not in hidden}


class Events(Resource):
    """``/events``, each made by something else."""

    type = "events"
    templates = {"callbacks": "/events/{events.self}/callbacks"}
    filters = frozenset({"occurred_at", "type"})
    sorts = frozenset({"occurred_at"})

    def shown(self, record: Record) -> dict[str, Any]:
        """With a count of its deliveries."""
        assert isinstance(record, Event)
        counts = Counter(record.deliveries.values())
        return {**record.shown(), "callback_statuses": {state: counts[state] for state in DELIVERY_STATES}}


def is_deliverable(url: str) -> bool:
    """Whether there is somebody to knock at."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
