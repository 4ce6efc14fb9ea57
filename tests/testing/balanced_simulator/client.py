"""A small client: real sockets, every answer checked as strictly as the vendor's client was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.testing.balanced_simulator.strict import breaches

ACCEPT = "application/vnd.api+json;revision=1.1"


@dataclass(frozen=True)
class Answer:
    """One that came."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def item(self) -> Any:
        """The only resource in it."""
        [items] = [value for name, value in self.json.items() if name not in ("links", "meta", "errors")]
        [item] = items
        return item

    @property
    def items(self) -> list[Any]:
        """The resources of a page."""
        [items] = [value for name, value in self.json.items() if name not in ("links", "meta")]
        return list(items)

    @property
    def error(self) -> Any:
        """The only error in it."""
        [error] = self.json["errors"]
        return error


class Client:
    """Sends with one key, or with none."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.key = key
        self.pool = urllib3.PoolManager(maxsize=32, timeout=20, retries=False)

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """As it is answered; only ``/simulator`` and the 5xx are not checked."""
        sent = {"Accept": ACCEPT, "Content-Type": "application/json;revision=1.1"}
        if self.key is not None:
            sent |= urllib3.make_headers(basic_auth=f"{self.key}:")
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        response = self.pool.request(method, self.url + path, body=raw, headers={**sent, **(headers or {})})
        answer = Answer(response.status, response.headers, response.data)
        if not path.startswith("/simulator") and answer.status < 500:
            assert breaches(answer.status, answer.headers, answer.body, answer.json) == []
        return answer

    def get(self, path: str, status: int = 200) -> Answer:
        return self._expect(status, "GET", path)

    def post(self, path: str, body: Any = None, status: int = 201) -> Answer:
        return self._expect(status, "POST", path, {} if body is None else body)

    def put(self, path: str, body: Any, status: int = 200) -> Answer:
        return self._expect(status, "PUT", path, body)

    def patch(self, path: str, body: Any, status: int = 200) -> Answer:
        return self._expect(status, "PATCH", path, body)

    def delete(self, path: str, status: int = 204) -> Answer:
        return self._expect(status, "DELETE", path)

    def _expect(self, status: int, method: str, path: str, body: Any = None) -> Answer:
        answer = self.send(method, path, body)
        assert answer.status == status, answer.body
        return answer

    # What many tests begin with; each returns the item.

    def customer(self, **fields: Any) -> Any:
        return self.post("/customers", fields).item

    def card(self, number: str = "4111111111111111", **fields: Any) -> Any:
        details = {"number": number, "expiration_month": 12, "expiration_year": 2999, "cvv": "123", "name": "Benny"}
        return self.post("/cards", {**details, **fields}).item

    def bank_account(self, account: str = "9900000002", routing: str = "021000021", **fields: Any) -> Any:
        details = {"name": "J", "account_number": account, "routing_number": routing}
        return self.post("/bank_accounts", {**details, **fields}).item

    def verified(self, account: str = "9900000002", routing: str = "021000021") -> Any:
        made = self.bank_account(account, routing)
        verification = self.post(f"{made['href']}/verifications").item
        self.put(verification["href"], {"amount_1": 1, "amount_2": 1})
        return self.get(made["href"]).item

    def debit(self, card: Any = None, **fields: Any) -> Any:
        card = card or self.card()
        return self.post(f"{card['href']}/debits", {"amount": 1000, **fields}).item

    def credit(self, account: Any = None, **fields: Any) -> Any:
        account = account or self.bank_account()
        return self.post(f"{account['href']}/credits", {"amount": 100, **fields}).item


@contextmanager
def client_of(url: str, key: str | None) -> Iterator[Client]:
    client = Client(url, key)
    try:
        yield client
    finally:
        client.pool.clear()
