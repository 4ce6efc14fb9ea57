"""Who calls: API keys over HTTP basic authentication, and what they may do.

The key is the user name; the password is ignored. A missing key, a malformed header and an unknown
key are the same to us: nobody.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum

from pyramid.config import Configurator
from pyramid.request import Request, RequestLocalCache
from pyramid.security import Allowed, Denied
from structlog.contextvars import bind_contextvars

from billy import clock
from billy.errors import AuthenticationRequired
from billy.models import Company


class Permission(StrEnum):
    """What a view asks of its caller. Every view names one."""

    PUBLIC = "public"
    """Nothing. A key may be sent; a wrong one is ignored."""
    COMPANY = "company"
    """A valid API key. Whose records it opens is settled by how they are found (``contexts``)."""


def authenticated(request: Request) -> Company:
    """The company whose key the caller presented; AuthenticationRequired without one."""
    company: Company | None = request.identity
    if company is None:
        raise AuthenticationRequired("A valid API key is required, as the user name of HTTP basic authentication")
    return company


class SecurityPolicy:
    """Pyramid's view of the above: an identity is a Company."""

    def __init__(self) -> None:
        self._identities = RequestLocalCache(_identify)

    def identity(self, request: Request) -> Company | None:
        """The company that the caller's key opens, found once a request."""
        company: Company | None = self._identities.get_or_create(request)
        return company

    def authenticated_userid(self, request: Request) -> str | None:
        """That company's guid."""
        company = self.identity(request)
        return company.guid if company else None

    def permits(self, request: Request, context: object, permission: str) -> Allowed | Denied:
        """Whether the caller has a permission."""
        if permission == Permission.PUBLIC:
            return Allowed("the view is public")
        if permission == Permission.COMPANY and self.identity(request) is not None:
            return Allowed("the API key is valid")
        return Denied("there is no valid API key")

    def remember(self, request: Request, userid: str, **options: object) -> list[tuple[str, str]]:
        """Nothing is remembered between requests."""
        return []

    def forget(self, request: Request, **options: object) -> list[tuple[str, str]]:
        """Nothing is remembered between requests."""
        return []


def _identify(request: Request) -> Company | None:
    if request.api_key is None:
        return None
    company = Company.of_api_key(request.connection, request.api_key, clock.utc_now())
    if company is not None:
        bind_contextvars(company=company.guid)
    return company


def presented_key(request: Request) -> str | None:
    """The user name of HTTP basic authentication; None where there is no such header, or a malformed one."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        key, colon, _ = base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return key if key and colon else None


def includeme(config: Configurator) -> None:
    """``request.identity`` is the caller's Company."""
    config.set_security_policy(SecurityPolicy())
