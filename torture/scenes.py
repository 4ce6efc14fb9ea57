"""What is in a world at the beginning. Made once, through the real API, and copied for each case."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from webtest import TestApp

import billy
from billy import clock, schema
from billy.db import engine_at
from billy.models import Company, Customer
from billy.secrets import Vault
from tests.support.client import Client
from torture.acts import bill
from torture.world import World

Scene = Callable[..., None]

PROCESSOR_KEY = "a-processor-key"


def empty(world: World) -> None:
    """The schema, and no rows."""
    engine = engine_at(world.options["sqlalchemy.url"])
    schema.upgrade(engine)
    engine.dispose()


def shop(world: World) -> None:
    """One of everything that a run or a request may meet, several things due at once, and all can be paid."""
    api, facts = company(world, TestApp(billy.main({}, **world.options)))
    customer, plan = facts["customer"], facts["plan"]
    facts["leaver"] = api.post("/v1/customers").json["guid"]

    def invoice(customer: str, card: str | None) -> str:
        order = {"customer_guid": customer, "amount": 1000, **({} if card is None else paid_with(card))}
        return str(api.post("/v1/invoices", order).json["guid"])

    facts["settled"] = invoice(customer, "refund-lost-after-charge")
    facts["staged"] = invoice(customer, None)
    # Declined twice, so its next try succeeds.
    facts["retrying"] = invoice(customer, "declined-twice")
    invoice(facts["leaver"], "declined-twice")
    time.sleep(0.2)
    _bill(world)
    facts["pending"] = invoice(customer, "pending")
    [charge] = api.get(f"/v1/invoices/{facts['pending']}/transactions").json["items"]
    facts["pending_uri"] = charge["processor_uri"]
    invoice(customer, "lost-before-charge")
    invoice(facts["leaver"], "lost-after-charge")
    newcomer = api.post("/v1/customers").json["guid"]
    for who, card in ((customer, "lost-after-charge"), (facts["leaver"], "ok"), (newcomer, "ok")):
        api.post("/v1/subscriptions", subscription(who, plan, card))
    with world.sessions() as sessions, sessions.begin() as session:
        # As when the processor was away at the time.
        session.execute(update(Customer).where(Customer.guid == newcomer).values(processor_uri=None))
        session.execute(update(Company).values(callback_registered_at=None))
    world.tell(facts)
    time.sleep(world.settings().lease.total_seconds())


def crowd(world: World, number: int, card: str = "ok", processor_key: str = PROCESSOR_KEY) -> None:
    """A number of subscriptions with an invoice due."""
    api, facts = company(world, TestApp(billy.main({}, **world.options)), processor_key)
    facts["card"] = f"/cards/{card}"
    for _ in range(number):
        api.post("/v1/subscriptions", subscription(facts["customer"], facts["plan"], card))
    world.tell(facts)
    time.sleep(1.5)


def subscription(customer: str, plan: str, card: str, *, seconds: float = 1.5) -> dict[str, str]:
    """The order of a subscription whose first invoice is due in a moment."""
    started_at = clock.utc_now() + timedelta(seconds=seconds)
    return {
        "customer_guid": customer,
        "plan_guid": plan,
        "started_at": started_at.isoformat(),
        **paid_with(card),
    }


def paid_with(card: str) -> dict[str, str]:
    """The parameter for one of the sandbox's cards."""
    return {"funding_instrument_uri": f"/cards/{card}"}


def company(world: World, app: TestApp, processor_key: str = PROCESSOR_KEY) -> tuple[Client, dict[str, Any]]:
    """A company with a customer and a daily plan: its client, and the facts."""
    record = Client(app).post("/v1/companies", {"processor_key": processor_key}).json
    api = Client(app, record["api_key"])
    with world.sessions() as sessions, sessions() as session:
        sealed = session.get_one(Company, record["guid"]).sealed_callback_key
    callback_key = Vault(world.settings().secret_keys).open(sealed)
    return api, {
        "api_key": record["api_key"],
        "callback_path": f"/v1/companies/{record['guid']}/callbacks/{callback_key}",
        "customer": api.post("/v1/customers").json["guid"],
        "plan": api.post("/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": 1000}).json["guid"],
    }


def _bill(world: World) -> None:
    try:
        bill(world)
    except SystemExit as ended:
        assert ended.code in (0, None), f"the run of the scene exited {ended.code}"
