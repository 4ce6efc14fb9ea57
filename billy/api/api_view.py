"""How a view says what it needs, takes and returns.

::

    @api_view("plans", "POST", permission=Permission.COMPANY, body=PlanCreate, returns=Plan)
    def create_plan(company: Company, request: Request) -> Plan:
        body: PlanCreate = request.validated

What it says is there for others to read in Pyramid's introspection: ``body``, ``query``, ``returns`` and
``raises`` of each view. The document of the API (``openapi``) is made of that, and of the first sentence of
the view's docstring. A view that names no permission is refused when the server starts, whatever
decorator it used, so the safe way is the only way.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GenericAlias
from typing import Any, TypeVar

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from pyramid.view import view_config

from billy import clock
from billy.api.contexts import find
from billy.api.fields import Surroundings
from billy.api.parameters import Parameters, body_parameters, query_parameters
from billy.api.request import Request
from billy.api.schemas import ListQuery, Schema, validate
from billy.api.security import Permission
from billy.errors import BillyError
from billy.models.base import Owned

View = Callable[[Any, Request], Response]
S = TypeVar("S", bound=Schema)


def api_view(
    route: str,
    method: str,
    *,
    permission: Permission,
    body: type[Schema] | None = None,
    query: type[ListQuery] | None = None,
    returns: type | GenericAlias | None = None,
    statuses: tuple[int, ...] = (200,),
    raises: tuple[type[BillyError], ...] = (),
    media_type: str = "application/json",
    uses_database: bool = True,
    takes_key: bool = True,
    resume: Callable[[Request, str], Any] | None = None,
) -> Any:
    """A view of ``route``. The checked body is at ``request.validated``, a list's query at ``request.query``.

    The records that a body refers to are at ``request.referred``, by their class, and locked until the request
    commits. ``returns`` is what it answers, with one of ``statuses``; ``raises`` are the errors that cannot be seen
    from the rest: what the view's own verb may refuse, and what a processor may say.

    A view that changes something takes idempotency keys (``takes_key``). If a request with one was cut short after it
    had ``reached`` its effect, ``resume`` gives the record to answer with, by its guid; by default the one of
    ``returns``.
    """
    return view_config(
        route_name=route,
        request_method=method,
        permission=permission,
        renderer="resource",
        body=body,
        query=query,
        returns=returns,
        statuses=statuses,
        raises=raises,
        media_type=media_type,
        uses_database=uses_database,
        takes_key=takes_key and method != "GET",
        resume=resume,
    )


def require_permission(view: View, info: Any) -> View:
    """View deriver: a view names one of our permissions."""
    permission = info.options.get("permission")
    if not info.exception_only and not isinstance(permission, Permission):
        raise ConfigurationError(f"{info.original_view} names no billy.api.security.Permission but {permission!r}")
    return view


def read_parameters(view: View, info: Any) -> View:
    """View deriver: check the parameters, and report all that is wrong with them at once."""
    body, query = info.options.get("body"), info.options.get("query")
    if body and query:
        raise ConfigurationError(
            f"{info.original_view}: what changes something takes its parameters from the body only"
        )

    def with_parameters(context: Any, request: Request) -> Response:
        if body is not None:
            request.validated = _checked(request, body, body_parameters(request, body))
        if query is not None:
            request.query = _checked(request, query, query_parameters(request, query))
        return view(context, request)

    return with_parameters if body or query else view


read_parameters.options = ("body", "query", "returns", "statuses", "raises", "media_type", "uses_database")  # type: ignore[attr-defined]  # how Pyramid is told of them


def _checked(request: Request, schema: type[S], parameters: Parameters) -> S:
    request.referred = {}

    def find_own(model: type[Owned], guid: str) -> Owned | None:
        request.referred[model] = found = find(request, model, guid, locked=True)
        return found

    surroundings = Surroundings(is_text=parameters.is_text, now=clock.utc_now(), find=find_own)
    return validate(schema, parameters, surroundings)


def includeme(config: Configurator) -> None:
    """Check every view's permission, and read the parameters of those that declare any."""
    config.add_view_deriver(require_permission)
    config.add_view_deriver(read_parameters)
