from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from billy.models import Invoice, InvoiceStatus, TransactionStatus, lock_invoice
from billy.processors.base import ReceiptStatus, Submission, SubmissionType
from billy.settings import Settings
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

BANK = "/bank_accounts/pending"


@pytest.fixture
def ini(ini: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """With a ledger that the command shares."""
    return {**ini, "billy.sandbox.ledger": str(tmp_path / "ledger.sqlite")}


@pytest.fixture
def pending(make: Factories, sandbox: Any, session: Session, clock: FrozenClock, bystander: Bystander) -> Invoice:
    """An invoice whose charge has been pending for a day, and has succeeded since."""
    clock.now = datetime.now(UTC) - timedelta(days=1)
    company = make.company()
    invoice = make.invoice(company, funding_instrument_uri=BANK)
    invoice = lock_invoice(session, session.get_one(Invoice, (company.guid, invoice.guid)))
    [charge] = invoice.charges
    key, customer = charge.submission_key, f"/customers/{invoice.customer_guid}"
    submission = Submission(
        SubmissionType.DEBIT, key, charge.guid, invoice.guid, customer, charge.amount, BANK, None, None
    )
    receipt = sandbox("a-processor-key").submit(submission)
    charge.accept(receipt.processor_uri, TransactionStatus.PENDING, clock.now)
    session.commit()
    sandbox.settle(receipt.processor_uri, ReceiptStatus.SUCCEEDED)
    clock.now = datetime.now(UTC)
    return invoice


def status_of(session: Session, invoice: Invoice) -> InvoiceStatus:
    with session.begin():  # ended at once: SQLite has one writer
        session.expire_all()
        return session.get_one(Invoice, (invoice.company_guid, invoice.guid)).status


def test_what_had_ended_is_recorded(billy: Billy, ini_file: Path, session: Session, pending: Invoice) -> None:
    result = billy("reconcile", ini_file)
    assert (result.exit_code, result.stdout) == (
        0,
        "Asked about 1 pending and 0 doubtful transactions: 1 had news, 0 differences, 0 old doubts.\n",
    )
    assert status_of(session, pending) is InvoiceStatus.SETTLED


def test_what_is_not_old_enough_is_asked_about_if_that_is_wanted(
    billy: Billy, ini_file: Path, session: Session, pending: Invoice
) -> None:
    assert json.loads(billy("reconcile", ini_file, "--pending-after", "2d", "--json").stdout)["asked"] == 0
    assert status_of(session, pending) is InvoiceStatus.PROCESSING
    assert json.loads(billy("reconcile", ini_file, "--pending-after", "0s", "--json").stdout)["repaired"] == 1
    assert status_of(session, pending) is InvoiceStatus.SETTLED


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_a_person_has_to_look_into_is_printed_and_exits_1(
    billy: Billy, ini_file: Path, session: Session, settings: Settings, sandbox: Any, pending: Invoice, options: Any
) -> None:
    with sandbox._ledger.writing() as db:
        db.execute("UPDATE records SET amount = 999")
    result = billy("reconcile", ini_file, *options)
    assert result.exit_code == 1
    assert "is of 999 cents at the processor and of 1000 in the books" in result.stdout
    assert pending.company_guid in result.stdout
    assert status_of(session, pending) is InvoiceStatus.PROCESSING


def test_80_columns_are_enough_and_guids_are_whole(
    billy: Billy, ini_file: Path, sandbox: Any, pending: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with sandbox._ledger.writing() as db:
        db.execute("UPDATE records SET amount = 999")
    table, counts = billy("reconcile", ini_file).stdout.split("Asked about 1 pending")

    assert "1 differences" in counts
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(rf"^ TX\w{{22}} +/debits/\w+ is of 999 .*\n {pending.company_guid} ", table, re.MULTILINE)
