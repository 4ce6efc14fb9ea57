"""The life cycles, as total tables.

A row is an event, a column the state it finds, a cell the state it leaves. Every cell is filled; a
hole fails at import. *Commands* come from a caller and may be refused. *Facts* come from the
processor and may not: the money has moved, whatever we think of it.

Nothing else assigns a status, and it does so in one form::

    self.status = INVOICE.after(InvoiceEvent.CANCEL, self.status)

``docs/lifecycle.md`` is printed from these tables (``python -m billy.models.lifecycle``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Generic, TypeVar

from billy.errors import InvalidOperationError


class InvoiceStatus(StrEnum):
    """Where an invoice stands."""

    STAGED = "staged"
    """Owed, and no instrument to charge yet."""
    PROCESSING = "processing"
    """A charge is open, or pending at the processor."""
    SETTLED = "settled"
    """Paid (or nothing was due)."""
    FAILED = "failed"
    """Every charge failed; a new instrument starts over."""
    CANCELED = "canceled"
    """Nobody has to pay it."""


class SubmitStatus(StrEnum):
    """How far Billy got with submitting a transaction."""

    STAGED = "staged"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class TransactionStatus(StrEnum):
    """What the processor says of a transaction that it has a record of; null before that."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class InvoiceEvent(StrEnum):
    """What may happen to an invoice."""

    CHARGE = "charge"
    CANCEL = "cancel"
    REFUND = "refund"
    PAID = "paid"
    UNPAID = "unpaid"


class SubmitEvent(StrEnum):
    """What may happen to a submission."""

    CANCEL = "cancel"
    RETRY = "retry"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    DECLINED_FOR_GOOD = "declined for good"
    UNANSWERED = "unanswered"


