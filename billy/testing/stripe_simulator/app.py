"""The service over HTTP: keys, idempotency, and the hands of its owner below ``/simulator``."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import asdict
from typing import Any

import orjson
from pydantic import ValidationError

from billy.testing.chaos import Chaos, Fault
from billy.testing.http_app import ADMIN, Answer, HttpApp, Request
from billy.testing.stripe_simulator.form import Form, Refusal, nested, read_form
from billy.testing.stripe_simulator.routes import Call, Hindered, answer
from billy.testing.stripe_simulator.service import Account, Saved, Service

_RETRY_AFTER = 5


class App(HttpApp):
    """``app(environ, start_response)``."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._service = service

    def act(self, request: Request) -> tuple[Answer | None, Fault | None]:
        """Do what is asked for, or repeat what was answered to its idempotency key."""
        with self._service.lock:
            account = self._service.accounts.get(_key(request.headers.get("authorization", "")))
            if account is None:
                return _told(Refusal(401, "Invalid API Key provided.")), None
            try:
                return self._once(account, request)
            except Refusal as refusal:
                return _told(refusal), None

    def _once(self, account: Account, request: Request) -> tuple[Answer | None, Fault | None]:
        key = request.headers.get("idempotency-key")
        digest = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).digest()
        if key is None or request.method != "POST" or not self._service.idempotent:
            return self._do(account, request, lambda saved: None)
        if (saved := account.answers.get(key)) is not None:
            if saved.request != digest:
                text = "Keys for idempotent requests can only be used with the same parameters."
                raise Refusal(400, text, type="idempotency_error")
            return Answer(saved.status, saved.body, headers={"Idempotent-Replayed": "true"}), None

        def save(answered: Answer) -> None:
            account.answers[key] = Saved(digest, answered.status, answered.body)

        return self._do(account, request, save)

    def _do(self, account: Account, request: Request, save: Any) -> tuple[Answer | None, Fault | None]:
        values = nested(request.query) if request.method == "GET" else read_form(request.body)
        call = Call(self._service, account, Form(values))
        try:
            answered = Answer.of(200, answer(call, request.method, request.path))
        except Hindered:
            if not call.crashes:
                return None, call.fault
            answered = self.failure(500)
        except Refusal as refusal:
            answered = _told(refusal)
            if refusal.error.get("code") in _NOT_BEGUN:
                return answered, None
        finally:
            self._service.publish(account)
        if call.crashes:
            save(answered := self.failure(500))
            return answered, None
        save(answered)
        return answered, call.fault

    def failure(self, status: int) -> Answer:
        """In the service's own words."""
        if status == 429:
            error = {"message": "Too many requests.", "type": "invalid_request_error", "code": "rate_limit"}
            return Answer.of(429, {"error": error}, {"Retry-After": str(_RETRY_AFTER)})
        kind = "api_error" if status == 500 else "invalid_request_error"
        return Answer.of(status, {"error": {"message": "Something went wrong.", "type": kind}})

    # -- the owner's hands ---------------------------------------------------------------------------

    def administer(self, request: Request) -> Answer:
        """``docs/processors.md`` tells what there is."""
        try:
            values = orjson.loads(request.body or b"{}")
            told = self._administer(request.method, request.path.removeprefix(f"{ADMIN}/"), values)
        except (KeyError, ValueError, TypeError, AttributeError, ValidationError) as error:
            return Answer.of(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
        if told is None:
            return Answer.of(404, {"error": {"message": "There is no such path.", "type": "invalid_request_error"}})
        return Answer.of(200, told)

    def _administer(self, method: str, noun: str, values: dict[str, Any]) -> dict[str, Any] | None:
        service = self._service
        match method, noun:
            case "POST", "accounts":
                return {"key": service.new_key()}
            case "POST", "payment_methods":
                return {"id": service.payment_method(values["key"], values["behavior"])}
            case "POST", "connected_accounts":
                return {"id": service.connected_account(values["key"])}
            case "POST", "settle":
                return {"event": service.settle(values["id"], values["status"])}
            case "POST", "disputes":
                return {"event": service.dispute(values["payment_intent"], values.get("status", "needs_response"))}
            case "GET", "ledger":
                return {"records": service.ledger()}
            case "GET", "requests":
                return {"requests": [asdict(each) for each in service.requests()]}
            case "DELETE", "requests":
                service.forget_requests()
                return {}
            case "GET", "deliveries":
                return {"deliveries": [asdict(each) for each in service.deliveries()]}
            case "GET", "chaos":
                return service.chaos.shown()
            case "PUT", "chaos":
                service.chaos = Chaos.model_validate(values)
                return service.chaos.shown()
        return None


_NOT_BEGUN = ("parameter_missing", "parameter_unknown", "parameter_invalid_integer", "amount_too_large")
"""Errors of requests that were not even begun: their keys are free again."""


def _told(refusal: Refusal) -> Answer:
    return Answer.of(refusal.status_code, {"error": refusal.error})


def _key(authorization: str) -> str:
    """The secret key, as a bearer or as the user name for basic auth."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
