"""A processor behind real sockets, and everything that can happen between it and Billy."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial

from billy.processors.base import ReceiptStatus
from torture.acts import bill, client, insist
from torture.case import DATABASES, Case
from torture.processes import PATIENCE
from torture.processor import READING, Deck, Fault, Service
from torture.scenes import crowd
from torture.shoppers import enough, order
from torture.stage import Stage
from torture.world import World

DECKS = 2
"""How often each fault is met."""

OPTIONS = {
    "billy.processor_factory": "torture.processor.Http",
    "billy.http.url": "file:{path}/url",
    # Longer than the processor takes to make a charge that nobody waits for any more.
    "billy.transaction.settle_time": "1s",
}


def cases() -> Iterator[Case]:
    """Without idempotency nothing but a delivery in duplicate may double; with it, not even that."""
    for database in DATABASES:
        single = [fault for fault in Fault if fault is not Fault.TWICE]
        yield _case(database, "idempotence-off", partial(_unreliable, single, False))
        yield _case(database, "idempotence-on", partial(_unreliable, list(Fault), True))
        yield _case(database, "delivered-twice", _delivered_twice)


def _case(database: str, name: str, play: object) -> Case:
    return Case(f"network/{database}/{name}", crowd, play, (24,), OPTIONS)  # type: ignore[arg-type]  # a play


def _unreliable(faults: Sequence[Fault], idempotent: bool, stage: Stage) -> None:
    submitting: Deck = [*list(faults) * DECKS, *[None] * len(faults)]
    asking: Deck = [*READING * DECKS, *[None] * 3 * len(READING)]
    stage.rng.shuffle(submitting)
    stage.rng.shuffle(asking)
    with stage.world.sandbox(idempotent=idempotent) as sandbox:
        with Service.open(sandbox, submitting, asking) as service:
            (stage.world.path / "url").write_text(service.url)
            daemons = [stage.start(bill, "--every", "0.2", "--concurrency", "4") for _ in range(2)]
            shopper = stage.start(order, PATIENCE, stage.rng.random())
            while service.faults_left and shopper.is_alive:
                time.sleep(0.1)
            enough(stage.world)
            code = shopper.wait()
            assert code == 0, f"the API did not answer as it should:\n{shopper.output}"
            for daemon in daemons:
                daemon.signal(signal.SIGTERM)
                code = daemon.wait()
                assert code == 0, f"a run exited {code}:\n{daemon.output}"
            stage.await_lease()
            stage.settle()
            stage.tally.faults += service.injected
            assert not service.faults_left, f"{service.faults_left} faults were never met"
        stage.audit()


def _delivered_twice(stage: Stage) -> None:
    """The network delivers requests twice, and a processor without idempotency charges twice.

    Nobody can prevent that. But the processor tells of each of its records, and the books have to show it.
    """
    deck: Deck = [Fault.TWICE] * 5
    with stage.world.sandbox() as sandbox:
        with Service.open(sandbox, deck, []) as service:
            (stage.world.path / "url").write_text(service.url)
            stage.do(bill)
            bodies = [sandbox.settle(record.uri, ReceiptStatus.SUCCEEDED).decode() for record in sandbox.records()]
            stage.rng.shuffle(bodies)
            stage.do(call_back, bodies * 2)
            stage.settle()
            stage.tally.faults += service.injected
    verdict = stage.audit(may_double=True)
    assert len(verdict.doubled) == 5, f"5 were delivered twice, and {len(verdict.doubled)} are doubled"


def call_back(world: World, bodies: list[str]) -> None:
    """Deliver callbacks."""
    api, path = client(world), world.facts["callback_path"]
    # A processor that was not heard tells again.
    answers = [insist(partial(api.app.post, path, body, status="*"), (200,)).json["code"] for body in bodies]
    assert set(answers) == {"ignore", "ok"}, answers
