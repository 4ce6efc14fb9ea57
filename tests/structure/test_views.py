"""Every view of the real application says who may call it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from billy.api.security import Permission
from billy.app import make_app
from billy.secrets import new_secret_key
from billy.settings import Settings

PUBLIC = {
    ("index", "GET"): "says what this server is",
    ("health", "GET"): "asked by load balancers, which have no key",
    ("openapi", "GET"): "says what can be asked, to those who have no key yet too",
    ("docs", "GET"): "the same for people",
    ("docs_file", "GET"): "what the page is made of",
    ("callback", "POST"): "called by the processor; the secret is in the path",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The application's, of which nothing here touches a database."""
    directory: Path = tmp_path_factory.mktemp("views")
    options = {
        "sqlalchemy.url": f"sqlite:///{directory}/billy.sqlite",
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
    }
    return make_app(Settings.load(options)).registry


def permissions(registry: Registry) -> Iterator[tuple[tuple[str, str], object]]:
    """Route and method of every view but the error views, and the permission that it names itself."""
    for view in registry.introspector.get_category("views"):
        if not view["introspectable"]["exception_only"]:
            named = [item["value"] for item in view["related"] if item.category_name == "permissions"]
            route, methods = (view["introspectable"][name] for name in ("route_name", "request_methods"))
            assert isinstance(methods, str), f"a view of {route} answers {methods}: one method, one view"
            yield (route, methods), named[0] if named else None


def nameless(registry: Registry) -> list[tuple[str, str]]:
    return [view for view, permission in permissions(registry) if not isinstance(permission, Permission)]


def test_every_view_names_a_permission(registry: Registry) -> None:
    assert len(list(permissions(registry))) > 30
    assert nameless(registry) == []


def test_what_is_public_is_listed_here_with_its_reason(registry: Registry) -> None:
    public = {view for view, permission in permissions(registry) if permission is Permission.PUBLIC}
    assert public == set(PUBLIC)


@pytest.mark.parametrize("options", [{}, {"permission": NO_PERMISSION_REQUIRED}, {"permission": "anything"}])
def test_a_view_without_one_is_seen(options: dict[str, str]) -> None:
    config = Configurator(exceptionresponse_view=None)
    config.add_route("planted", "/planted")
    config.add_view(lambda request: Response(), route_name="planted", request_method="GET", **options)
    config.commit()
    assert nameless(config.registry) == [("planted", "GET")]


def test_the_server_does_not_start_with_a_view_without_one() -> None:
    config = Configurator(exceptionresponse_view=None)
    config.include("billy.api.api_view")
    config.add_route("planted", "/planted")
    config.add_view(lambda request: Response(), route_name="planted")
    with pytest.raises(ConfigurationError, match="names no billy"):
        config.commit()
