"""Lists: asked for page by page, while one goes through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from billy.client.parameters import query_of
from billy.client.records import Page, read_page
from billy.client.transport import Transport

T = TypeVar("T")


class Listing(Generic[T]):
    """A list, newest first; nothing is asked before it is gone through, and each time anew.

    Pages follow each other by the last record and not by number, so a record that is added or changed meanwhile
    makes none appear twice or not at all.
    """

    def __init__(self, transport: Transport, kind: type[T], path: str, filters: Mapping[str, Any], known: Any) -> None:
        self._transport = transport
        self._kind = kind
        self._path = path
        self._query = query_of(filters, known)

    def __iter__(self) -> Iterator[T]:
        """Every record."""
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[T]]:
        """Every page."""
        query = self._query
        while True:
            page = self._page(query)
            yield page
            if page.next is None:
                return
            # Only its query: the path that the server sees may not be the one that a proxy shows.
            query = dict(parse_qsl(urlsplit(page.next).query, keep_blank_values=True))

    def first(self) -> T | None:
        """The first record, or None of an empty list."""
        return next(iter(self._page({**self._query, "limit": "1"}).items), None)

    def count(self) -> int:
        """How many there are. The server counts them one by one."""
        total = self._page({**self._query, "limit": "1", "count": "true"}).total
        assert total is not None
        return total

    def _page(self, query: Mapping[str, str]) -> Page[T]:
        answer = self._transport.request("GET", self._path, query=query)
        return read_page(self._kind, answer.body, **answer.details)

    def __repr__(self) -> str:
        return f"<Listing of {self._path}>"
