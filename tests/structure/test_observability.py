"""``docs/observability.md`` says what the code does: every event of the log, every metric, every alert."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from billy import metrics
from tests.structure.source import Module, dotted, modules

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "observability.md").read_text()
ALERTS = DOCS / "examples" / "prometheus" / "alerts.yml"

LEVELS = ("debug", "info", "warning", "error", "exception")

Event = tuple[str, str, str]
"""Name, levels, fields: as a row of the table has them."""


def events_of(checked: Iterable[Module]) -> dict[str, tuple[set[str], set[str]]]:
    """The levels and the fields of each event that the code logs, by its name."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for module in checked:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and (levels := levels_of(node.func)):
                for name in names_of(node.args[0]):
                    of_event = found.setdefault(name, (set(), set()))
                    of_event[0].update(levels)
                    of_event[1].update(fields_of(node, module))
    return found


def levels_of(called: ast.expr) -> set[str]:
    """Of ``log.info`` and of ``(log.info if … else log.warning)``."""
    return {
        "error" if node.attr == "exception" else node.attr
        for node in ast.walk(called)
        if isinstance(node, ast.Attribute)
        and node.attr in LEVELS
        and isinstance(node.value, ast.Name)
        and node.value.id == "log"
    }


def names_of(argument: ast.expr) -> Iterator[str]:
    values = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
    for value in values:
        assert isinstance(value, ast.Constant), f"an event has a fixed name: {ast.unparse(argument)}"
        yield value.value


def fields_of(call: ast.Call, module: Module) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg == "exc_info":
            continue
        if keyword.arg is not None:
            yield keyword.arg
        else:  # **ids, **counts
            yield from SPREAD[ast.unparse(keyword.value)]


SPREAD = {
    "ids": ("company", "transaction", "attempt"),
    "question.ids": ("company", "transaction"),
    "counts": ("…",),
}

OF_EVERY_LINE = {"timestamp", "level", "logger", "event", "exception"}


def bound(checked: Iterable[Module]) -> set[str]:
    """The fields that all lines of a request, or of a run, have."""
    return {
        str(keyword.arg)
        for module in checked
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in ("bind_contextvars", "bound_contextvars")
        for keyword in node.keywords
    }


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    table = DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_event_of_the_log_is_in_its_table() -> None:
    written = {
        (event.strip("`"), frozenset(levels.split(", ")), frozenset(re.findall(r"[\w…]+", fields)))
        for event, levels, fields, _ in rows("Events")
    }
    logged = {
        (name, frozenset(levels), frozenset(fields)) for name, (levels, fields) in events_of(modules()).items()
    }
    assert written - logged == set(), "of the document, but not of the code"
    assert logged - written == set(), "of the code, but not of the document"


def test_every_field_is_explained() -> None:
    written = [field.strip("`") for field, _ in rows("Fields")]
    of_events = {field for _, fields in events_of(modules()).values() for field in fields} - {"…"}
    assert len(set(written)) == len(written)
    assert set(written) == of_events | bound(modules()) | OF_EVERY_LINE
    assert {"request_id", "company", "run"} <= bound(modules())


def test_severities_are_those_of_the_rules() -> None:
    assert {name.strip("`"): severity for name, severity, _ in rows("Alerts")} == {
        rule["alert"]: rule["labels"]["severity"] for rule in rules()
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_alerts() -> None:
    subprocess.run(["promtool", "check", "rules", ALERTS], check=True)


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("log.info('thing_happened', a=1)", {"thing_happened": ({"info"}, {"a"})}),
        ("log.exception('x', exc_info=error)", {"x": ({"error"}, set())}),
        ("(log.info if a else log.warning)('x' if b else 'y')", {k: ({"info", "warning"}, set()) for k in "xy"}),
        ("other.info('x')", {}),
    ],
)
def test_what_is_logged_is_seen(code: str, event: dict[str, Any]) -> None:
    assert events_of([Module.of("billy.planted", code)]) == event


def test_its_table_of_metrics_is_the_codes() -> None:
    assert metrics.markdown() in DOCUMENT, "print it again: python -m billy.metrics"


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_alerts_are_rules_that_prometheus_takes() -> None:
    for rule in rules():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_alerts_ask_only_for_metrics_and_labels_that_there_are() -> None:
    declared = {line.split("`")[1]: line for line in metrics.markdown().splitlines()[2:]}
    for rule in rules():
        asked = re.findall(r"(billy_\w+)(?:{([^}]*)})?", rule["expr"])
        assert asked, rule
        for name, labels in asked:
            base = name if name in declared else re.sub(r"_(bucket|count|sum)$", "", name)
            assert base in declared, f"{rule['alert']} asks for {name}"
            for label in re.findall(r"(\w+)\s*[=!]~?\s*\"", labels):
                assert f"`{label}`" in declared[base], f"{rule['alert']} asks {name} for {label}"


def test_every_alert_is_told_in_the_document() -> None:
    assert [name.strip("`") for name, *_ in rows("Alerts")] == [rule["alert"] for rule in rules()]