class ProcessorEvent(StrEnum):
    """What the processor may say of its record."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class _Refuse(Enum):
    REFUSE = "refuse"


REFUSE = _Refuse.REFUSE

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class Lifecycle(Generic[S, E]):
    """One total table: from each state, what each event leaves."""

    def __init__(
        self,
        name: str,
        *,
        states: Sequence[S | None],
        initial: S | None,
        commands: Mapping[E, str],
        facts: Sequence[E],
        table: Mapping[E, Sequence[S | _Refuse | None]],
    ) -> None:
        """``commands`` maps each command to the sentence that refuses it; rows of ``table`` follow ``states``."""
        self.name = name
        self.states = tuple(states)
        self.initial = initial
        self.commands = tuple(commands)
        self.facts = tuple(facts)
        self._refusals = dict(commands)
        self._cells: dict[tuple[E, S | None], S | _Refuse | None] = {}
        if set(table) != {*commands, *facts}:
            raise TypeError(f"{name}: the table's rows are not its commands and facts")
        for event, row in table.items():
            if len(row) != len(self.states):
                raise TypeError(f"{name}: row {event} has {len(row)} cells for {len(self.states)} states")
            if any(cell is None or cell not in (*self.states, REFUSE) for cell in row):
                raise TypeError(f"{name}: row {event} leaves something that is not a state")
            if event in self.facts and REFUSE in row:
                raise TypeError(f"{name}: {event} is a fact and cannot be refused")
            self._cells.update({(event, state): cell for state, cell in zip(self.states, row, strict=True)})

    def after(self, event: E, state: S | None) -> S:
        """The state that ``event`` leaves; InvalidOperationError when a command is refused."""
        cell = self._cells[event, state]
        if isinstance(cell, _Refuse):
            raise InvalidOperationError(self._refusals[event])
        assert cell is not None, "no event leads back to the state before the first answer"
        return cell

    def allows(self, event: E, state: S | None) -> bool:
        """Whether ``event`` would not be refused."""
        return self._cells[event, state] is not REFUSE

    def markdown(self) -> str:
        """The table and its diagram, for the documentation."""
        names = [_label(state) for state in self.states]
        lines = [f"| {self.name} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for event in (*self.commands, *self.facts):
            kind = "command" if event in self.commands else "fact"
            cells = [self._cells[event, state] for state in self.states]
            labels = [cell.value if isinstance(cell, _Refuse) else _label(cell) for cell in cells]
            lines.append(f"| {event.value} ({kind}) | " + " | ".join(labels) + " |")
        return "\n".join([*lines, "", "```text", *self.diagram(), "```"])

    def diagram(self) -> list[str]:
        """Every change of state as an arrow between columns: lines of text, which need nothing to be drawn."""
        arrows = [
            (self.states.index(state), self.states.index(cell), f" {event.value} ")
            for (event, state), cell in self._cells.items()
            if not isinstance(cell, _Refuse) and cell is not state
        ]
        names = [_label(state) for state in self.states]
        width = max(
            *(len(name) + 2 for name in names),
            *(math.ceil((len(label) + 6) / abs(start - end)) for start, end, label in arrows),
        )
        column = [width * number + width // 2 for number in range(len(names))]
        marks = ["(new)" if state is self.initial else "|" for state in self.states]
        lines = [
            _line((place - len(text) // 2, text) for place, text in zip(column, texts, strict=True))
            for texts in (names, marks)
        ]
        for start, end, label in arrows:
            left, right = sorted((column[start], column[end]))
            shaft = label.center(right - left - 2, "-")
            arrow = f"{shaft}>" if start < end else f"<{shaft}"
            lines.append(_line([*((place, "|") for place in column), (left + 1, arrow)]))
        return lines


def _line(texts: Iterable[tuple[int, str]]) -> str:
    line = ""
    for place, text in texts:
        line = line[:place].ljust(place) + text + line[place + len(text) :]
    return line


def _label(state: object) -> str:
    return "NONE" if state is None else str(state).upper()


STAGED, PROCESSING, SETTLED, FAILED, CANCELED = InvoiceStatus

INVOICE: Lifecycle[InvoiceStatus, InvoiceEvent] = Lifecycle(
    "invoice.status",
    states=(STAGED, PROCESSING, SETTLED, FAILED, CANCELED),
    initial=STAGED,
    commands={
        InvoiceEvent.CHARGE: (
            "Invalid operation, you can only update funding_instrument_uri when the invoice status is one of "
            "STAGED, PROCESSING and FAILED"
        ),
        InvoiceEvent.CANCEL: "An invoice can only be canceled when its status is one of STAGED, PROCESSING and FAILED",
        InvoiceEvent.REFUND: "You can only refund a settled invoice",
    },
    facts=(InvoiceEvent.PAID, InvoiceEvent.UNPAID),
    table={
        #                    STAGED      PROCESSING  SETTLED  FAILED      CANCELED
        InvoiceEvent.CHARGE: (PROCESSING, PROCESSING, REFUSE, PROCESSING, REFUSE),
        # PROCESSING is canceled only while no money may be moving: Invoice.cancel looks.
        InvoiceEvent.CANCEL: (CANCELED, CANCELED, REFUSE, CANCELED, REFUSE),
        InvoiceEvent.REFUND: (REFUSE, REFUSE, SETTLED, REFUSE, REFUSE),
        # A canceled invoice that was paid after all is settled, so that it can be refunded.
        InvoiceEvent.PAID: (SETTLED, SETTLED, SETTLED, SETTLED, SETTLED),
        InvoiceEvent.UNPAID: (FAILED, FAILED, FAILED, FAILED, CANCELED),
    },
)

_S = SubmitStatus

SUBMISSION: Lifecycle[SubmitStatus, SubmitEvent] = Lifecycle(
    "transaction.submit_status",
    states=tuple(SubmitStatus),
    initial=_S.STAGED,
    commands={
        SubmitEvent.CANCEL: "Only a transaction that is still open can be canceled",
        SubmitEvent.RETRY: "Only a transaction that is still open can be retried",
    },
    facts=(SubmitEvent.ACCEPTED, SubmitEvent.DECLINED, SubmitEvent.DECLINED_FOR_GOOD, SubmitEvent.UNANSWERED),
    table={
        #                              STAGED       RETRYING     DONE     FAILED     CANCELED
        SubmitEvent.CANCEL: (_S.CANCELED, _S.CANCELED, REFUSE, REFUSE, REFUSE),
        # What failed for good is charged by a new transaction: this one may have a record at the processor.
        SubmitEvent.RETRY: (_S.STAGED, _S.RETRYING, REFUSE, REFUSE, REFUSE),
        # The processor has a record: also when we had given the submission up.
        SubmitEvent.ACCEPTED: (_S.DONE, _S.DONE, _S.DONE, _S.DONE, _S.DONE),
        SubmitEvent.DECLINED: (_S.RETRYING, _S.RETRYING, _S.DONE, _S.FAILED, _S.CANCELED),
        SubmitEvent.DECLINED_FOR_GOOD: (_S.FAILED, _S.FAILED, _S.DONE, _S.FAILED, _S.CANCELED),
        SubmitEvent.UNANSWERED: (_S.RETRYING, _S.RETRYING, _S.DONE, _S.FAILED, _S.CANCELED),
    },
)

_T = TransactionStatus

TRANSACTION: Lifecycle[TransactionStatus, ProcessorEvent] = Lifecycle(
    "transaction.status",
    states=(None, *TransactionStatus),
    initial=None,
    commands={},
    facts=tuple(ProcessorEvent),
    table={
        #                        None        PENDING       SUCCEEDED     FAILED
        # An old "pending" that arrives late never hides how it ended.
        ProcessorEvent.PENDING: (_T.PENDING, _T.PENDING, _T.SUCCEEDED, _T.FAILED),
        ProcessorEvent.SUCCEEDED: (_T.SUCCEEDED, _T.SUCCEEDED, _T.SUCCEEDED, _T.SUCCEEDED),
        # A bank may take a success back weeks later.
        ProcessorEvent.FAILED: (_T.FAILED, _T.FAILED, _T.FAILED, _T.FAILED),
    },
)

INTRODUCTION = """\
# Life cycles

Each status has one table: a row is an event, a column the state that it finds, a cell the state that it leaves. A
*command* comes from a caller and may be refused (400, or 409 where only the moment is wrong). A *fact* comes from the
processor and may not: the money has moved, whatever we think of it. Below each table the same as a picture: an arrow is
a change, and what leaves a state as it is has none.

An invoice follows all of its charges: `paid` if one of them succeeded; otherwise nothing while one is open or pending;
otherwise `unpaid`. So a late success of an old charge settles the invoice, and a late refusal of one that was replaced
changes nothing.

(This page is printed: `python -m billy.models.lifecycle > docs/lifecycle.md`.)
"""

if __name__ == "__main__":
    print(INTRODUCTION)
    for lifecycle in (INVOICE, SUBMISSION, TRANSACTION):
        print(f"## {lifecycle.name}\n\n{lifecycle.markdown()}\n")
