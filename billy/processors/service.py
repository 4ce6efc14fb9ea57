"""What the adapters to a service over HTTP share: their options, their factory, and what a lost answer means.

The rest of an adapter is its processor's own: what is sent, what is answered, and which refusals are for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from billy.errors import OutcomeUnknown, Refused, Unavailable
from billy.processors.answers import Lost
from billy.processors.http import HttpClient

URL = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?$"
"""The pattern of ``base_url``."""


class ServiceOptions(BaseModel):
    """What can be set for each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(pattern=URL, description="Where the service is; http only for a simulator.")
    connect_timeout: float = Field(default=3.0, gt=0, description="Seconds that connecting may take.")
    read_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds of silence after which an answer is lost; the call's deadline may end it earlier.",
    )
    pool_size: int = Field(default=64, ge=1, le=1000, description="Idle connections that a process keeps.")


class Service:
    """A factory of adapters, and the connections that they share."""

    name: ClassVar[str]
    options: ClassVar[type[BaseModel]]

    def __init__(self, options: Any, *, call_deadline: float) -> None:
        """``call_deadline`` is what one call may take in all, in seconds."""
        self.settings = options
        self.call_deadline = call_deadline
        self.http = HttpClient(
            options.base_url.rstrip("/"),
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            pool_size=options.pool_size,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.settings.base_url}>"


@contextmanager
def answers_lost_as(error: type[Unavailable] | type[OutcomeUnknown]) -> Iterator[None]:
    """Raise ``error`` for an answer that was lost: OutcomeUnknown where money may have moved."""
    try:
        yield
    except Lost as lost:
        if error is OutcomeUnknown:
            raise OutcomeUnknown(str(lost)) from lost
        raise Unavailable(str(lost), retry_after=lost.retry_after) from lost


@contextmanager
def only_asking(service: str) -> Iterator[None]:
    """What moves nothing can be asked again, whatever stood in its way: a refusal is Unavailable too."""
    try:
        yield
    except Refused as refused:
        raise Unavailable(f"{service} refuses to tell: {refused}") from refused


class Refusal(NamedTuple):
    """A code of a processor's no."""

    code: str
    hard: bool
    reason: str
    source: str


HARD, SOFT = True, False


class Refusals:
    """All that a processor is known to say. What is not among them is soft.

    A soft refusal uses up one retry of ``billy.transaction.maximum_retry``; a hard one ends the transaction. To ask
    once too often costs less than to give up a customer who would have paid.
    """

    def __init__(self, *refusals: Refusal) -> None:
        self._refusals = refusals
        self._hard = frozenset(refusal.code for refusal in refusals if refusal.hard)

    def __iter__(self) -> Iterator[Refusal]:
        return iter(self._refusals)

    def is_hard(self, code: str | None) -> bool:
        """Whether a refusal with this code is for good."""
        return code in self._hard

    def markdown(self) -> str:
        """The table of ``docs/processors.md``, which a test compares."""
        rows = (
            f"| `{refusal.code}` | {'hard' if refusal.hard else 'soft'} | {refusal.reason} | {refusal.source} |"
            for refusal in self
        )
        return "\n".join(["| code | | what it says | source |", "|---|---|---|---|", *rows])
