"""Processes that sleep past their lease, look-ups that fail for a day, wrong clocks, restored back-ups."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from billy import clock
from billy.billing_run import run
from billy.errors import Unavailable
from billy.models import Invoice
from billy.models.run import Summary
from billy.secrets import Vault
from billy.submission import Processors, Submitter
from torture.acts import bill, recover
from torture.case import DATABASES, Case
from torture.crash_points import IDEMPOTENT, RUN, Points
from torture.processes import PATIENCE, Child
from torture.scenes import crowd, shop
from torture.stage import Stage, resume
from torture.watch import Action, Doom, Point, When
from torture.world import World

SEND = Point("submit", When.BEFORE, 1)
"""The one place where a suspended process can still double, if the processor has no idempotency."""

ONE_CALL = ("--concurrency", "1")
"""Or else another thread may be suspended between its check and its send."""


def cases(points: Points) -> Iterator[Case]:
    """All of them on both databases, except what only a database with a clock of its own can show."""
    for point in points.get(("postgresql", RUN), ()):
        if point.number == 1 and point != SEND:
            yield Case(f"time/postgresql/suspended/idempotence-off/{point}", shop, partial(_suspended, point))
    for database in DATABASES:
        for idempotent, options in IDEMPOTENT.items():
            name = f"time/{database}/suspended/idempotence-{idempotent}/{SEND}"
            yield Case(name, shop, partial(_suspended, SEND), options=options)
            for when in When:
                name = f"time/{database}/slow-call/idempotence-{idempotent}/{when}"
                yield Case(name, shop, partial(_slow_call, Point("submit", when, 1)), options=options)
        options = {"billy.transaction.doubt_alert": "0.1s"}
        name = f"time/{database}/no-look-up-for-a-day"
        yield Case(name, crowd, _no_look_up_for_a_day, (1, "lost-after-charge"), options)
        yield Case(f"time/{database}/restored-back-up", crowd, _restored, (3,), IDEMPOTENT["on"])
        yield Case(f"time/{database}/restored-and-recovered", crowd, _recovered, (3,), IDEMPOTENT["off"])
    yield Case("time/postgresql/clock-ahead", crowd, _clock_ahead, (1,))


def _suspended(point: Point, stage: Stage) -> None:
    """Somebody is suspended past his lease, and wakes up while another is in the middle of the same work::

        first                    second                     third
        claims, is suspended
                                 looks up, claims, sends,
                                 is suspended
        wakes up, records
                                                            runs: nothing here is his
                                 wakes up, records
    """
    first = stage.start(bill, *ONE_CALL, doom=Doom(Action.STOP, point))
    assert first.await_doom(), f"the run never came to {point}"
    stage.await_lease()
    sent = Doom(Action.STOP, Point("submit", When.AFTER, stage.rng.randint(1, 3)))
    second = stage.start(bill, *ONE_CALL, doom=sent)
    # It may have to wait for rows that the first one has locked, so it may never come to it.
    is_sent = second.await_doom(seconds=3)
    resume(first)
    # Neither need come to its end: the second one may be suspended with a lock in its hand.
    first.idle(3)
    third = stage.start(bill)
    third.idle(3)
    for child in (second, third, first):
        _end_well(child)
    stage.tally.faults += 1 + is_sent
    stage.await_lease()
    stage.settle()
    stage.audit(may_double=point == SEND and not _is_idempotent(stage))


def _end_well(child: Child) -> None:
    give_up = time.monotonic() + PATIENCE
    while child.is_alive and time.monotonic() < give_up:
        resume(child)  # it may come to its point only now
        child.idle(0.2)
    code = child.wait(seconds=0.1)
    assert code == 0, f"it exited {code}:\n{child.output}"


def _slow_call(point: Point, stage: Stage) -> None:
    """A call takes longer than the lease (an adapter that breaks its promise); others go on meanwhile."""
    slow = stage.start(bill, doom=Doom(Action.STALL, point))
    assert slow.await_doom(), f"the run never came to {point}"
    stage.await_lease()
    stage.do(bill)
    _end_well(slow)
    stage.tally.faults += 1
    stage.await_lease()
    stage.settle()
    stage.audit(may_double=point == SEND and not _is_idempotent(stage))


def _is_idempotent(stage: Stage) -> bool:
    return stage.world.options["billy.sandbox.idempotent"] == "true"


def _no_look_up_for_a_day(stage: Stage) -> None:
    """The answer is lost, and then the processor cannot be asked: the doubt stays, and is reported."""
    stage.do(bill)
    stage.await_lease()  # the alert counts from the last moment at which it could have been sent
    stage.do(_a_day_of_runs)
    stage.tally.faults += 24
    stage.settle()
    stage.audit()


def _a_day_of_runs(world: World) -> None:
    settings = world.settings()
    with world.sandbox() as sandbox, world.sessions() as sessions:
        sandbox.fault = Unavailable("The processor cannot be reached")
        submitter = Submitter(settings, Processors(sandbox, Vault(settings.secret_keys)))
        for hour in range(24):
            summary: Summary = run(sessions, settings, submitter, clock.utc_now() + timedelta(hours=hour))
            assert (summary.retrying, summary.submitted) == (1, 1), f"hour {hour}: {summary}"
        assert (summary.in_doubt, summary.exit_code) == (1, 1), f"nobody is told: {summary}"
        [send] = sandbox.sends()
        assert send.processor_uri is not None
    # It waits for a look-up a day from now; it is to wait no longer for this torture.
    with world.sessions() as sessions, sessions.begin() as session:
        for charge in session.query(Invoice).one().transactions:
            assert charge.in_doubt
            charge.next_attempt_at = clock.utc_now()


def _restored(stage: Stage) -> None:
    """The database is lost and restored from before a run: the periods are filed again, under the same keys."""
    with stage.theater.backed_up(stage) as restore:
        stage.do(bill)
        restore()
        stage.tally.faults += 1
        stage.settle()
    verdict = stage.audit()
    assert verdict.charges == 3, f"3 periods, {verdict.charges} charges"


def _recovered(stage: Stage) -> None:
    """The same, told to `billy recover`: then the processor need not forgive that a key comes again."""
    with stage.theater.backed_up(stage) as restore:
        stage.do(bill)
        restore()
        stage.do(recover)
        stage.tally.faults += 1
        stage.settle()
    verdict = stage.audit()
    assert verdict.charges == 3, f"3 periods, {verdict.charges} charges"


def _clock_ahead(stage: Stage) -> None:
    """A host whose clock is an hour ahead would bill early: it refuses to."""
    child = stage.do(_bill_an_hour_ahead, codes=(2,))
    assert "clock" in child.output, f"nobody is told why:\n{child.output}"
    assert child.points == [], f"it did something all the same: {child.points}"
    stage.tally.faults += 1
    stage.settle()
    stage.audit()


def _bill_an_hour_ahead(world: World) -> None:
    now = clock.utc_now
    clock.utc_now = lambda: now() + timedelta(hours=1)
    bill(world)
