"""The pages of the documentation, as text."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"


def pages() -> dict[str, str]:
    """Every page of the site, and those beside it, by their names in the checkout."""
    found = [
        *CHECKOUT.glob("*.md"),
        *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
    ]
    return {str(path.relative_to(CHECKOUT)): path.read_text() for path in sorted(found)}


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, heads and rules left out."""
    lines = [line for line in text.splitlines() if re.match(r"\| (?!\|)", line)]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
