"""The server itself: which it is, and whether it is well."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import structlog
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError

from billy import schema
from billy.api import resources
from billy.api.api_view import api_view
from billy.api.openapi import version
from billy.api.request import Request
from billy.api.security import Permission
from billy.models import BillingRun, Company, Transaction
from billy.models.plain import fetch, shape
from billy.settings import Settings

log = structlog.get_logger(__name__)


@api_view("index", "GET", permission=Permission.PUBLIC, returns=resources.Server)
def index(context: None, request: Request) -> resources.Server:
    """Which server this is; when a company last moved money is told to that company only."""
    settings: Settings = request.registry["billy.settings"]
    return {
        "server": "Billy - The recurring payment server",
        "powered_by": "BalancedPayments.com",
        "version": version(),
        "revision": settings.revision,
        "last_transaction_created_at": _last_transaction(request, request.identity),
    }


@api_view("health", "GET", permission=Permission.PUBLIC, returns=resources.Health, statuses=(200, 503))
def health(context: None, request: Request) -> resources.Health:
    """Whether this server can do its work: 200, or 503 with what is wrong."""
    head = schema.head_revision()
    current = last_run = None
    status: Literal["ok", "schema_outdated", "unavailable"]
    database: Literal["ok", "unavailable"]
    try:
        current = schema.current_revision(request.connection)
        if schema.fits(current):
            newest = shape(BillingRun).select().order_by(BillingRun.guid.desc()).limit(1)
            last_run = next(iter(fetch(request.connection, BillingRun, newest, {})), None)
    except (OperationalError, InterfaceError) as error:
        log.warning("database_unavailable", error=type(error.orig).__name__)
        status = database = "unavailable"
    else:
        status, database = ("ok" if schema.fits(current) else "schema_outdated"), "ok"
    if status != "ok":
        request.response.status_code = 503
    return {
        "status": status,
        "database": database,
        "schema": {"current": current, "head": head},
        "last_run": None
        if last_run is None
        else {
            "guid": last_run.guid,
            "started_at": last_run.started_at,
            "finished_at": last_run.finished_at,
        },
    }


def _last_transaction(request: Request, company: Company | None) -> datetime | None:
    if company is None:
        return None
    newest = select(Transaction.created_at).where(Transaction.company_guid == company.guid)
    last: datetime | None = request.connection.scalar(newest.order_by(Transaction.guid.desc()).limit(1))
    return last
