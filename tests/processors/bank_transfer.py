"""The example adapter of ``docs/examples``, installed as somebody else's package, and its test bed.

Billy gets at it as at any other: by the name in ``billy.processors``, through the entry point.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from billy.processors.base import Processor, ReceiptStatus, Submission, SubmissionType
from billy.secrets import new_secret_key
from billy.settings import Settings
from tests.processors.harness import Kept, Kind

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "bank_transfer"
IBAN = "/DE89370400440532013000"


@cache
def installed() -> Path:
    """A directory with what pip installs of the example, for as long as the process lives."""
    directory = tempfile.TemporaryDirectory(prefix="billy-example-")
    _kept.append(directory)
    source, target = Path(directory.name, "source"), Path(directory.name, "installed")
    source.mkdir()
    for name in ("pyproject.toml", "billy_bank_transfer.py"):  # a copy, for building leaves files behind
        shutil.copy(EXAMPLE / name, source)
    # Billy is there already, and nothing is fetched.
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


_kept: list[tempfile.TemporaryDirectory[str]] = []


def ini(directory: Path) -> dict[str, str]:
    """Settings that name the example's processor, whose drawers are in ``directory``."""
    return {
        "sqlalchemy.url": "sqlite://",
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
        "billy.processors": "bank-transfer",
        "billy.bank-transfer.directory": str(directory),
    }


def make_drawer(directory: Path, processor_key: str) -> Path:
    """What the documentation has an operator do for a company."""
    drawer = directory / hashlib.sha256(processor_key.encode()).hexdigest()[:24]
    drawer.mkdir(parents=True)
    return drawer


class BankTransferHarness:
    """The example's adapter, a directory, and a clerk who says at once what the bank did."""

    call_deadline = 0.6
    idempotent = True
    takes_back = True
    yes = ReceiptStatus.PENDING
    calls_back = False
    secret = "the key of the left drawer"
    unknown_customer = "/customer-0"

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "transfers"
        self.drawer = make_drawer(self.directory, self.secret)
        make_drawer(self.directory, "the key of the right drawer")
        # Only for this: other tests see the processors that Billy has by itself.
        sys.path.insert(0, str(installed()))
        try:
            [factory] = Settings.load(ini(self.directory)).make_further_factories()
        finally:
            sys.path.remove(str(installed()))
        self.factory = factory
        self.company: Processor = factory(self.secret)
        self.other: Processor = factory("the key of the right drawer")
        self.revoked: Processor = factory("the key of no drawer")

    def instrument(self, kind: Kind, purpose: SubmissionType = SubmissionType.DEBIT) -> str | None:
        if kind is Kind.UNKNOWN:
            return IBAN[:-1] + "1"
        # The clerk decides afterwards; no account is refused, lost or slow by itself.
        return IBAN if kind in (Kind.SUCCEEDS, Kind.PENDING, Kind.REFUND_PENDING) else None

    def their_instrument(self) -> str:
        return IBAN

    def moved(self, submission: Submission) -> int:
        orders = [json.loads(path.read_text()) for path in self.directory.glob("*/*.json")]
        return sum(order.get("key") == submission.key and order["status"] != "failed" for order in orders)

    def kept(self, processor_uri: str) -> Kept:
        order: dict[str, Any] = json.loads(self.file(processor_uri).read_text())
        return Kept(**{name: order[name] for name in Kept.__dataclass_fields__})

    def file(self, processor_uri: str) -> Path:
        """Where an order is."""
        return self.drawer / f"{processor_uri[1:]}.json"

    def event(self, processor_uri: str, status: ReceiptStatus) -> tuple[bytes, Mapping[str, str]]:
        sys.modules["billy_bank_transfer"].settle(self.file(processor_uri), status)
        return b"", {}

    def event_id(self, body: bytes) -> str:
        raise NotImplementedError("there are no callbacks")

    def event_about_something_else(self) -> tuple[bytes, Mapping[str, str]]:
        return b"", {}

    def callback_urls(self) -> list[str]:
        return []

    @contextmanager
    def down(self) -> Iterator[None]:
        away = self.directory.rename(self.directory.with_name("not mounted"))
        yield
        away.rename(self.directory)

    def hanging(self) -> AbstractContextManager[None] | None:
        return None  # a local disk

    def without_idempotency(self) -> BankTransferHarness | None:
        return None  # a key has one file name

    def close(self) -> None:
        """Its files are the test's."""
