"""How often is too often: registrations, and requests with keys that open nothing.

Counted in the database (``billy.statements.count_up``), so that all web processes of all hosts share a limit; each
process remembers who is refused and until when, so that refusing costs the database nothing. A valid key is never
counted and never refused: behind one address there may be many clients, and one of them is broken.

Guessing a key is hopeless without any of this. What the limits save is the database, the log, and an operator
who looks for one thing in it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_address
from typing import Literal

import structlog
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import Connection, Engine

from billy.db import give_back, statement_by_statement
from billy.errors import TooManyRequests
from billy.secrets import hash_key
from billy.settings import Rate, Settings
from billy.statements import count_up

log = structlog.get_logger(__name__)

SecretKind = Literal["API key", "registration token", "callback key"]

MOST_REMEMBERED = 10_000
"""Buckets that one process remembers as refused; beyond that the oldest is asked for again."""


class Limits:
    """The limits of one process."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = statement_by_statement(engine)
        self._settings = settings
        self._refused: dict[str, float] = {}
        self._lock = threading.Lock()

    def registration(self, request: Request) -> None:
        """Count a registration; TooManyRequests if its address has had its share.

        Counted in the request's own transaction: what does not become a company does not count.
        """
        rates = _limited({f"registrations from {address_of(request)}": self._settings.registration_limit})
        message = "Too many companies were registered from this address, try again later"
        self._refuse(rates, message)
        for bucket, rate in rates.items():
            self._count(request.db.connection(), bucket, rate)
        self._refuse(rates, message)

    def failed_authentication(self, request: Request, kind: SecretKind, secret: str) -> None:
        """Count a secret that opens nothing; TooManyRequests if it or its address failed too often.

        Counted in transactions of their own: whatever the request has not committed is rolled back.
        """
        rates = _limited(
            {
                _bucket(kind, secret): self._settings.key_limit,
                f"failures from {address_of(request)}": self._settings.address_limit,
            }
        )
        message = "Too many requests with invalid keys, try again later"
        self._refuse(rates, message)
        give_back(request)  # else it would wait for a second connection while it holds one
        with self._engine.connect() as connection:
            for bucket, rate in rates.items():
                self._count(connection, bucket, rate)
                connection.commit()
        self._refuse(rates, message)

    def is_refused(self, kind: SecretKind, secret: str) -> bool:
        """Whether this process knows, without asking the database, that a secret opens nothing."""
        return bool(self._refused) and self._remaining(_bucket(kind, secret)) > 0

    def _count(self, connection: Connection, bucket: str, rate: Rate) -> None:
        count, left = count_up(connection, bucket, rate.period)
        if count <= rate.times:
            return
        with self._lock:
            self._refused.pop(bucket, None)
            self._refused[bucket] = time.monotonic() + left.total_seconds()
            if len(self._refused) > MOST_REMEMBERED:
                del self._refused[next(iter(self._refused))]
        # Once a window and process: what is refused from memory is only in the line of its request.
        log.warning("rate_limited", limit=bucket.partition("#")[0], seconds=math.ceil(left.total_seconds()))

    def _refuse(self, buckets: Iterable[str], message: str) -> None:
        remaining = max(map(self._remaining, buckets), default=0.0)
        if remaining > 0:
            raise TooManyRequests(message, retry_after=remaining)

    def _remaining(self, bucket: str) -> float:
        return self._refused.get(bucket, 0.0) - time.monotonic()


def _limited(limits: dict[str, Rate | None]) -> dict[str, Rate]:
    return {bucket: rate for bucket, rate in limits.items() if rate is not None}


def _bucket(kind: SecretKind, secret: str) -> str:
    return f"failures of one {kind}#{hash_key(secret)}"


def address_of(request: Request) -> str:
    """Whom the server says to have talked to; of IPv6 the network, since one customer has 2**64 addresses.

    Not ``client_addr``, which believes whatever X-Forwarded-For a client makes up. Where a proxy stands before
    the server, the server has to be told whom it may believe (``billy.trusted_proxy``).
    """
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:  # such as a Unix socket's
        return "no address"
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


def includeme(config: Configurator) -> None:
    """``registry["billy.limits"]``."""
    registry = config.registry
    registry["billy.limits"] = Limits(registry["billy.engine"], registry["billy.settings"])
