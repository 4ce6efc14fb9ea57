"""The example of an adapter in the documentation, beyond the contract: it is printed, found, and survives a crash."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from billy.errors import ConfigurationError, OutcomeUnknown, Refused, Unavailable
from billy.processors.base import ReceiptStatus, Submission, SubmissionType
from billy.settings import Settings
from tests.processors.bank_transfer import EXAMPLE, IBAN, BankTransferHarness, ini, installed

DOCUMENT = (EXAMPLE.parents[1] / "processors.md").read_text()

DIES = """
import json, os, sys
from billy.processors.base import Submission, SubmissionType
from billy.settings import Settings
options, key, when, values = json.loads(sys.argv[1])
[factory] = Settings.load(options).make_further_factories()
link = os.link
def dying(*names):
    if when == "after the link":
        link(*names)
    os._exit(9)
os.link = dying
factory(key).submit(Submission(**values | {"type": SubmissionType(values["type"])}))
"""


@pytest.fixture
def harness(tmp_path: Path) -> BankTransferHarness:
    return BankTransferHarness(tmp_path)


def a_submission(harness: BankTransferHarness, **changes: Any) -> Submission:
    values: dict[str, Any] = {
        "type": SubmissionType.DEBIT,
        "key": "TX1-1",
        "transaction_guid": "TX1",
        "invoice_guid": "IV1",
        "customer_uri": harness.company.create_customer("CU1"),
        "amount": 1000,
        "funding_instrument_uri": IBAN,
        "charge_uri": None,
        "appears_on_statement_as": None,
    }
    return Submission(**values | changes)


def orders(harness: BankTransferHarness) -> dict[str, str]:
    return {path.name: path.read_text() for path in harness.drawer.glob("debit-*.json")}


def outside(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python in which the example is installed."""
    environment = {**os.environ, "PYTHONPATH": str(installed())}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("language", "name"), [("python", "billy_bank_transfer.py"), ("toml", "pyproject.toml")])
def test_the_documentation_prints_the_example_to_the_letter(language: str, name: str) -> None:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert (EXAMPLE / name).read_text() in blocks


def test_the_example_is_no_part_of_billy_and_found_by_its_entry_point(harness: BankTransferHarness) -> None:
    module = sys.modules[type(harness.company).__module__]
    assert Path(str(module.__file__)).parent == installed()
    assert list(installed().glob("billy_bank_transfer-*.dist-info/entry_points.txt"))


def test_the_name_is_unknown_where_the_example_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no processor 'bank-transfer'"):
        Settings.load(ini(tmp_path))


@pytest.mark.parametrize(("when", "left"), [("before the link", 0), ("after the link", 1)])
def test_a_process_that_dies_leaves_a_whole_order_or_none(harness: BankTransferHarness, when: str, left: int) -> None:
    bystander = harness.company.submit(a_submission(harness, key="TX2-1", transaction_guid="TX2")).processor_uri
    submission = a_submission(harness)
    told = json.dumps([ini(harness.directory), harness.secret, when, asdict(submission)])
    done = outside("-c", DIES, told)
    assert done.returncode == 9, done.stderr
    assert harness.moved(submission) == left
    assert (harness.company.look_up(submission) is not None) == bool(left)
    assert harness.company.submit(submission).status is ReceiptStatus.PENDING
    assert harness.moved(submission) == 1
    assert harness.kept(bystander).key == "TX2-1"


def test_a_full_disk_is_told_as_nothing_ordered(
    harness: BankTransferHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = a_submission(harness)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable):
            harness.company.submit(submission)
    assert orders(harness) == {}


def test_an_error_after_the_order_is_there_is_an_unknown_outcome_that_a_look_up_ends(
    harness: BankTransferHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = a_submission(harness)
    link = os.link

    def linked_but(*names: str) -> None:
        link(*names)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", linked_but)
        with pytest.raises(OutcomeUnknown):
            harness.company.submit(submission)
    assert harness.company.look_up(submission) is not None
    assert harness.moved(submission) == 1


@pytest.mark.parametrize("status", [ReceiptStatus.SUCCEEDED, ReceiptStatus.FAILED])
def test_a_person_says_how_an_order_ended_and_no_other_moves(
    harness: BankTransferHarness, status: ReceiptStatus
) -> None:
    submission, bystander = a_submission(harness), a_submission(harness, key="TX2-1", transaction_guid="TX2")
    uri = harness.company.submit(submission).processor_uri
    harness.company.submit(bystander)
    done = outside("-m", "billy_bank_transfer", str(harness.file(uri)), status)
    assert done.returncode == 0, done.stderr
    found = [harness.company.look_up(each) for each in (submission, bystander)]
    assert [receipt and receipt.status for receipt in found] == [status, ReceiptStatus.PENDING]


def test_an_order_is_nobodys_customer(harness: BankTransferHarness) -> None:
    uri = harness.company.submit(a_submission(harness)).processor_uri
    with pytest.raises(Refused):
        harness.company.submit(a_submission(harness, key="TX2-1", customer_uri=uri))
    assert len(orders(harness)) == 1
