"""The server itself: which it is, and whether it is well."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import structlog
from pyramid.response import Response
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars

from billy import clock, schema
from billy.api import resources
from billy.api.api_view import api_view
from billy.api.openapi import version
from billy.api.request import Request
from billy.api.security import Permission, bearer_token, is_same
from billy.db import read_only, with_time_out
from billy.errors import MetricsNotShared, NotFound, TokenRequired
from billy.models import BillingRun, Company, Transaction
from billy.models.plain import fetch, shape
from billy.settings import Settings
from billy.standing import Standing, standing

_SCRAPE_SECONDS = 5
"""Half of what Prometheus waits for an answer by default; for one query."""

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


@api_view("health", "GET", permission=Permission.PUBLIC, returns=resources.Health, uses_database=False)
def health(context: None, request: Request) -> resources.Health:
    """That this server is alive: always 200, whatever has become of its database.

    Who gets no answer may start it anew. That would not bring a database back: see ``ready``.
    """
    return {"status": "ok"}


@api_view("ready", "GET", permission=Permission.PUBLIC, returns=resources.Readiness, statuses=(200, 503))
def ready(context: None, request: Request) -> resources.Readiness:
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
    except (OperationalError, InterfaceError, NoFreeConnection) as error:
        _log_unavailable(error)
        status = database = "unavailable"
    else:
        status, database = ("ok" if schema.fits(current) else "schema_outdated"), "ok"
    if status != "ok":
        bind_contextvars(error=status)  # for the request's line in the log
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


@api_view(
    "metrics",
    "GET",
    permission=Permission.PUBLIC,
    media_type="text/plain",
    raises=(NotFound, TokenRequired, MetricsNotShared),
)
def show_metrics(context: None, request: Request) -> Response:
    """What Prometheus asks for, where ``billy.metrics`` is on."""
    settings, metrics = request.registry["billy.settings"], request.registry["billy.metrics"]
    if metrics is None:
        raise NotFound("There is nothing at this address")
    if settings.metrics_token is not None and not is_same(bearer_token(request) or "", settings.metrics_token):
        raise TokenRequired("The token of the metrics is required, as a bearer token")
    if request.environ.get("wsgi.multiprocess") and not metrics.is_shared:
        raise MetricsNotShared(
            "This is one of several processes: set PROMETHEUS_MULTIPROC_DIR, so that they add up what they measure"
        )
    return Response(metrics.exposition(_standing(request)), content_type="text/plain; version=0.0.4", charset="UTF-8")


def _standing(request: Request) -> Standing | None:
    # In one transaction, unlike what is read through the request.
    with Session(with_time_out(read_only(request.registry["billy.engine"]), _SCRAPE_SECONDS)) as session:
        try:
            return standing(session, clock.utc_now())
        except (OperationalError, InterfaceError, ProgrammingError, NoFreeConnection) as error:
            _log_unavailable(error)
            return None


def _log_unavailable(error: SQLAlchemyError) -> None:
    log.warning("database_unavailable", error=type(getattr(error, "orig", error)).__name__)


def _last_transaction(request: Request, company: Company | None) -> datetime | None:
    if company is None:
        return None
    newest = select(Transaction.created_at).where(Transaction.company_guid == company.guid)
    last: datetime | None = request.connection.scalar(newest.order_by(Transaction.guid.desc()).limit(1))
    return last
