"""The service over HTTP."""

from __future__ import annotations

import base64
import binascii

from billy import clock
from billy.testing.balanced_simulator.admin import administer
from billy.testing.balanced_simulator.body import read_json
from billy.testing.balanced_simulator.envelope import envelope
from billy.testing.balanced_simulator.errors import ApiError, unauthenticated
from billy.testing.balanced_simulator.events import publish
from billy.testing.balanced_simulator.resources.base import Call, Hindered
from billy.testing.balanced_simulator.router import answer_call, answer_stranger
from billy.testing.balanced_simulator.service import Service
from billy.testing.chaos import Fault
from billy.testing.http_app import Answer, HttpApp, Request

_RETRY_AFTER = 5


class App(HttpApp):
    """``app(environ, start_response)``."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._service = service

    def act(self, request: Request) -> tuple[Answer | None, Fault | None]:
        """Do what is asked for; the answer, and what the instrument's magic makes of it."""
        store = self._service.store
        try:
            request.json = read_json(request.body)
            key = _key(request.headers.get("authorization"))
            with store.lock:
                if key is None:
                    return Answer.of(*answer_stranger(store, request, clock.utc_now())), None
                if key not in store.by_key:
                    raise unauthenticated()
                call = Call(store, store.by_key[key], clock.utc_now())
                try:
                    return Answer.of(*answer_call(call, request)), call.fault
                except Hindered as hindered:
                    return None, hindered.fault
                finally:
                    publish(call, self._service.courier)
        except ApiError as error:
            return _told(error), None

    def administer(self, request: Request) -> Answer:
        """What ``/simulator/…`` answers."""
        try:
            value = administer(self._service, request)
        except ApiError as error:
            return _told(error)
        return Answer.of(204 if value is None else 200, value)

    def failure(self, status: int) -> Answer:
        """In the service's own words."""
        if status == 429:
            headers = {"Retry-After": str(_RETRY_AFTER)}
            return _told(ApiError("too-many-requests", "Slow down.", headers=headers))
        if status == 500:
            return _told(ApiError("internal-server-error", "Something went wrong."))
        return _told(ApiError("request", "The request could not be read.", status_code=status))


def _told(error: ApiError) -> Answer:
    """With the failed resource, if the service made one."""
    resource = envelope(error.record.type, [error.record]) if error.record else {}
    return Answer.of(error.status_code, {**error.shown(), **resource}, error.headers)


def _key(authorization: str | None) -> str | None:
    """The user name; the password may be anything."""
    if authorization is None:
        return None
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise unauthenticated()
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        raise unauthenticated() from None
