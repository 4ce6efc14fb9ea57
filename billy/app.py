"""The WSGI application: its whole assembly, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyramid.config import Configurator
from pyramid.router import Router
from waitress.proxy_headers import proxy_headers_middleware

from billy.api.openapi import version
from billy.api.request import Request
from billy.errors import ConfigurationError
from billy.log import set_up_logging
from billy.processors.base import ProcessorFactory
from billy.secrets import Vault
from billy.settings import Settings
from billy.submission import Processors, Submitter

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def main(global_config: Mapping[str, str], **ini: Any) -> WSGIApplication:
    """The application for an ini; the mistakes in one end the server, with a message instead of a traceback."""
    try:
        settings = Settings.load(ini)
        set_up_logging(settings)
        return _behind_proxy(settings, make_app(settings, pyramid_settings=_pyramid_settings(ini)))
    except ConfigurationError as error:
        raise SystemExit(f"Billy does not start: {error}") from None


def make_app(
    settings: Settings,
    *,
    processor_factory: ProcessorFactory | None = None,
    pyramid_settings: Mapping[str, Any] | None = None,
) -> Router:
    """The application for checked settings; a ``processor_factory`` made elsewhere is shared with its maker."""
    with Configurator(
        settings=dict(pyramid_settings or {}), request_factory=Request, exceptionresponse_view=None
    ) as config:
        vault = Vault(settings.secret_keys)
        processors = Processors.load(settings, vault, processor_factory)
        config.registry.update(
            {
                "billy.settings": settings,
                "billy.vault": vault,
                "billy.processors": processors,
                "billy.submitter": Submitter(settings, processors),
                "billy.metrics": _metrics(settings),
            }
        )
        config.include("billy.db")
        config.include("billy.api.limits")
        config.include("billy.api.tweens")
        config.include("billy.api.security")
        config.include("billy.api.serializers")
        config.include("billy.api.api_view")
        config.include("billy.api.idempotency")
        config.include("billy.api.routes")
        config.include("billy.api.errors")
        config.include("billy.api.views.docs")
        config.scan("billy.api.views")
        return config.make_wsgi_app()


def _behind_proxy(settings: Settings, app: Router) -> WSGIApplication:
    """Take the caller's address, and whether it came by https, from the trusted proxy's headers, and from no other."""
    if settings.trusted_proxy is None:
        return app
    believed = {"x-forwarded-for", "x-forwarded-proto"}
    behind: WSGIApplication = proxy_headers_middleware(app, settings.trusted_proxy, trusted_proxy_headers=believed)
    return behind


def _metrics(settings: Settings) -> Any:
    if not settings.metrics:
        return None
    from billy.metrics import Metrics  # late: most servers are not measured, and it takes a while to load

    return Metrics(version(), settings.revision)


def _pyramid_settings(ini: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ini.items() if name.startswith("pyramid.")}
