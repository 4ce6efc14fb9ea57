"""Events: what happened, with a snapshot of the object shortly after."""

from __future__ import annotations

from billy.testing.balanced_simulator.courier import Courier
from billy.testing.balanced_simulator.envelope import envelope
from billy.testing.balanced_simulator.resources.base import Call
from billy.testing.balanced_simulator.store import Event, timestamp


def publish(call: Call, courier: Courier) -> list[Event]:
    """Make the events that a request gave rise to, and have them delivered.

    All show their object as it is when all is done: a card's ``debit.created`` already says ``succeeded``.
    """
    events = []
    for type, record in call.announced:
        event = call.store.make_event(
            {
                "entity": envelope(record.type, [record]),
                "occurred_at": record.fields.get("updated_at", timestamp(call.now)),
                "type": type,
            },
            subject=record.id,
        )
        call.company.keep(event)
        for callback in call.company.newest("callbacks"):
            courier.tell(call.company, event, callback)
        events.append(event)
    call.announced.clear()
    return events
