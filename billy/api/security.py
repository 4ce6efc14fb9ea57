"""Who calls: API keys over HTTP basic authentication, and what they may do.

The key is the user name; the password is ignored. A missing key, a malformed header and an unknown
key are the same to us: nobody. Only who keeps presenting keys that open nothing is told apart (``limits``).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from enum import StrEnum

from pyramid.config import Configurator
from pyramid.request import Request, RequestLocalCache
from pyramid.security import Allowed, Denied
from structlog.contextvars import bind_contextvars

from billy import clock
from billy.api.limits import Limits
from billy.errors import AuthenticationRequired, RegistrationClosed, RegistrationTokenRequired
from billy.models import Company
from billy.settings import Settings


class Permission(StrEnum):
    """What a view asks of its caller. Every view names one."""

    PUBLIC = "public"
    """Nothing. A key may be sent; a wrong one is ignored."""
    REGISTRATION = "registration"
    """What ``billy.registration`` says: nothing, the operator's token, or it is not to be had."""
    COMPANY = "company"
    """A valid API key. Whose records it opens is settled by how they are found (``contexts``)."""


def authenticated(request: Request) -> Company:
    """The company whose key the caller presented; AuthenticationRequired without one."""
    company: Company | None = request.identity
    if company is None:
        if request.api_key is not None:
            _limits(request).failed_authentication(request, "API key", request.api_key)
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
        if permission == Permission.REGISTRATION:
            _check_registration(request)
            return Allowed("the caller may register")
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
    if request.api_key is None or _limits(request).is_refused("API key", request.api_key):
        return None
    company = Company.of_api_key(request.connection, request.api_key, clock.utc_now())
    if company is not None:
        bind_contextvars(company=company.guid)
    return company


def _check_registration(request: Request) -> None:
    settings: Settings = request.registry["billy.settings"]
    if settings.registration == "closed":
        raise RegistrationClosed("The companies of this server are registered by its operator: billy create-company")
    if settings.registration_token is None:
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise RegistrationTokenRequired("To register takes this server's token: Authorization: Bearer <token>")
    if not hmac.compare_digest(token.encode("utf-8", "replace"), settings.registration_token.encode()):
        _limits(request).failed_authentication(request, "registration token", token)
        raise RegistrationTokenRequired("This is not the token with which this server registers companies")


def _limits(request: Request) -> Limits:
    limits: Limits = request.registry["billy.limits"]
    return limits


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
