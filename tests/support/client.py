"""A company's own program, as a test sees it: HTTP calls with its key."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from webtest import TestApp
from webtest.response import TestResponse

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]


class Client:
    """Calls the API with one key, or with none. Each call asserts its status and returns WebTest's response.

    ``client.post("/v1/plans", {"amount": 500, …}).json`` sends a form, ``client.post("/v1/plans",
    json={…})`` the same as JSON.
    """

    def __init__(self, app: TestApp, api_key: str | None = None, record: Mapping[str, Any] | None = None) -> None:
        self.app = app
        self.api_key = api_key
        self.record = dict(record or {})
        """The company, as its registration answered."""

    @property
    def guid(self) -> str:
        """The company's guid."""
        guid: str = self.record["guid"]
        return guid

    def get(self, path: str, params: Params | None = None, *, status: int = 200, **options: Any) -> TestResponse:
        """GET; ``params`` go into the query string."""
        if params:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}"
        return self.request("GET", path, status=status, **options)

    def post(self, path: str, params: Params | None = None, *, status: int = 200, **options: Any) -> TestResponse:
        """POST a form, or JSON with ``json=``."""
        return self.request("POST", path, params, status=status, **options)

    def put(self, path: str, params: Params | None = None, *, status: int = 200, **options: Any) -> TestResponse:
        """PUT a form, or JSON with ``json=``."""
        return self.request("PUT", path, params, status=status, **options)

    def delete(self, path: str, params: Params | None = None, *, status: int = 200, **options: Any) -> TestResponse:
        """DELETE."""
        return self.request("DELETE", path, params, status=status, **options)

    def request(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        *,
        status: int = 200,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        """Any method; ``body`` is sent as it is (name its Content-Type in ``headers``)."""
        sent = dict(headers or {})
        if self.api_key is not None:
            sent.setdefault("Authorization", basic(self.api_key))
        if json is not None:
            sent.setdefault("Content-Type", "application/json")
            body = self.app.JSONEncoder().encode(json).encode()
        elif params is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
            body = urlencode(params).encode()
        return self.app.request(path, method=method, body=body or b"", headers=sent, status=status)


class Api:
    """The server, before anyone has registered."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        self.anonymous = Client(app)
        """Calls without a key."""

    def company(self, *, processor_key: str = "a-processor-key", **params: Any) -> Client:
        """Register a company over HTTP; the client has its key."""
        record = self.anonymous.post("/v1/companies", {"processor_key": processor_key, **params}).json
        return Client(self.app, record["api_key"], record)

    def client(self, api_key: str) -> Client:
        """A client with a given key."""
        return Client(self.app, api_key)


def basic(api_key: str, password: str = "") -> str:
    """The Authorization header of a key."""
    return "Basic " + base64.b64encode(f"{api_key}:{password}".encode()).decode()
