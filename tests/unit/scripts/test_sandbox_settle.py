from __future__ import annotations

import json
from pathlib import Path

import pytest

from billy.processors.base import ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import Sandbox
from billy.settings import Settings

from .conftest import Billy, write_ini


@pytest.fixture
def ini_file(ini: dict[str, str], tmp_path: Path) -> Path:
    ini["billy.sandbox.ledger"] = str(tmp_path / "ledger.sqlite")
    return write_ini(tmp_path / "test.ini", ini)


@pytest.fixture
def pending(ini_file: Path, ini: dict[str, str]) -> tuple[Sandbox, str]:
    """The sandbox and a debit that the bank has not decided on."""
    sandbox = Settings.load(ini).make_processor_factory()
    assert isinstance(sandbox, Sandbox)
    adapter = sandbox("key")
    submission = Submission(
        type=SubmissionType.DEBIT,
        key="TX1-1",
        transaction_guid="TX1",
        invoice_guid="IV1",
        customer_uri=adapter.create_customer("CU1"),
        amount=800,
        funding_instrument_uri="/bank_accounts/pending",
        charge_uri=None,
        appears_on_statement_as=None,
    )
    return sandbox, adapter.submit(submission).processor_uri


@pytest.mark.parametrize("options, status", [([], ReceiptStatus.SUCCEEDED), (["--failed"], ReceiptStatus.FAILED)])
def test_it_prints_the_callback_of_what_it_decided(
    billy: Billy, ini_file: Path, pending: tuple[Sandbox, str], options: list[str], status: ReceiptStatus
) -> None:
    sandbox, uri = pending
    result = billy("sandbox-settle", ini_file, uri, *options)

    assert result.exit_code == 0
    callback = sandbox("key").read_callback(result.stdout.encode(), {})
    assert callback is not None
    assert callback.event_id == json.loads(result.stdout)["id"]
    assert (callback.transaction_guid, callback.receipt.processor_uri) == ("TX1", uri)
    assert callback.receipt.status is status


def test_an_unknown_record_is_told(billy: Billy, ini_file: Path) -> None:
    result = billy("sandbox-settle", ini_file, "/debits/nothing")

    assert (result.exit_code, result.stderr) == (1, "Error: The sandbox has no record /debits/nothing\n")
