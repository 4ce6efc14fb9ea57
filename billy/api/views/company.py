"""Companies."""

from __future__ import annotations

import re
from collections.abc import Sequence

from structlog.contextvars import bind_contextvars

from billy import clock
from billy.api.api_view import api_view
from billy.api.processing import register_callback
from billy.api.request import Request
from billy.api.schemas import CompanyCreate
from billy.api.security import Permission
from billy.errors import InvalidRequest, ValidationError
from billy.models import Company, lock
from billy.settings import Settings

_HOST = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,260}\Z")


def _registered(request: Request, guid: str) -> Company:
    """The company of a registration that was cut short.

    Nobody has seen its API key, so it gets another. Its callback is an intent that runs retry.
    """
    company = lock(request.db, request.db.get_one(Company, guid))
    request.api_key = company.reset_api_key(request.db, clock.utc_now())
    return company


@api_view(
    "companies",
    "POST",
    permission=Permission.REGISTRATION,
    body=CompanyCreate,
    returns=Company,
    resume=_registered,
)
def create_company(context: None, request: Request) -> Company:
    """Register a company. The answer is the only one that shows its new API key."""
    body: CompanyCreate = request.validated
    request.registry["billy.limits"].registration(request)
    now = clock.utc_now()
    company, request.api_key = Company.register(
        request.db,
        request.registry["billy.vault"],
        now,
        guid=request.new_guid("CP", now),
        callback_base_url=_base_url(request),
        **{**body.model_dump(), "processor": _processor(request, body.processor)},
    )
    bind_contextvars(company=company.guid)
    register_callback(request, company)
    return company


@api_view("company", "GET", permission=Permission.COMPANY, returns=Company)
def show_company(company: Company, request: Request) -> Company:
    """The caller's own company."""
    return company


def _processor(request: Request, name: str | None) -> str:
    """Also the default is written down: it stays the company's when the ini names another one."""
    names: Sequence[str] = request.registry["billy.processors"].names
    if name is not None and name not in names:
        raise ValidationError.of("processor", f"Must be one of {', '.join(names)}")
    return name or names[0]


def _base_url(request: Request) -> str:
    settings: Settings = request.registry["billy.settings"]
    if settings.callback_base_url is not None:
        return settings.callback_base_url
    if _HOST.match(request.host_url) is None:
        raise InvalidRequest("The request's Host is not one that a processor could call back")
    return str(request.application_url)
