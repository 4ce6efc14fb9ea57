"""Which migrations hold up a site that is up. docs/operations.md lists those that do; a new one should not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = re.findall(r"^\| (\d{4}) \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)


def _says(call: ast.Call, name: str, value: bool) -> bool:
    return any(
        keyword.arg == name and isinstance(keyword.value, ast.Constant) and keyword.value.value is value
        for keyword in call.keywords
    )


def _name_of(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def hindrances(source: str) -> Iterator[str]:
    """What an upgrade does that readers or writers have to wait for, or that the code before cannot live with."""
    [upgrade] = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    ]
    calls = [node for node in ast.walk(upgrade) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    done = [(call, call.func.attr, ast.unparse(call.func.value)) for call in calls]  # type: ignore[attr-defined]  # above
    new = {_name_of(call.args[0]) for call, verb, _ in done if verb == "create_table"}
    for call, verb, on in done:
        if on not in ("op", "batch") or verb in ("create_table", "batch_alter_table", "get_context", "get_bind", "f"):
            continue
        if verb == "add_column":
            column = call.args[-1]
            if not (isinstance(column, ast.Call) and _says(column, "nullable", True)):
                yield f"{verb}: what the code before inserts has no value for it"
        elif verb == "create_index":
            if _name_of(call.args[1]) not in new and not _says(call, "postgresql_concurrently", True):
                yield f"{verb}: nobody writes to its table until it is built"
        else:
            yield f"{verb}: has to be looked at by a person"


def migrations() -> list[Path]:
    # The first makes the schema: there is no site yet.
    return sorted((ROOT / "alembic" / "versions").glob("[0-9]*.py"))[1:]


def test_the_page_lists_the_migrations_that_hold_up_a_site() -> None:
    found = [path.name[:4] for path in migrations() if list(hindrances(path.read_text()))]
    assert found == LISTED


BATCH = 'with op.batch_alter_table("plan") as batch:\n        batch.'


@pytest.mark.parametrize(
    "line",
    [
        'op.create_index("ix_plan_name", "plan", ["name"])',
        'op.create_index("ix_plan_name", "plan", ["name"], postgresql_concurrently=False)',
        'op.drop_table("plan")',
        'op.execute("UPDATE plan SET amount = 0")',
        f'{BATCH}add_column(sa.Column("color", sa.Text(), nullable=False))',
        f'{BATCH}add_column(sa.Column("color", sa.Text()))',
        f'{BATCH}drop_column("name")',
        f'{BATCH}alter_column("name", nullable=False)',
    ],
)
def test_a_hindrance_is_seen(line: str) -> None:
    assert len(list(hindrances(f"def upgrade():\n    {line}"))) == 1


@pytest.mark.parametrize(
    "line",
    [
        'op.create_table("coupon")\n    op.create_index("ix_coupon_code", "coupon", ["code"])',
        'op.create_index("ix_plan_name", "plan", ["name"], postgresql_concurrently=True)',
        f'{BATCH}add_column(sa.Column("color", sa.Text(), nullable=True))',
    ],
)
def test_what_hinders_nobody_is_let_by(line: str) -> None:
    assert list(hindrances(f"def upgrade():\n    {line}")) == []
