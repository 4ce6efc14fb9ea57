from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from billy.models import AuditEntry, Invoice, InvoiceStatus, SubmitStatus, Transaction, TransactionStatus
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy


@pytest.fixture
def doubtful(make: Factories, session: Session, clock: FrozenClock) -> Transaction:
    """A charge that the processor may have taken."""
    doubt = {"in_doubt": True, "attempt": 1, "submit_status": SubmitStatus.RETRYING, "last_send_at": clock.now}
    invoice = make.invoice(make.company(), funding_instrument_uri="/cards/ok", charge=doubt)
    transaction = session.scalars(select(Transaction).where(Transaction.invoice_guid == invoice.guid)).one()
    session.commit()
    return transaction


def after(session: Session, transaction: Transaction) -> tuple[Transaction, Invoice, list[AuditEntry]]:
    """The transaction now, its invoice, and what was audited."""
    session.expire_all()
    invoice = session.get_one(Invoice, (transaction.company_guid, transaction.invoice_guid))
    entries = session.scalars(select(AuditEntry).where(AuditEntry.subject_guid == transaction.guid)).all()
    return session.get_one(Transaction, (transaction.company_guid, transaction.guid)), invoice, list(entries)


def test_what_happened_settles_the_invoice(
    billy: Billy, ini_file: Path, session: Session, doubtful: Transaction, bystander: Bystander
) -> None:
    result = billy("resolve", ini_file, doubtful.guid, "--happened", "/debits/123")

    assert (result.exit_code, result.stdout) == (0, f"{doubtful.guid}: done\n")
    transaction, invoice, [entry] = after(session, doubtful)
    assert (transaction.in_doubt, transaction.status) == (False, TransactionStatus.SUCCEEDED)
    assert transaction.processor_uri == "/debits/123"
    assert invoice.status is InvoiceStatus.SETTLED
    assert (entry.action, entry.detail) == ("resolve", "happened: /debits/123")
    assert "@" in entry.actor


def test_what_did_not_happen_is_submitted_again(
    billy: Billy, ini_file: Path, session: Session, doubtful: Transaction, clock: FrozenClock, bystander: Bystander
) -> None:
    result = billy("resolve", doubtful.guid, "--did-not-happen", "-c", ini_file)

    assert (result.exit_code, result.stdout) == (0, f"{doubtful.guid}: retrying\n")
    transaction, invoice, [entry] = after(session, doubtful)
    assert not transaction.in_doubt
    assert transaction.next_attempt_at <= clock.now
    assert invoice.status is InvoiceStatus.PROCESSING
    assert entry.detail == "did not happen"


def test_what_is_not_in_doubt_is_left_alone(
    billy: Billy, ini_file: Path, session: Session, bystander: Bystander, make: Factories
) -> None:
    make.paid_invoice(make.company())
    paid = session.scalars(select(Transaction).where(Transaction.processor_uri == "/debits/1")).first()
    session.commit()
    assert paid is not None
    result = billy("resolve", ini_file, paid.guid, "--did-not-happen")

    assert result.exit_code == 1
    assert result.stderr == f"Error: Transaction {paid.guid} is not in doubt\n"
    assert after(session, paid)[2] == []


def test_an_unknown_transaction_is_told(billy: Billy, ini_file: Path, bystander: Bystander) -> None:
    result = billy("resolve", ini_file, "TX1111111111111111111111", "--did-not-happen")

    assert (result.exit_code, result.stderr) == (1, "Error: No such transaction TX1111111111111111111111\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--happened", "/debits/1", "--did-not-happen"],
        ["--happened", ""],
        ["--happened", "/" + "x" * 128],
    ],
)
def test_one_answer_is_needed(
    billy: Billy, ini_file: Path, session: Session, doubtful: Transaction, arguments: list[str]
) -> None:
    assert billy("resolve", ini_file, doubtful.guid, *arguments).exit_code == 2
    assert after(session, doubtful)[0].in_doubt
