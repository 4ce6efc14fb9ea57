"""Which path means what. Both spellings of a path are answered directly, without a redirect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billy.testing.balanced_simulator.body import read_body
from billy.testing.balanced_simulator.envelope import envelope
from billy.testing.balanced_simulator.errors import ApiError, method_not_allowed, not_found, unauthenticated
from billy.testing.balanced_simulator.query import select
from billy.testing.balanced_simulator.resources import RESOURCES
from billy.testing.balanced_simulator.resources.base import Call
from billy.testing.balanced_simulator.resources.instruments import Instrument
from billy.testing.balanced_simulator.store import Event, Record, Store
from billy.testing.http_app import Request

_TYPES = {**{type: type for type in RESOURCES}, "verifications": "bank_account_verifications", "holds": "card_holds"}
del _TYPES["bank_account_verifications"]
_NEED_NO_MARKETPLACE = ("api_keys", "marketplaces")

Result = tuple[int, dict[str, Any] | None]
"""Status and body."""


@dataclass(frozen=True)
class _Place:
    """A path, taken apart."""

    type: str | None
    """None for ``/resources/<id>``."""
    id: str | None = None
    under: str | None = None
    parents: tuple[tuple[str, str], ...] = ()
    """What a legacy path names before: ``("marketplaces", "MP…")``."""


def answer_stranger(store: Store, request: Request, now: datetime) -> Result:
    """A request without a key: a new company's first, or a customer's browser that tokenises."""
    if request.method == "POST":
        place = _place(request.path)
        if place == _Place("api_keys"):
            call = Call(store, store.new_company(), now)
            return _created(RESOURCES["api_keys"].create(call, read_body(request.json, "api_keys")))
        resource = RESOURCES.get(place.type or "")
        if isinstance(resource, Instrument) and place.id is None:
            record = resource.tokenize(store, read_body(request.json, resource.type), now)
            store.unclaimed[record.id] = record
            return 201, {resource.type: [{"id": record.id, "href": record.href, "links": {}}], "links": {}}
    raise unauthenticated()


def answer_call(call: Call, request: Request) -> Result:
    """A request with a key."""
    place = _place(request.path)
    if place.type is None or place.id is not None:
        return _item(call, request, place)
    if request.method == "GET":
        return _index(call, request, place.type, None, f"/{request.path.rpartition('/')[2]}")
    if request.method == "POST":
        if place.type not in _NEED_NO_MARKETPLACE and call.company.marketplace is None:
            raise ApiError("marketplace-required", "There is no marketplace yet: POST /marketplaces makes one.")
        _check_parents(call, place, None)
        resource = RESOURCES[place.type]
        return _created(resource.create(call, read_body(request.json, place.type)))
    raise method_not_allowed()


def _created(record: Record) -> Result:
    shown = RESOURCES[record.type].shown_at_creation(record)
    return 201, {**envelope(record.type, [record]), record.type: [shown]}


def _item(call: Call, request: Request, place: _Place) -> Result:
    record = call.find(place.id or "")
    if place.type not in (None, record.type):
        raise not_found()
    _check_parents(call, place, record)
    if place.under is not None:
        return _nested(call, request, record, place.under)
    resource = RESOURCES[record.type]
    if request.method == "DELETE" and place.type is not None:
        is_shown = resource.delete(call, record)
        return (200, envelope(record.type, [record])) if is_shown else (204, None)
    if request.method in ("PUT", "PATCH") and place.type is not None:
        resource.update(call, record, read_body(request.json, record.type))
    elif request.method != "GET":
        raise method_not_allowed()
    return 200, envelope(record.type, [record])


def _nested(call: Call, request: Request, parent: Record, under: str) -> Result:
    path = f"{parent.href}/{under}"
    if isinstance(parent, Event) and under == "callbacks" and request.method == "GET":
        return 200, _event_callbacks(call, parent, path)
    type = _TYPES.get(under, "")
    resource = RESOURCES.get(type)
    owner = RESOURCES[parent.type]
    is_listed = under in owner.nested or (under == "events" and "events" in owner.templates)
    if resource is None or not (is_listed or parent.type in resource.parents):
        raise not_found()
    if request.method == "GET" and is_listed:
        return _index(call, request, type, parent, path)
    if request.method == "POST" and parent.type in resource.parents:
        return _created(resource.create_under(call, parent, read_body(request.json, type)))
    raise method_not_allowed()


def _index(call: Call, request: Request, type: str, parent: Record | None, path: str) -> Result:
    records = call.company.newest(type)
    if parent is not None:
        links = RESOURCES[parent.type].nested.get(path.rpartition("/")[2], ())
        records = (record for record in records if _is_under(call, record, parent, links))
    page = select(RESOURCES[type], records, path, request.query)
    return 200, envelope(type, page.records, page.meta)


def _is_under(call: Call, record: Record, parent: Record, links: Sequence[str]) -> bool:
    if isinstance(record, Event):
        return record.subject == parent.id
    *way, last = links
    for link in way:
        record = call.company.find(record.links[link])
    return record.links.get(last) == parent.id


def _event_callbacks(call: Call, event: Event, path: str) -> dict[str, Any]:
    """How the deliveries of an event stand; the service's own fields are not known."""
    shown = [
        {"id": id, "href": f"{path}/{id}", "url": call.company.records[id].fields["url"], "status": state, "links": {}}
        for id, state in event.deliveries.items()
        if id in call.company.records
    ]
    return {"event_callbacks": shown, "links": {}, "meta": {"total": len(shown), "next": None}}


def _place(path: str) -> _Place:
    segments = path.removeprefix("/").split("/")
    parents: list[tuple[str, str]] = []
    if segments[0] == "v1":
        del segments[0]
        while len(segments) > 3 or (len(segments) == 3 and segments[0] == "marketplaces"):
            parents.append((segments[0], segments[1]))
            del segments[:2]
        if segments and segments[0] == "accounts":
            segments[0] = "customers"
    if len(segments) == 2 and segments[0] == "resources":
        return _Place(None, segments[1])
    if not 1 <= len(segments) <= 3 or segments[0] not in _TYPES:
        raise not_found()
    noun, id, under = (*segments, None, None)[:3]
    return _Place(_TYPES[str(noun)], id, under, tuple(parents))


def _check_parents(call: Call, place: _Place, record: Record | None) -> None:
    """What a legacy path names on its way must be the caller's, and the customer be the instrument's."""
    for noun, id in place.parents:
        parent = call.find(id)
        if parent.type != ("customers" if noun == "accounts" else noun):
            raise not_found()
        if parent.type == "customers" and record is not None and record.links.get("customer") != id:
            raise not_found()
