"""Invoices on paper: made by the models' own functions, and never near a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from billy.models import Invoice, Transaction, TransactionStatus
from billy.models.invoice import new_invoice

NOW = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    """The instant at which everything on paper is made."""
    return NOW


@pytest.fixture
def paper_invoice() -> Callable[..., Invoice]:
    """Makes an invoice over 1000 cents, with an instrument and no charge yet."""

    def make(**values: Any) -> Invoice:
        defaults = {
            "company_guid": "CP1",
            "customer_guid": "CU1",
            "amount": 1000,
            "funding_instrument_uri": "/cards/1",
        }
        return Invoice(**new_invoice(NOW, **{**defaults, **values}))

    return make


@pytest.fixture
def charged(paper_invoice: Callable[..., Invoice]) -> tuple[Invoice, Transaction]:
    """An invoice and its one charge, which nobody has claimed."""
    invoice = paper_invoice()
    return invoice, invoice.charge(NOW)


@pytest.fixture
def paid(charged: tuple[Invoice, Transaction]) -> tuple[Invoice, Transaction]:
    """A settled invoice and the charge that paid it."""
    invoice, charge = charged
    charge.accept("/debits/1", TransactionStatus.SUCCEEDED, NOW)
    invoice.follow_charges(NOW)
    return invoice, charge


@pytest.fixture
def paid_twice(charged: tuple[Invoice, Transaction]) -> tuple[Invoice, Transaction, Transaction]:
    """An invoice whose first charge was taken for failed, was replaced, and then succeeded after all."""
    invoice, first = charged
    first.accept("/debits/1", TransactionStatus.FAILED, NOW)
    invoice.follow_charges(NOW)
    second = invoice.change_instrument("/cards/2", NOW)
    assert second is not None
    second.accept("/debits/2", TransactionStatus.SUCCEEDED, NOW)
    first.accept("/debits/1", TransactionStatus.SUCCEEDED, NOW)
    invoice.follow_charges(NOW)
    return invoice, first, second
