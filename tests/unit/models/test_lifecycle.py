"""The tables cell by cell, against a second copy of the design's that was written by hand."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from billy.errors import InvalidOperationError
from billy.models.lifecycle import (
    INVOICE,
    REFUSE,
    SUBMISSION,
    TRANSACTION,
    InvoiceEvent,
    InvoiceStatus,
    Lifecycle,
    ProcessorEvent,
    SubmitEvent,
    SubmitStatus,
    TransactionStatus,
)

DESIGN = {
    "invoice.status": """
        |                   | staged     | processing | settled | failed     | canceled |
        | charge            | processing | processing | refuse  | processing | refuse   |
        | cancel            | canceled   | canceled   | refuse  | canceled   | refuse   |
        | refund            | refuse     | refuse     | settled | refuse     | refuse   |
        | paid              | settled    | settled    | settled | settled    | settled  |
        | unpaid            | failed     | failed     | failed  | failed     | canceled |
    """,
    "transaction.submit_status": """
        |                   | staged   | retrying | done   | failed | canceled |
        | cancel            | canceled | canceled | refuse | refuse | refuse   |
        | retry             | staged   | retrying | refuse | refuse | refuse   |
        | accepted          | done     | done     | done   | done   | done     |
        | declined          | retrying | retrying | done   | failed | canceled |
        | declined for good | failed   | failed   | done   | failed | canceled |
        | unanswered        | retrying | retrying | done   | failed | canceled |
    """,
    "transaction.status": """
        |                   | none      | pending   | succeeded | failed    |
        | pending           | pending   | pending   | succeeded | failed    |
        | succeeded         | succeeded | succeeded | succeeded | succeeded |
        | failed            | failed    | failed    | failed    | failed    |
    """,
}
LIFECYCLES: dict[str, tuple[Lifecycle[Any, Any], type[StrEnum], type[StrEnum]]] = {
    "invoice.status": (INVOICE, InvoiceEvent, InvoiceStatus),
    "transaction.submit_status": (SUBMISSION, SubmitEvent, SubmitStatus),
    "transaction.status": (TRANSACTION, ProcessorEvent, TransactionStatus),
}


def cells() -> list[Any]:
    found = []
    for name, text in DESIGN.items():
        lifecycle, events, statuses = LIFECYCLES[name]
        head, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.split("\n")[1:-1])
        for event, *row in rows:
            for state, outcome in zip(head[1:], row, strict=True):
                found.append(
                    pytest.param(
                        lifecycle,
                        events(event),
                        None if state == "none" else statuses(state),
                        None if outcome == "refuse" else statuses(outcome),
                        id=f"{name}: {event} of {state}",
                    )
                )
    return found


@pytest.mark.parametrize(("lifecycle", "event", "state", "outcome"), cells())
def test_each_cell_is_the_designs(lifecycle: Any, event: Any, state: Any, outcome: Any) -> None:
    if outcome is None:
        with pytest.raises(InvalidOperationError):
            lifecycle.after(event, state)
    else:
        assert lifecycle.after(event, state) is outcome


@pytest.mark.parametrize(("lifecycle", "event", "state", "outcome"), cells())
def test_allows_says_whether_after_would_refuse(lifecycle: Any, event: Any, state: Any, outcome: Any) -> None:
    assert lifecycle.allows(event, state) is (outcome is not None)


@pytest.mark.parametrize("name", LIFECYCLES)
def test_every_event_has_an_answer_in_every_state(name: str) -> None:
    lifecycle, events, statuses = LIFECYCLES[name]

    assert {*lifecycle.commands, *lifecycle.facts} == set(events)
    assert {state for state in lifecycle.states if state is not None} == set(statuses)
    assert len(cells()) == sum(len(each.states) * len(events) for each, events, _ in LIFECYCLES.values())


@pytest.mark.parametrize("name", LIFECYCLES)
def test_facts_are_never_refused(name: str) -> None:
    lifecycle, _, _ = LIFECYCLES[name]

    assert all(lifecycle.allows(fact, state) for fact in lifecycle.facts for state in lifecycle.states)


def test_what_the_processor_says_is_a_fact_and_what_a_caller_asks_is_a_command() -> None:
    assert set(INVOICE.facts) == {InvoiceEvent.PAID, InvoiceEvent.UNPAID}
    assert set(SUBMISSION.commands) == {SubmitEvent.CANCEL, SubmitEvent.RETRY}
    assert not TRANSACTION.commands


def test_records_begin_staged_and_without_a_word_of_the_processor() -> None:
    assert (INVOICE.initial, SUBMISSION.initial, TRANSACTION.initial) == (
        InvoiceStatus.STAGED,
        SubmitStatus.STAGED,
        None,
    )


@pytest.mark.parametrize(
    ("event", "state", "sentence"),
    [
        (
            InvoiceEvent.CHARGE,
            InvoiceStatus.SETTLED,
            (
                "Invalid operation, you can only update funding_instrument_uri when the invoice status is one of "
                "STAGED, PROCESSING and FAILED"
            ),
        ),
        (
            InvoiceEvent.CANCEL,
            InvoiceStatus.CANCELED,
            "An invoice can only be canceled when its status is one of STAGED, PROCESSING and FAILED",
        ),
        (InvoiceEvent.REFUND, InvoiceStatus.STAGED, "You can only refund a settled invoice"),
    ],
)
def test_a_refusal_is_the_sentence_that_clients_know_from_2014(
    event: InvoiceEvent, state: InvoiceStatus, sentence: str
) -> None:
    with pytest.raises(InvalidOperationError) as refusal:
        INVOICE.after(event, state)

    assert str(refusal.value) == sentence


class Light(StrEnum):
    RED = "red"
    GREEN = "green"


class Hand(StrEnum):
    PUSH = "push"
    BREAK = "break"


def traffic_light(table: dict[Hand, Any]) -> Lifecycle[Light, Hand]:
    return Lifecycle(
        "light",
        states=tuple(Light),
        initial=Light.RED,
        commands={Hand.PUSH: "Wait"},
        facts=(Hand.BREAK,),
        table=table,
    )


def test_a_full_table_is_accepted() -> None:
    light = traffic_light({Hand.PUSH: (Light.GREEN, REFUSE), Hand.BREAK: (Light.RED, Light.RED)})

    assert light.after(Hand.PUSH, Light.RED) is Light.GREEN


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({Hand.PUSH: (Light.GREEN, REFUSE)}, id="a row is missing"),
        pytest.param({Hand.PUSH: (Light.GREEN,), Hand.BREAK: (Light.RED, Light.RED)}, id="a cell is missing"),
        pytest.param({Hand.PUSH: (Light.GREEN, None), Hand.BREAK: (Light.RED, Light.RED)}, id="a cell is empty"),
        pytest.param({Hand.PUSH: (Light.GREEN, "blue"), Hand.BREAK: (Light.RED, Light.RED)}, id="a cell is no state"),
        pytest.param({Hand.PUSH: (Light.GREEN, REFUSE), Hand.BREAK: (Light.RED, REFUSE)}, id="a fact is refused"),
        pytest.param(
            {Hand.PUSH: (Light.GREEN, REFUSE), Hand.BREAK: (Light.RED, Light.RED), "kick": (Light.RED, Light.RED)},
            id="a row is neither command nor fact",
        ),
    ],
)
def test_a_table_with_a_hole_fails_when_it_is_written_down(table: dict[Hand, Any]) -> None:
    with pytest.raises(TypeError, match="light"):
        traffic_light(table)


def test_the_printed_table_has_every_cell_and_the_diagram_every_change() -> None:
    light = traffic_light({Hand.PUSH: (Light.GREEN, REFUSE), Hand.BREAK: (Light.RED, Light.RED)})

    assert light.markdown() == "\n".join(
        [
            "| light | RED | GREEN |",
            "|---|---|---|",
            "| push (command) | GREEN | refuse |",
            "| break (fact) | RED | RED |",
            "",
            "```text",
            "     RED         GREEN",
            "    (new)          |",
            "      |--- push -->|",
            "      |<-- break --|",
            "```",
        ]
    )
