"""The description of this API: for programs, and as a page to try it on."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.response import Response

from billy.api.api_view import api_view
from billy.api.openapi import as_json
from billy.api.request import Request
from billy.api.security import Permission
from billy.errors import NotFound

FILES = {
    "index.html": "text/html",
    "explorer.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}

# The page runs scripts and styles of this server only, none of them inline, and talks to this server only.
# The explorer's pictures are data in its style sheet.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@api_view("openapi", "GET", permission=Permission.PUBLIC, uses_database=False)
def show_openapi(context: None, request: Request) -> Response:
    """This document."""
    body, etag = request.registry["billy.openapi"]
    return _cached(body, etag, "application/json")


@api_view("docs", "GET", permission=Permission.PUBLIC, media_type="text/html", uses_database=False)
def show_docs(context: None, request: Request) -> Response:
    """The page that shows this document, and sends requests."""
    return _file("index.html")


@api_view("docs_file", "GET", permission=Permission.PUBLIC, media_type="*/*", uses_database=False)
def show_docs_file(context: None, request: Request) -> Response:
    """What that page is made of."""
    return _file(request.matchdict["file"])


def _file(name: str) -> Response:
    if name not in FILES:
        raise NotFound("There is nothing at this address")
    response = _cached(*_content(name), FILES[name])
    response.headers.update(SECURITY_HEADERS)
    return response


@cache
def _content(name: str) -> tuple[bytes, str]:
    return _tagged(resources.files("billy.api").joinpath("explorer", name).read_bytes())


def _tagged(body: bytes) -> tuple[bytes, str]:
    return body, hashlib.sha256(body).hexdigest()[:32]


def _cached(body: bytes, etag: str, content_type: str) -> Response:
    # A browser asks again each time, and is told that it has the newest: 304.
    response = Response(body, content_type=content_type, charset="UTF-8", conditional_response=True)
    response.etag = etag
    response.cache_control = "no-cache"
    return response


def _build(event: ApplicationCreated) -> None:
    registry = event.app.registry
    registry["billy.openapi"] = _tagged(as_json(registry))


def includeme(config: Configurator) -> None:
    """Make the document once, when all views are there."""
    config.add_subscriber(_build, ApplicationCreated)
