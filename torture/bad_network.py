"""Balanced behind real sockets, and everything that can happen between it and Billy.

It is played by its simulator, which has no idempotency, as the service had none.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import urllib3

from billy.testing.balanced_simulator import BalancedSimulator, Chaos, Fault
from torture.acts import bill, client, insist
from torture.case import DATABASES, Case
from torture.processes import PATIENCE
from torture.scenes import crowd, empty
from torture.shoppers import enough, order
from torture.stage import Stage
from torture.world import World

CROWD = 24
DECKS = 2
"""How often each fault is met by what moves money."""

TWICE = 5
"""Deliveries in duplicate, where those are what is tried."""

TOO_LONG = 0.8
"""Seconds that an answer is late, or a charge: more than a call's deadline, less than until a look-up is conclusive."""

WHILE = 0.7
"""Seconds that the service is away at a time: longer than a call."""

READING = (
    Fault.DROP_BEFORE,
    Fault.ERROR_BEFORE,
    Fault.SLOW_DOWN,
    Fault.DELAY_AFTER,
    Fault.DROP_AFTER,
    Fault.HALF,
    Fault.TRICKLE,
)
"""What can happen to a request that changes nothing."""

OPTIONS = {
    "billy.processor_factory": "billy.processors.balanced.Balanced",
    "billy.balanced.base_url": "file:{path}/url",
    "billy.transaction.settle_time": "1s",
}


def cases() -> Iterator[Case]:
    """Nothing but a delivery in duplicate may double."""
    for database in DATABASES:
        yield Case(f"network/{database}/unreliable", empty, _unreliable, options=OPTIONS)
        yield Case(f"network/{database}/delivered-twice", empty, _delivered_twice, options=OPTIONS)


def _unreliable(stage: Stage) -> None:
    charging = [fault for fault in Fault if fault is not Fault.TWICE]
    submitting = [*charging * DECKS, *[None] * len(charging)]
    asking = [*READING * DECKS, *[None] * 3 * len(READING)]
    stage.rng.shuffle(submitting)
    stage.rng.shuffle(asking)
    with _balanced(stage) as (simulator, _):
        network = _Network(Chaos(deck=submitting, delay=TOO_LONG), Chaos(deck=asking, methods={"GET"}, delay=TOO_LONG))
        simulator.chaos = network  # type: ignore[assignment]  # it has all that is used
        daemons = [stage.start(bill, "--every", "0.2", "--concurrency", "4") for _ in range(2)]
        shopper = stage.start(order, PATIENCE, stage.rng.random())
        outages = _Outages(simulator, stage.rng)
        while (network.submitting.deck or outages.left) and shopper.is_alive:
            time.sleep(0.2)
            outages.next()
        enough(stage.world)
        code = shopper.wait()
        assert code == 0, f"the API did not answer as it should:\n{shopper.output}"
        for daemon in daemons:
            daemon.signal(signal.SIGTERM)
            code = daemon.wait()
            assert code == 0, f"a run exited {code}:\n{daemon.output}"
        network.asking.deck.clear()  # from here on all is well: what is open has to come to its end, and soon
        stage.await_lease()
        stage.settle()
        stage.tally.faults += network.injected + outages.number
        assert not network.submitting.deck, f"{len(network.submitting.deck)} faults were never met"
        stage.audit(_ledger(simulator))


def _delivered_twice(stage: Stage) -> None:
    """The network delivers requests twice, and a processor without idempotency charges twice.

    Nobody can prevent that. But the processor tells of each of its records, and the books have to show it.
    """
    with _balanced(stage) as (simulator, key):
        simulator.chaos = Chaos(deck=[Fault.TWICE] * TWICE)
        stage.do(bill)
        events = [event for event in simulator.events(key) if event["type"] == "debit.succeeded"]
        bodies = [simulator.callback_body(event["id"]).decode() for event in events]
        stage.rng.shuffle(bodies)
        stage.do(call_back, bodies * 2)
        stage.settle()
        stage.tally.faults += TWICE
        verdict = stage.audit(_ledger(simulator), may_double=True)
    assert len(verdict.doubled) == TWICE, f"{TWICE} were delivered twice, and {len(verdict.doubled)} are doubled"


def call_back(world: World, bodies: list[str]) -> None:
    """Deliver callbacks."""
    api, path = client(world), world.facts["callback_path"]
    # A processor that was not heard tells again.
    answers = [insist(partial(api.app.post, path, body, status="*"), (200,)).json["code"] for body in bodies]
    assert set(answers) == {"ignore", "ok"}, answers


@contextmanager
def _balanced(stage: Stage) -> Iterator[tuple[BalancedSimulator, str]]:
    """The simulator, with a company that has a crowd of customers who pay with its card; and the company's key."""
    with BalancedSimulator.started() as simulator:
        (stage.world.path / "url").write_text(simulator.url)
        key = simulator.new_key()
        card = {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2039}
        headers = urllib3.make_headers(basic_auth=f"{key}:")
        made = urllib3.request("POST", f"{simulator.url}/cards", json=card, headers=headers).json()
        stage.do(crowd, CROWD, made["cards"][0]["id"], key)
        yield simulator, key


class _Network:
    """One deck of faults for what moves money, and one for what only asks."""

    delay = TOO_LONG

    def __init__(self, submitting: Chaos, asking: Chaos) -> None:
        self.submitting, self.asking = submitting, asking
        self.one_of = submitting.one_of

    def draw(self, method: str, path: str) -> Fault | None:
        """What happens to this request."""
        return (self.asking if method == "GET" else self.submitting).draw(method, path)

    @property
    def injected(self) -> int:
        """How many faults were met."""
        return sum(sum(each.shown()["injected"].values()) for each in (self.submitting, self.asking))


class _Outages:
    """The service is away for a while, in each of the ways there are, while everything else goes on."""

    def __init__(self, simulator: BalancedSimulator, rng: random.Random) -> None:
        self._ways: list[Callable[[], None]] = [
            partial(_hold, simulator.down),
            partial(_hold, simulator.hanging),
            partial(_clog, simulator),
        ]
        rng.shuffle(self._ways)
        self.number = len(self._ways)

    @property
    def left(self) -> int:
        """How many are still to come."""
        return len(self._ways)

    def next(self) -> None:
        """Be away now; returns when it is back."""
        if self._ways:
            self._ways.pop()()


def _hold(outage: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    with outage():
        time.sleep(WHILE)


def _clog(simulator: BalancedSimulator) -> None:
    """Nobody accepts, and the queue is full: whoever knocks now hears nothing."""
    address = ("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    with simulator.down(), contextlib.ExitStack() as queue:
        deaf = queue.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(address)
        deaf.listen(0)
        for _ in range(2):
            knocking = queue.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(address)
        time.sleep(WHILE)


@dataclass(frozen=True)
class _Moved:
    """A record of the simulator's ledger, as the audit reads it."""

    uri: str
    transaction_guid: str
    type: str
    status: str
    amount: int


def _ledger(simulator: BalancedSimulator) -> list[_Moved]:
    return [
        _Moved(each.href, each.meta["billy.transaction_guid"], each.type.removesuffix("s"), each.status, each.amount)
        for each in simulator.ledger()
    ]
