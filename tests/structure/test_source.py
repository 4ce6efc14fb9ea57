"""Rules of the house that a linter does not know; each is shown to catch what it is there for."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.structure.source import Module, dotted, modules

WALL_CLOCK = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "date.today",
    "datetime.date.today",
    "time.time",
    "time.time_ns",
    "func.now",
    "func.current_timestamp",
}

# Where everything is caught, and why that is right there.
CATCHES_ALL = {
    "billy.submission": "a broken adapter must not stop the other submissions; its error is an outcome like others",
    "billy.reconciliation": "as in the two above and below: a broken adapter, a bad row",
    "billy.callers": "what ends a thread is raised in the one that can end the process",
    "billy.billing_run": "one bad row must not stop the others; it is logged, counted and makes the exit code 1",
    "billy.scripts": "the outermost line of a command: what nobody expected becomes one line and an exit code",
}

TABLES = {"status": {"INVOICE", "TRANSACTION"}, "submit_status": {"SUBMISSION"}}


def wall_clock_reads(module: Module) -> Iterator[str]:
    """Only ``billy.clock`` reads the wall clock, so that a test can tell a year."""
    if module.name == "billy.clock":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and dotted(node) in WALL_CLOCK:
            yield f"{module}:{node.lineno} reads {dotted(node)}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            for alias in node.names:
                if alias.name.startswith("time"):
                    yield f"{module}:{node.lineno} imports time.{alias.name}"


def broad_catches(module: Module) -> Iterator[str]:
    """Errors are caught by name, where one can act on them."""
    if module.name in CATCHES_ALL:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in caught):
                yield f"{module}:{node.lineno} catches everything"


def undocumented(module: Module) -> Iterator[str]:
    """Every module says why it exists."""
    if not ast.get_docstring(module.tree):
        yield f"{module} has no docstring"


def assigned_statuses(module: Module) -> Iterator[str]:
    """A status changes in one form: ``self.status = INVOICE.after(event, self.status)``."""
    if module.name == "billy.client.errors":  # HTTP has statuses too
        return
    nodes = list(ast.walk(module.tree))
    in_form = {
        id(target)
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if follows_table(assigned_name(target), node.value)
    }
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            if assigned_name(node) in TABLES and id(node) not in in_form and not is_response(node):
                yield f"{module}:{node.lineno} assigns {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called == "setattr" and isinstance(node.args[1], ast.Constant) and node.args[1].value in TABLES:
                yield f"{module}:{node.lineno} sets {node.args[1].value} by name"
            writes = isinstance(node.func, ast.Attribute) and node.func.attr == "values"
            if writes or called in ("Invoice", "Transaction"):
                for keyword in node.keywords:
                    if keyword.arg in TABLES and not follows_table(keyword.arg, keyword.value):
                        yield f"{module}:{node.lineno} writes {keyword.arg} in {ast.unparse(node.func)}(…)"


def assigned_name(target: ast.expr) -> str | None:
    """``status`` of ``x.status`` and of ``row["status"]``."""
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return None


def follows_table(name: str | None, value: ast.expr) -> bool:
    """Whether a value is what the total table of ``name`` answers."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "after":
        return dotted(value.func.value) in TABLES.get(name or "", ())
    return False


def is_response(target: ast.expr) -> bool:
    """HTTP has statuses too."""
    return isinstance(target, ast.Attribute) and dotted(target.value).rpartition(".")[2] == "response"


RULES = [wall_clock_reads, broad_catches, undocumented, assigned_statuses]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Callable[[Module], Iterator[str]]) -> None:
    assert [violation for module in modules() for violation in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (wall_clock_reads, "now = datetime.now(UTC)"),
        (wall_clock_reads, "column = Column(default=datetime.datetime.utcnow)"),
        (wall_clock_reads, "from time import time"),
        (wall_clock_reads, "select(func.now())"),
        (broad_catches, "try: f()\nexcept Exception: pass"),
        (broad_catches, "try: f()\nexcept (ValueError, BaseException): pass"),
        (broad_catches, "try: f()\nexcept: pass"),
        (undocumented, "x = 1"),
        (assigned_statuses, "invoice.status = InvoiceStatus.SETTLED"),
        (assigned_statuses, "self.status = INVOICE.after(event, self.status) if new else InvoiceStatus.STAGED"),
        (assigned_statuses, "self.submit_status = INVOICE.after(event, self.submit_status)"),
        (assigned_statuses, "row['submit_status'] = 'done'"),
        (assigned_statuses, "self.status, self.amount = status, amount"),
        (assigned_statuses, "setattr(invoice, 'status', status)"),
        (assigned_statuses, "update(Transaction).values(submit_status='canceled')"),
        (assigned_statuses, "Invoice(status=InvoiceStatus.PROCESSING)"),
    ],
)
def test_a_breach_is_seen(rule: Callable[[Module], Iterator[str]], code: str) -> None:
    assert len(list(rule(Module.of("billy.planted", code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "self.status = INVOICE.after(InvoiceEvent.CANCEL, self.status)",
        "self.submit_status = SUBMISSION.after(event, self.submit_status)",
        "row['status'] = INVOICE.after(event, row['status'])",
        "request.response.status = 404",
        "class Invoice:\n    status: Mapped[InvoiceStatus] = mapped_column()",
    ],
)
def test_the_one_form_is_allowed(code: str) -> None:
    assert list(assigned_statuses(Module.of("billy.planted", code))) == []


def test_what_may_catch_all_still_does() -> None:
    catching = {
        module.name
        for module in modules()
        if list(broad_catches(Module(f"{module.name}.as_if_not_listed", module.tree)))
    }
    assert catching == set(CATCHES_ALL)


@pytest.mark.parametrize("package", ["billy", "billy.api", "billy.models"])
def test_a_packages_map_names_all_that_is_in_it(package: str) -> None:
    [tree] = [module.tree for module in modules() if module.name == package]
    named = set(re.findall(r"\w+", ast.get_docstring(tree) or ""))
    inside = [module.name for module in modules() if module.name.startswith(f"{package}.")]
    assert {name.removeprefix(f"{package}.").partition(".")[0] for name in inside} <= named
