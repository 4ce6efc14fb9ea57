"""The client against a double that misbehaves, and against Billy itself; both over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from webtest import TestApp

from billy.app import make_app
from billy.client import Client, transport
from billy.secrets import new_secret_key
from billy.settings import Settings
from tests.client.double import Double


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def double() -> Iterator[Double]:
    """A server that misbehaves as it is told."""
    with Double.open() as double:
        yield double


@pytest.fixture
def billy(double: Double) -> Iterator[Client]:
    """A client of it."""
    with Client(double.url, "a-key") as billy:
        yield billy


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document that the server serves."""
    options = {
        "sqlalchemy.url": f"sqlite:///{tmp_path_factory.mktemp('document')}/billy.sqlite",
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
    }
    served: dict[str, Any] = TestApp(make_app(Settings.load(options))).get("/v1/openapi.json").json
    return served
