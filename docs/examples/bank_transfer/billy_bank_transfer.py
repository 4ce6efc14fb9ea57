"""Bank transfers that a person makes: each submission is a file, pending until the person says how it ended.

``python -m billy_bank_transfer FILE succeeded`` (or ``failed``) says so; Billy's runs ask about what is pending.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from billy import errors
from billy.processors.base import Callback, Receipt, ReceiptStatus, Record, Submission, SubmissionType

MONEY = ("key", "type", "amount", "customer_uri", "funding_instrument_uri", "charge_uri")
NOTES = ("transaction_guid", "appears_on_statement_as", "description")


class BankTransferOptions(BaseModel):
    """The options ``billy.bank-transfer.…``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    directory: Path


class BankTransfer:
    """The factory, which the entry point names."""

    name: ClassVar[str] = "bank-transfer"
    options: ClassVar[type[BaseModel]] = BankTransferOptions

    def __init__(self, options: BankTransferOptions, *, call_deadline: float) -> None:
        self._directory = options.directory  # a local disk: no call takes long, so none watches the deadline

    def __call__(self, processor_key: str) -> Drawer:
        """The adapter for one company: its key is valid if there is a directory named by the key's hash."""
        return Drawer(self._directory / digest(processor_key))


class Drawer:
    """The adapter. A URI is a slash and the name of a file in the drawer, or a slash and an IBAN."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        """A guid has one name; the second file of that name is not written."""
        uri = f"/customer-{digest(self._path.name, customer_guid)}"
        self._write(uri, {"customer_guid": customer_guid})
        return uri

    def validate_customer(self, uri: str) -> None:
        """A customer has a file."""
        check_format(uri)
        if not self._is_customer(uri):
            raise errors.InvalidCustomer(f"There is no customer {uri}")

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        """An account has the right check digits."""
        check_format(uri)
        if not self._is_customer(customer_uri) or not is_iban(uri):
            raise errors.InvalidFundingInstrument(f"There is no account {uri} of a customer {customer_uri}")

    def submit(self, submission: Submission) -> Receipt:
        """Write the order, unless there is one of its key; who finds the next number taken looks again."""
        while True:
            stem, orders = self._orders(submission)
            if mine := of_key(submission.key, orders):
                if any(mine[0][name] != getattr(submission, name) for name in MONEY):
                    raise ValueError(f"The key {submission.key} was used for other values before")
                return receipt(mine[0])
            if not self._is_possible(submission, orders):
                raise errors.Refused("There is no such account, customer or charge", code="not-possible", hard=True)
            uri = f"{stem}.{len(orders)}"
            values = {name: getattr(submission, name) for name in MONEY + NOTES}
            self._write(uri, {"uri": uri, "status": ReceiptStatus.PENDING, **values})

    def look_up(self, submission: Submission) -> Receipt | None:
        """What the order of the key says now."""
        mine = of_key(submission.key, self._orders(submission)[1])
        return receipt(mine[0]) if mine else None

    def find_records(self, submission: Submission, processor_uri: str | None) -> list[Record]:
        """The order of the key, and the one at the URI."""
        found = of_key(submission.key, self._orders(submission)[1])
        if processor_uri and (named := self._read(processor_uri)) and named not in found:
            found.append(named)
        return [Record(receipt(order), order["amount"]) for order in found]

    def register_callback(self, url: str) -> None:
        """A person calls nobody back."""
        self._require()

    def read_callback(self, body: bytes, headers: Mapping[str, str], *, secret: str | None = None) -> Callback | None:
        """So whoever does call is somebody else."""
        raise errors.InvalidCallbackPayload("Bank transfers have no callbacks")

    def _orders(self, submission: Submission) -> tuple[str, list[dict[str, Any]]]:
        # All refunds of a charge are numbered in one row, so that two at once cannot both have what is left of it.
        stem = f"/{submission.type}-{digest(self._path.name, submission.charge_uri or submission.key)}"
        orders: list[dict[str, Any]] = []
        while order := self._read(f"{stem}.{len(orders)}"):
            orders.append(order)
        return stem, orders

    def _is_possible(self, submission: Submission, earlier: list[dict[str, Any]]) -> bool:
        if submission.charge_uri is None:
            return is_iban(submission.funding_instrument_uri or "") and self._is_customer(submission.customer_uri or "")
        charge = self._read(submission.charge_uri)
        if (charge.get("type"), charge.get("status")) != (SubmissionType.DEBIT, ReceiptStatus.SUCCEEDED):
            return False
        refunded = sum(order["amount"] for order in earlier if order["status"] != ReceiptStatus.FAILED)
        return bool(refunded + submission.amount <= charge["amount"])

    def _is_customer(self, uri: str) -> bool:
        return uri.startswith("/customer-") and bool(self._read(uri))

    def _require(self) -> None:
        if not self._path.parent.is_dir():
            raise errors.Unavailable("The directory of bank transfers is away")
        if not self._path.is_dir():
            raise errors.Misconfigured("There is no drawer for the company's key")

    def _read(self, uri: str) -> dict[str, Any]:
        check_format(uri)
        try:
            return dict(json.loads((self._path / f"{uri[1:]}.json").read_bytes()))
        except FileNotFoundError:
            self._require()  # only where there is a drawer, a missing file means something
            return {}

    def _write(self, uri: str, content: dict[str, Any]) -> None:
        # A link is there or not, and is one to a whole file: a crash leaves no half, and of two writers one wins.
        self._require()
        linking = False
        try:
            with NamedTemporaryFile("w", dir=self._path) as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
                linking = True
                with suppress(FileExistsError):
                    os.link(file.name, self._path / f"{uri[1:]}.json")
            sync(self._path)
        except OSError as error:
            # Before the link nobody can have seen the order; from then on somebody may have carried it out.
            raise (errors.OutcomeUnknown if linking else errors.Unavailable)(f"Cannot write: {error}") from error


def of_key(key: str, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of one submission: one at most."""
    return [order for order in orders if order["key"] == key]


def receipt(order: dict[str, Any]) -> Receipt:
    """Where an order stands."""
    if order["status"] == ReceiptStatus.FAILED:
        return Receipt(order["uri"], ReceiptStatus.FAILED, "The bank did not make the transfer", "not-made")
    return Receipt(order["uri"], ReceiptStatus(order["status"]))


def check_format(uri: str) -> None:
    """Keep what is no name out of the file system."""
    if re.fullmatch("/[A-Za-z0-9.-]+", uri) is None:
        raise errors.InvalidURIFormat(f"{uri!r} is not a slash and a name")


def is_iban(uri: str) -> bool:
    """Whether the check digits are right."""
    iban = uri[1:]
    return iban.isalnum() and iban.isascii() and int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def digest(*parts: str) -> str:
    """A name that tells nothing and fits into a file system."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def sync(directory: Path) -> None:
    """Have names that were made there outlive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(path: Path, status: ReceiptStatus) -> None:
    """Say how an order ended, or that a bank took it back."""
    with NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump({**json.loads(path.read_bytes()), "status": status}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    sync(path.parent)


if __name__ == "__main__":
    settle(Path(sys.argv[1]), ReceiptStatus(sys.argv[2]))
