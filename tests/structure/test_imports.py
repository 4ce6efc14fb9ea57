"""Imports go one way: scripts and api, then submission and billing_run, then models and processors, then errors."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pytest

from tests.structure.source import Module, modules, within

FOUNDATION = ("billy.clock", "billy.errors", "billy.guid", "billy.secrets")
CORE = (*FOUNDATION, "billy.db", "billy.models", "billy.processors.base", "billy.settings", "billy.statements")

# What each module may import of billy; the longest name that fits a module decides. A new module has to be
# placed here, and that is the moment to think of which layer it is in.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "billy": ("billy.app",),
    "billy.errors": (),
    "billy.clock": (),
    "billy.guid": (),
    "billy.schema": (),
    "billy.secrets": ("billy.errors",),
    # The rules: no settings, no database scope, no processor, no clock.
    "billy.models": ("billy.models", "billy.errors", "billy.guid", "billy.secrets"),
    # The adapters: plain values only, and none knows another.
    "billy.processors": ("billy.processors.base", "billy.errors", "billy.clock"),
    "billy.processors.base": ("billy.errors",),
    "billy.processors.balanced": (
        "billy.processors.answers",
        "billy.processors.balanced_codes",
        "billy.processors.balanced_wire",
        "billy.processors.base",
        "billy.processors.http",
        "billy.processors.service",
        "billy.errors",
    ),
    "billy.processors.service": ("billy.processors.answers", "billy.processors.http", "billy.errors"),
    "billy.processors.balanced_codes": ("billy.processors.service",),
    "billy.processors.stripe_codes": ("billy.processors.service",),
    "billy.processors.balanced_wire": (
        "billy.processors.answers",
        "billy.processors.balanced_codes",
        "billy.processors.http",
        "billy.errors",
    ),
    "billy.processors.stripe": (
        "billy.processors.answers",
        "billy.processors.base",
        "billy.processors.http",
        "billy.processors.service",
        "billy.processors.stripe_events",
        "billy.processors.stripe_records",
        "billy.processors.stripe_wire",
        "billy.errors",
    ),
    "billy.processors.stripe_events": (
        "billy.processors.answers",
        "billy.processors.stripe_wire",
        "billy.clock",
        "billy.errors",
    ),
    "billy.processors.stripe_records": (
        "billy.processors.answers",
        "billy.processors.base",
        "billy.processors.stripe_wire",
        "billy.errors",
    ),
    "billy.processors.stripe_wire": (
        "billy.processors.answers",
        "billy.processors.http",
        "billy.processors.stripe_codes",
        "billy.errors",
    ),
    "billy.processors.sandbox": (
        "billy.processors.base",
        "billy.processors.sandbox_ledger",
        "billy.errors",
        "billy.clock",
    ),
    "billy.settings": ("billy.errors", "billy.models.retry", "billy.processors.base"),
    "billy.log": ("billy.settings",),
    "billy.gunicorn_log": (),
    "billy.db": ("billy.errors", "billy.settings"),
    "billy.statements": ("billy.clock", "billy.models"),
    "billy.books": ("billy.models", "billy.statements"),
    # Where the database and the processor meet.
    "billy.recording": (*CORE, "billy.books"),
    "billy.submission": (*CORE, "billy.books", "billy.recording"),
    "billy.recovery": CORE,
    "billy.reconciliation": (*CORE, "billy.recording", "billy.submission"),
    "billy.callers": ("billy.recording", "billy.submission"),
    "billy.billing_run": (*CORE, "billy.callers", "billy.reconciliation", "billy.recording", "billy.submission"),
    # What monitoring and operators look at.
    "billy.standing": ("billy.models", "billy.statements"),
    "billy.metrics": ("billy.errors", "billy.recording", "billy.standing"),
    "billy.overview": (*CORE, "billy.standing", "billy.verification"),
    "billy.chronicle": CORE,
    "billy.forecast": CORE,
    # The independent witness: it must not use the code that it checks.
    "billy.verification": ("billy.models.base", "billy.statements"),
    # What integrators test with: it must not know how Billy sees what it simulates.
    "billy.testing": ("billy.testing", "billy.clock"),
    # What users of the API run: it must not need the server. test_client.py says what else it loads.
    "billy.client": ("billy.client",),
    # The doors.
    "billy.api": (*CORE, "billy.api", "billy.recording", "billy.schema", "billy.standing", "billy.submission"),
    "billy.app": (*CORE, "billy.api", "billy.log", "billy.metrics", "billy.schema", "billy.submission"),
    "billy.scripts": ("billy",),
}

MAY_NOT_IMPORT: dict[str, tuple[str, ...]] = {
    "billy.models": ("pyramid", "webob", "structlog", "urllib3", "requests"),
    "billy.processors": ("pyramid", "webob", "sqlalchemy"),
    "billy.recording": ("pyramid", "webob"),
    "billy.submission": ("pyramid", "webob"),
    "billy.billing_run": ("pyramid", "webob"),
    "billy.reconciliation": ("pyramid", "webob"),
    "billy.verification": ("pyramid", "webob"),
    "billy.overview": ("pyramid", "webob"),
    "billy.chronicle": ("pyramid", "webob"),
    "billy.forecast": ("pyramid", "webob"),
    "billy.testing": ("pyramid", "webob", "sqlalchemy"),
    "billy.client": ("pyramid", "webob", "sqlalchemy", "pydantic", "structlog", "orjson", "click"),
    "billy.scripts": ("webob",),
}


def imports_of(module: Module, known: Iterable[str]) -> set[str]:
    """The dotted names that a module imports, at its top or anywhere else; a submodule counts as itself."""
    known = set(known)
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            source = node.module or ""
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in known else source)
    return found


def most_specific(rules: Iterable[str], name: str) -> str | None:
    return max((rule for rule in rules if within(name, rule)), key=len, default=None)


def violations(checked: Iterable[Module], known: Iterable[str]) -> list[str]:
    known = list(known)
    found = []
    for module in checked:
        place = most_specific(MAY_IMPORT, module.name)
        if place is None or (place == "billy" and module.name != "billy"):
            found.append(f"{module} has no place in MAY_IMPORT")
            continue
        forbidden = MAY_NOT_IMPORT.get(most_specific(MAY_NOT_IMPORT, module.name) or "", ())
        for name in sorted(imports_of(module, known)):
            allowed = any(within(name, other) for other in MAY_IMPORT[place])
            if (within(name, "billy") and not allowed) or any(within(name, other) for other in forbidden):
                found.append(f"{module} imports {name}")
    return found


def test_localstripe_is_run_and_never_imported() -> None:
    # Its licence is the GPL.
    names = [module.name for module in modules()]
    assert not [module for module in modules() if any(within(n, "localstripe") for n in imports_of(module, names))]


def test_imports_go_one_way() -> None:
    assert violations(modules(), [module.name for module in modules()]) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("billy.models.invoice", "from billy import clock"),
        ("billy.models.invoice", "from billy.processors.base import Receipt"),
        ("billy.models.invoice", "import pyramid.request"),
        ("billy.models.invoice", "def late():\n    from billy.settings import Settings"),
        ("billy.processors.stripe", "from billy.models import Invoice"),
        ("billy.processors.stripe", "from billy.processors.sandbox import Sandbox"),
        ("billy.processors.base", "from billy.clock import utc_now"),
        ("billy.submission", "from billy.api.errors import http_error"),
        ("billy.submission", "from billy.billing_run import run"),
        ("billy.api.views.invoice", "from billy.scripts import main"),
        ("billy.errors", "from billy.guid import new_guid"),
        ("billy.testing.balanced_simulator.app", "from billy.processors.base import Receipt"),
        ("billy.processors.balanced", "from billy.testing.balanced_simulator import BalancedSimulator"),
        ("billy.client.records", "from billy.api import resources"),
        ("billy.client.records", "from billy.errors import ValidationError"),
        ("billy.client.transport", "import structlog"),
        ("billy.api.views.plan", "from billy.client import Client"),
        ("billy.helpers", "import os"),
    ],
)
def test_an_import_against_the_current_is_seen(name: str, line: str) -> None:
    known = [name, *(module.name for module in modules())]
    assert len(violations([Module.of(name, line)], known)) == 1
