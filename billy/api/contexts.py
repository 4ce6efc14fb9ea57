"""The record that a path names, found through the authenticated company.

So another company's guid is not found, like one that does not exist, and a caller without a key
learns nothing: 401 comes before 404.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from structlog.contextvars import bind_contextvars

from billy.api.request import Request
from billy.api.security import authenticated
from billy.db import reads
from billy.errors import NotFound
from billy.guid import is_guid
from billy.models import Company, base, plain
from billy.models.base import Owned

R = TypeVar("R", bound=Owned)


def public(request: Request) -> None:
    """Nothing is looked up."""


def callers_company(request: Request) -> Company:
    """The company that calls."""
    return authenticated(request)


def own_company(request: Request) -> Company:
    """The company in the path, which must be the one that calls."""
    company = authenticated(request)
    guid = request.matchdict["guid"]
    if guid != company.guid:
        raise NotFound(f"No such company {guid}")
    return company


def called_back_company(request: Request) -> Company:
    """The company of a callback URL; the URL itself is the secret."""
    guid, key = request.matchdict["guid"], request.matchdict["callback_key"]
    company = request.db.get(Company, guid) if is_guid(guid) else None
    if company is None or not company.has_callback_key(request.registry["billy.vault"], key):
        request.registry["billy.limits"].failed_authentication(request, "callback key", key)
        raise NotFound("No such callback")
    bind_contextvars(company=company.guid)
    return company


def record(model: type[R]) -> Callable[[Request], R]:
    """A factory that finds the ``model`` of the guid in the path."""

    def find_record(request: Request) -> R:
        guid = request.matchdict["guid"]
        found = find(request, model, guid)
        if found is None:
            raise NotFound(f"No such {model.__tablename__} {guid}")
        return found

    return find_record


def find(request: Request, model: type[R], guid: str, *, locked: bool = False) -> R | None:
    """A record of the caller's company, or None; the database is not asked for what cannot be a guid.

    A plain record for a request that only reads.
    """
    company = authenticated(request)
    if not is_guid(guid):
        return None
    if reads(request):
        return plain.find(request.connection, model, company.guid, guid)
    return base.find(request.db, model, company.guid, guid, locked=locked)
