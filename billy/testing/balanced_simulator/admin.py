"""``/simulator/…``: what a processor's owner, its banks and its network do by themselves. No key is needed.

``docs/balanced_simulator.md`` tells what each path takes and answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import ValidationError

from billy.testing.balanced_simulator.body import Body, read_body, read_json
from billy.testing.balanced_simulator.errors import ApiError, method_not_allowed, not_found
from billy.testing.balanced_simulator.service import PLENTY, Service, as_json, by_submission_key
from billy.testing.chaos import Chaos
from billy.testing.http_app import ADMIN, Request

Answered = dict[str, Any] | None
Handler = Callable[[Service, Request, str], Answered]


def administer(service: Service, request: Request) -> Answered:
    """The answer, or None for an empty one."""
    match request.path.removeprefix(ADMIN).removeprefix("/").split("/"):
        case [noun]:
            name, id = noun, ""
        case [noun, id]:
            name = f"{noun}/"
        case _:
            raise not_found()
    methods = {method: handler for (method, known), handler in _HANDLERS.items() if known == name}
    if not methods:
        raise not_found()
    if request.method not in methods:
        raise method_not_allowed()
    try:
        return methods[request.method](service, request, id)
    except KeyError:
        raise not_found() from None
    except ValidationError as error:
        raise ApiError("request", f"{error.errors()[0]['msg']}.") from None
    except ValueError as error:
        raise ApiError("request", f"{error}.") from None


def _body(request: Request) -> Body:
    return read_body(read_json(request.body), "")


def _make_marketplace(service: Service, request: Request, _: str) -> Answered:
    in_escrow = _body(request).integer("in_escrow", 0, PLENTY)
    key = service.new_key() if in_escrow is None else service.new_key(in_escrow=in_escrow)
    return {"key": key, "marketplace": service.marketplace_of(key)}


def _revoke(service: Service, request: Request, _: str) -> Answered:
    service.revoke(_body(request).required("key"))
    return None


def _settle(service: Service, request: Request, _: str) -> Answered:
    body = _body(request)
    event = service.settle(body.required("href"), body.required("status"))
    return {"event": event.id, "type": event.fields["type"]}


def _behave(service: Service, request: Request, id: str) -> Answered:
    service.behave(id, _body(request).required("behavior"))
    return None


def _callback_body(service: Service, request: Request, id: str) -> Answered:
    told: dict[str, Any] = orjson.loads(service.callback_body(id, dict(request.query).get("revision", "1.1")))
    return told


def _ledger(service: Service, request: Request, _: str) -> Answered:
    entries = service.ledger()
    return {"records": [as_json(entry) for entry in entries], "by_submission_key": by_submission_key(entries)}


def _requests(service: Service, request: Request, _: str) -> Answered:
    return {"requests": [as_json(received) for received in service.requests()]}


def _forget_requests(service: Service, request: Request, _: str) -> Answered:
    service.forget_requests()
    return None


def _deliveries(service: Service, request: Request, _: str) -> Answered:
    return {"deliveries": [as_json(delivery) for delivery in service.deliveries()]}


def _chaos(service: Service, request: Request, _: str) -> Answered:
    return service.chaos.shown()


def _set_chaos(service: Service, request: Request, _: str) -> Answered:
    service.chaos = Chaos.model_validate(read_json(request.body))
    return service.chaos.shown()


_HANDLERS: dict[tuple[str, str], Handler] = {
    ("POST", "marketplaces"): _make_marketplace,
    ("POST", "revoke"): _revoke,
    ("POST", "settle"): _settle,
    ("PUT", "instruments/"): _behave,
    ("GET", "callback_bodies/"): _callback_body,
    ("GET", "ledger"): _ledger,
    ("GET", "requests"): _requests,
    ("DELETE", "requests"): _forget_requests,
    ("GET", "deliveries"): _deliveries,
    ("GET", "chaos"): _chaos,
    ("PUT", "chaos"): _set_chaos,
}
"""By method and path; a slash at the end stands for an id that follows."""
