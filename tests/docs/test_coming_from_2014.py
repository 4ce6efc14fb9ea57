"""*Coming from the 2014 Billy* leaves nothing out: each defect, each other difference, each point of the documents."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import CHECKOUT, DOCS, rows

PAGE = (DOCS / "coming_from_2014.md").read_text()

# What of the list of differences is not a defect with a number.
OTHER_DIFFERENCES = [
    "subscription invoices",
    "names",
    "`processor_key`",
    "errors",
    "datetimes in",
    "names and paths",
]

# The headings, and the points that have none, of the two documents of 2014.
POINTS = """
Endpoint; Reporting bugs; JSON; HTTP basic authentication
Company: Create, Retrieve, keep the keys secret, ask the administrator for a reset
Plan: Create, the end of a month, interval, Retrieve, Delete, List
Plan: List customers, List subscriptions, List invoices, List transactions
Customer: Create, Retrieve, Delete, List, List subscriptions, List invoices, List transactions
Subscription: Create, Retrieve, Cancel, List, List invoices, List transactions
Invoice: Create, items, adjustments, Retrieve, Update, Refund, List, List transactions
Transaction: the states and their picture, Retrieve, List
"""


def points() -> list[str]:
    found = []
    for line in POINTS.strip().splitlines():
        if ": " not in line:
            found += line.split("; ")
            continue
        resource, _, headings = line.partition(": ")
        found.append(resource)
        for heading in headings.replace("secret, ask", "secret; ask").split(", "):
            found.append(f"{resource}: {heading.replace('secret; ask', 'secret, ask')}")
    return found


def defects() -> dict[int, list[str]]:
    return {int(row[0][1:]): row for row in rows(PAGE) if re.fullmatch(r"D\d+", row[0])}


def test_every_defect_has_a_row_that_says_what_was_and_what_is() -> None:
    assert sorted(defects()) == list(range(1, 51))
    assert len([row for row in rows(PAGE) if re.fullmatch(r"D\d+", row[0])]) == 50
    for number, row in defects().items():
        assert len(row) == 5, number
        assert row[1] and row[2], number


def test_every_defect_names_its_test() -> None:
    tree = ast.parse((CHECKOUT / "tests" / "api" / "test_defects.py").read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for number, row in defects().items():
        assert row[4] == f"`test_d{number:02}`"
        assert any(name.startswith(f"test_d{number:02}_") for name in tests)


@pytest.mark.parametrize("name", OTHER_DIFFERENCES)
def test_every_other_difference_has_a_row(name: str) -> None:
    [row] = [row for row in rows(PAGE) if row[0] == name]
    assert row[1] and row[2]


@pytest.mark.parametrize("point", points())
def test_every_point_of_the_documents_is_told_somewhere(point: str) -> None:
    [row] = [row for row in rows(PAGE) if row[0] == point]
    assert re.fullmatch(r"\[.+\]\((#\w+|[\w/]+\.md)\)", row[1])  # where it leads to, the site's build checks
