"""The nouns of the service: what each accepts, checks and shows."""

from __future__ import annotations

from billy.testing.balanced_simulator.resources.accounts import ApiKeys, Callbacks, Events, Marketplaces
from billy.testing.balanced_simulator.resources.bank_accounts import BankAccounts, Verifications
from billy.testing.balanced_simulator.resources.base import Resource, Unused
from billy.testing.balanced_simulator.resources.cards import Cards
from billy.testing.balanced_simulator.resources.credits import Credits
from billy.testing.balanced_simulator.resources.customers import Customers
from billy.testing.balanced_simulator.resources.debits import CardHolds, Debits, Disputes
from billy.testing.balanced_simulator.resources.refunds import Refunds, Reversals

_ALL: tuple[Resource, ...] = (
    ApiKeys(),
    BankAccounts(),
    Callbacks(),
    CardHolds(),
    Cards(),
    Credits(),
    Customers(),
    Debits(),
    Disputes(),
    Events(),
    Marketplaces(),
    Refunds(),
    Reversals(),
    Verifications(),
    *(Unused(type) for type in ("accounts", "external_accounts", "orders", "settlements")),
)

RESOURCES: dict[str, Resource] = {resource.type: resource for resource in _ALL}
"""By type."""
