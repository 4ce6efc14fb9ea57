"""What the API can do: one operation a view, as the views themselves say it in Pyramid's introspection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from pyramid.registry import Registry

from billy.api.schemas import ListQuery, Schema
from billy.api.security import Permission
from billy.errors import BillyError

_SAID = ("body", "query", "returns", "statuses", "raises", "media_type", "uses_database", "takes_key")


@dataclass(frozen=True)
class Operation:
    """One view, as Pyramid knows it."""

    route: str
    path: str
    method: str
    view: Any
    permission: Permission
    body: type[Schema] | None = None
    query: type[ListQuery] | None = None
    returns: Any = None
    statuses: tuple[int, ...] = (200,)
    raises: tuple[type[BillyError], ...] = ()
    media_type: str = "application/json"
    uses_database: bool = True
    takes_key: bool = False

    @property
    def id(self) -> str:
        """A name of its own: a list's view serves several routes."""
        name: str = self.view.__name__
        return f"list_{self.route}" if name.startswith("list_") else name

    @property
    def noun(self) -> str:
        """The file of its view."""
        noun: str = self.view.__module__.rpartition(".")[2]
        return noun

    @property
    def item(self) -> Any:
        """Of what a list is, or None."""
        return get_args(self.returns)[0] if get_args(self.returns) and self.query else None


def operations(registry: Registry) -> list[Operation]:
    """Every view but those of errors, in the order of the routes."""
    introspector = registry.introspector
    routes = {route["introspectable"]["name"]: route["introspectable"] for route in introspector.get_category("routes")}
    order = list(routes)
    found = []
    for item in introspector.get_category("views"):
        view = item["introspectable"]
        if view["exception_only"]:
            continue
        permission = next(other["value"] for other in item["related"] if other.category_name == "permissions")
        named = {name: view[name] for name in _SAID if view.get(name) is not None}
        found.append(
            Operation(
                view["route_name"],
                routes[view["route_name"]]["pattern"],
                view["request_methods"],
                view["callable"],
                permission,
                **named,
            )
        )
    return sorted(found, key=lambda operation: (order.index(operation.route), operation.method))
