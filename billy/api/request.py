"""A request, and what Billy hangs on it.

A class of our own, and not ``add_request_method``: with that Pyramid makes a new class for every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyramid.request
from pyramid.decorator import reify
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from billy.api.security import presented_key
from billy.db import open_connection, open_session, reads
from billy.guid import new_guid


@dataclass(frozen=True, slots=True)
class Hold:
    """The idempotency key that a request holds."""

    company_guid: str
    key_hash: str
    owner: str
    """The fencing token: what the request writes of its key, it writes as long as the key has this owner."""
    new_guid: str
    """The guid, without its two letters, of the record that the request makes."""
    is_first_try: bool
    """Nobody held the key before."""


class Request(pyramid.request.Request):
    """Pyramid's, with a database session and the caller's key."""

    id: str
    """Under which the log has it."""
    started: float
    """``time.monotonic()`` at its first attempt."""
    has_committed = False
    """Something is committed already, so it cannot be done again as a whole."""
    hold: Hold | None = None
    """Of its ``Idempotency-Key``, if it was sent one and has to do the work."""
    validated: Any
    """The checked body."""
    query: Any
    """The checked query of a list."""
    referred: dict[type, Any]
    """The records that the body refers to, by their class; locked while ``has_committed`` is false."""

    @reify
    def db(self) -> Session:
        """The session of a request that writes, opened when it is first used; ``billy.db`` commits it."""
        return open_session(self)

    @property
    def connection(self) -> Connection:
        """What is read through: the session's of the moment, or, for a request that only reads, its own."""
        return self.reading if reads(self) else self.db.connection()

    @reify
    def reading(self) -> Connection:
        """The connection of a request that only reads; ``billy.db`` closes it."""
        return open_connection(self)

    def new_guid(self, prefix: str, now: datetime) -> str:
        """The guid of the one record that the request makes: the one that its idempotency key fixed, if it has one."""
        return new_guid(prefix, now) if self.hold is None else prefix + self.hold.new_guid

    @reify
    def api_key(self) -> str | None:
        """The API key that was presented, valid or not."""
        return presented_key(self)
