from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from billy.models import Company
from billy.verification import INVARIANTS
from tests.support.bystander import Bystander
from tests.support.factories import Factories

from .conftest import Billy


@pytest.fixture
def broken(make: Factories, session: Session, bystander: Bystander) -> Company:
    """A company with two invoices that break a rule, and their charges another; the bystander's do not."""
    company = make.company()
    for _ in range(2):
        make.paid_invoice(company)
    of_it = {"company": company.guid}
    session.execute(text("UPDATE invoice SET overpaid = true WHERE company_guid = :company"), of_it)
    session.execute(text('UPDATE "transaction" SET in_doubt = true WHERE company_guid = :company'), of_it)
    session.commit()
    return company


def test_books_that_hold_are_told_in_a_line(billy: Billy, ini_file: Path, bystander: Bystander) -> None:
    result = billy("verify", ini_file)

    assert (result.exit_code, result.stdout) == (0, f"The books hold: {len(INVARIANTS)} invariants, no violation.\n")


def test_what_breaks_a_rule_is_listed_below_it_in_80_columns(
    billy: Billy, ini_file: Path, broken: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    violations = [json.loads(line) for line in billy("verify", ini_file, "--json").stdout.splitlines()]
    monkeypatch.setenv("COLUMNS", "80")
    result = billy("verify", ini_file)
    meanings = {invariant.name: invariant.meaning for invariant in INVARIANTS}
    expected: list[str] = []
    for violation in violations:
        heading = f"{violation['invariant']}: {meanings[violation['invariant']]}"
        expected += [heading] * (heading not in expected) + [violation["guid"], violation["company_guid"]]

    assert result.exit_code == 1
    assert {"overpaid_is_shown", "closed_means_certain"} <= {violation["invariant"] for violation in violations}
    assert {violation["company_guid"] for violation in violations} == {broken.guid}
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines if line not in expected) <= 80
    told = [line if line in expected else line.partition(" ")[0] for line in map(str.strip, lines)]
    assert [each for each in told if each in expected] == expected
