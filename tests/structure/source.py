"""Billy's source as syntax trees, for rules that a linter does not know."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    """Dotted: ``billy.models.invoice``."""
    tree: ast.Module

    @classmethod
    def of(cls, name: str, source: str) -> Module:
        """A module that is not on disk, to plant a violation in."""
        return cls(name, ast.parse(source))

    def __repr__(self) -> str:
        return self.name


@cache
def modules() -> tuple[Module, ...]:
    """All of ``billy``."""
    found = []
    for path in sorted((CHECKOUT / "billy").rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, ast.parse(path.read_text(), str(path))))
    assert len(found) > 30, "the source was not found"
    return tuple(found)


def within(name: str, package: str) -> bool:
    """Whether a dotted name is a package or something in it."""
    return name == package or name.startswith(package + ".")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a chain of attributes; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""
