"""The client: an address, a key, and the nouns of the API."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from billy.client.nouns import Companies, Customers, Invoices, Plans, ServerItself, Subscriptions, Transactions
from billy.client.parameters import body_of
from billy.client.records import Company
from billy.client.transport import Answer, Options, Transport


class Client:
    """Calls one server in one company's name.

    Threads may share it. It keeps connections open until ``close``, or until the end of a ``with`` block. Every call
    ends within its ``deadline``, or at most one ``timeout`` later. TLS certificates are verified, against the
    certificate authorities of ``REQUESTS_CA_BUNDLE`` if that is set.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        registration_token: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """``url`` ends before ``/v1``. Without a key there are only ``companies.create``, and the server itself.

        ``registration_token`` is for a server that registers companies for those only who have it.
        """
        self._transport = transport = Transport(url, api_key, registration_token, **options)
        self.api_key = api_key
        """Keep it where you keep secrets: the server cannot tell it again."""
        self.company: Company | None = None
        """As its registration answered it, by ``register`` alone."""
        self.companies = Companies(transport)
        self.customers = Customers(transport)
        self.plans = Plans(transport)
        self.subscriptions = Subscriptions(transport)
        self.invoices = Invoices(transport)
        self.transactions = Transactions(transport)
        self.server = ServerItself(transport)

    @classmethod
    def register(
        cls,
        url: str,
        *,
        processor_key: str,
        processor: str | None = None,
        name: str | None = None,
        registration_token: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Register a company, and be its client; what it takes is said at ``companies.create``."""
        with cls(url, None, registration_token, **options) as anonymous:
            company = anonymous.companies.create(
                processor_key=processor_key, processor=processor, name=name, idempotency_key=idempotency_key
            )
        client = cls(url, company.api_key, **options)
        client.company = company
        return client

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Any request, for what this client has no method for; its answer as it came. Errors and attempts as ever."""
        if not path.startswith("/"):
            raise ValueError("The path must begin with /")
        sent = None if body is None else body_of(body)
        return self._transport.request(method, path, query=query, body=sent, idempotency_key=idempotency_key)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._transport.url}>"
