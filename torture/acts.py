"""What is done in a process of a world: a run of the scheduler, or one request to the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from webtest import TestApp

import billy
from billy import clock, recovery
from billy.billing_run import run
from billy.scripts import common
from billy.scripts import main as billy_command
from billy.secrets import Vault
from billy.submission import Processors, Submitter
from tests.support.client import Client
from torture.audit import undone
from torture.world import World

PATIENCE = 5.0
"""Seconds within which everything has to be done once the leases are over, if processor and database are well."""


RECOVERY = 20.0
"""Seconds within which the API has to answer properly again."""


def bill(world: World, *options: str) -> None:
    """``billy process-transactions``; exits as it does."""
    # To find out who can read an ini takes longer than a run, and is not what is tried here.
    common.read_ini = lambda ini, section=None: dict(world.options)
    billy_command(["process-transactions", str(world.ini_file), *options], standalone_mode=True)


def recover(world: World) -> None:
    """``billy recover --since`` an hour ago."""
    with world.sessions() as sessions, sessions.begin() as session:
        now = clock.utc_now()
        recovery.recover(session, world.settings(), now - timedelta(hours=1), now, actor="torture")


def settle(world: World) -> None:
    """Runs until nothing is open any more, or it has to be said that something stays so."""
    settings = world.settings()
    submitter = Submitter(settings, Processors(settings.make_processor_factory(), Vault(settings.secret_keys)))
    give_up = time.monotonic() + (settings.lease + settings.settle_time).total_seconds() + PATIENCE
    with world.sessions() as sessions:
        while time.monotonic() < give_up:
            run(sessions, settings, submitter, clock.utc_now(), concurrency=2)
            with sessions() as session:
                if not any(undone(session)):
                    return
            time.sleep(0.25)


def client(world: World, api_key: str | None = None) -> Client:
    """The API in this process."""
    app = TestApp(billy.main({}, **world.options))
    return Client(app, api_key or world.facts["api_key"])


@dataclass(frozen=True, slots=True)
class Request:
    """A request that moves money or stops it, and how it may be answered when it is sent again."""

    send: Callable[[Client, Mapping[str, Any], World], Any]
    again: frozenset[int]


def request(world: World, name: str, *statuses: int) -> None:
    """Send one of ``REQUESTS``; it must be answered with one of the statuses, by default 200."""
    answer = REQUESTS[name].send(client(world), world.facts, world)
    check(answer, statuses or (200,))


def again(world: World, *names: str) -> None:
    """Send requests again, as a program does that got no answer, and again after a 503."""
    api, facts = client(world), world.facts
    for name in names:
        insist(partial(REQUESTS[name].send, api, facts, world), REQUESTS[name].again)


def insist(send: Callable[[], Any], statuses: Collection[int]) -> Any:
    """Send until the answer is another than 503, and has one of the statuses; returns it."""
    give_up = time.monotonic() + RECOVERY
    while check(answer := send(), {*statuses, 503}) == 503:
        assert time.monotonic() < give_up, "the API does not recover"
        time.sleep(0.1)
    return answer


def check(answer: Any, statuses: Collection[int]) -> int:
    """The status of an answer, which has to be one of these; who is told to come back is told when."""
    status: int = answer.status_int
    assert status in statuses, f"{answer.status}: {answer.text}"
    assert status != 503 or "Retry-After" in answer.headers, "503 without Retry-After"
    return status


def _settle_pending(client: Client, facts: Mapping[str, Any], world: World) -> Any:
    with world.sandbox() as sandbox:
        body = sandbox.settle(facts["pending_uri"], "succeeded")  # type: ignore[arg-type]  # a StrEnum's value
    return client.app.post(facts["callback_path"], body, status="*")


_ANY: dict[str, Any] = {"status": "*"}
_CARD = {"funding_instrument_uri": "/cards/ok"}

REQUESTS = {
    "create-invoice": Request(
        lambda client, facts, world: client.post(
            "/v1/invoices",
            {"customer_guid": facts["customer"], "amount": 1000, "external_id": "order-1", **_CARD},
            **_ANY,
        ),
        frozenset({200, 409}),
    ),
    "create-subscription": Request(
        lambda client, facts, world: client.post(
            "/v1/subscriptions",
            {"customer_guid": facts["customer"], "plan_guid": facts["plan"], "external_id": "order-1", **_CARD},
            **_ANY,
        ),
        frozenset({200, 409}),
    ),
    "create-customer": Request(
        lambda client, facts, world: client.post("/v1/customers", {"external_id": "customer-1"}, **_ANY),
        frozenset({200, 409}),
    ),
    "pay": Request(
        lambda client, facts, world: client.put(f"/v1/invoices/{facts['staged']}", _CARD, **_ANY),
        frozenset({200, 400, 409}),
    ),
    "change-instrument": Request(
        lambda client, facts, world: client.put(f"/v1/invoices/{facts['retrying']}", _CARD, **_ANY),
        frozenset({200, 400, 409}),
    ),
    # All of it: what is given back twice would be more than there was.
    "refund": Request(
        lambda client, facts, world: client.post(f"/v1/invoices/{facts['settled']}/refund", {"amount": 1000}, **_ANY),
        frozenset({200, 400}),
    ),
    "delete-customer": Request(
        lambda client, facts, world: client.delete(f"/v1/customers/{facts['leaver']}", **_ANY),
        frozenset({200, 400}),
    ),
    "callback": Request(_settle_pending, frozenset({200})),
}
