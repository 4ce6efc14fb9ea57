"""Everything that can go wrong between a client and the service, by chance or by plan.

By chance: each request that is in scope meets each fault with its probability, and one seed gives one
sequence. By plan: a deck of faults, one for each request in scope, until it is used up; so a story has an end.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

MONEY = r"/(debits|credits|refunds|reversals|payment_intents|transfers)$"
"""The paths that a POST moves money by, at any of the services."""


class Fault(StrEnum):
    """What happens to a request or to its answer."""

    DROP_BEFORE = "drop-before"  # the connection closes, nothing was done
    ERROR_BEFORE = "error-before"  # 500, 502, 503 or 504, nothing was done
    SLOW_DOWN = "slow-down"  # 429 with Retry-After, nothing was done
    DELAY_BEFORE = "delay-before"  # it is done late, perhaps when nobody waits for it any more
    DROP_AFTER = "drop-after"  # it was done, the connection closes without an answer
    ERROR_AFTER = "error-after"  # it was done, and 500, 502, 503 or 504 says otherwise
    HALF = "half"  # it was done, half of the answer arrives
    TRICKLE = "trickle"  # it was done, the answer never ends
    DELAY_AFTER = "delay-after"  # it was done, the answer comes late
    TWICE = "twice"  # the network delivers it twice


BEFORE = {Fault.DROP_BEFORE, Fault.ERROR_BEFORE, Fault.SLOW_DOWN}
"""Those after which nothing was done."""


class Chaos(BaseModel):
    """The switch. Threads share it."""

    model_config = ConfigDict(extra="forbid")

    probabilities: dict[Fault, Annotated[float, Field(ge=0, le=1)]] = {}
    deck: list[Fault | None] = []
    """Goes before the probabilities; None is a request that goes well."""
    seed: int | None = None
    methods: frozenset[str] = frozenset({"POST"})
    paths: re.Pattern[str] = re.compile(MONEY)
    """Searched for in the path."""
    delay: float = Field(default=1.0, ge=0, le=3600)
    """Seconds."""

    _injected: Counter[Fault] = PrivateAttr(default_factory=Counter)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _random: random.Random = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Begin the sequence."""
        self._random = random.Random(self.seed)  # noqa: S311  # faults, not secrets

    @field_validator("probabilities")
    @classmethod
    def _one_at_most(cls, probabilities: dict[Fault, float]) -> dict[Fault, float]:
        if sum(probabilities.values()) > 1:
            raise ValueError("the probabilities are more than 1 together")
        return probabilities

    def draw(self, method: str, path: str) -> Fault | None:
        """What happens to this request."""
        if method not in self.methods or not self.paths.search(path):
            return None
        with self._lock:
            fault = self.deck.pop(0) if self.deck else self._throw()
            if fault is not None:
                self._injected[fault] += 1
        return fault

    def _throw(self) -> Fault | None:
        thrown = self._random.random()
        for fault, chance in self.probabilities.items():
            thrown -= chance
            if thrown < 0:
                return fault
        return None

    def one_of(self, choices: tuple[int, ...]) -> int:
        """A choice that follows the seed like all else."""
        with self._lock:
            return self._random.choice(choices)

    def shown(self) -> dict[str, Any]:
        """As JSON: what was set, what is left of the deck, and what was met."""
        with self._lock:
            return {**self.model_dump(mode="json"), "injected": dict(self._injected)}
