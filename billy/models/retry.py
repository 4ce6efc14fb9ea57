"""When a submission is tried again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The operator's choice of pauses; the last of each sequence repeats."""

    maximum_retry: int
    """Soft refusals that are forgiven: N means N + 1 attempts (as in 2014, contract D19)."""
    after_refusal: Sequence[timedelta]
    """Pauses after the first, second … soft refusal."""
    after_silence: Sequence[timedelta]
    """Pauses while the processor cannot be reached or a look-up is not conclusive; these use up no retry."""

    def is_spent(self, refusals: int) -> bool:
        """Whether ``refusals`` soft refusals are more than may be."""
        return refusals > self.maximum_retry

    def next_after_refusal(self, now: datetime, refusals: int) -> datetime:
        """When to try again after the ``refusals``-th soft refusal (counted from 1)."""
        return now + _jittered(self.after_refusal, refusals)

    def most_tries_within(self, span: timedelta, refusals: int, *, early: int = 0) -> int:
        """How many tries a time of that length may hold, the first at its beginning, after ``refusals`` before it.

        As many as ``early`` of them may have come without a pause before them.
        """
        tries, pauses = 1, [timedelta(0)]
        while not self.is_spent(refusals + tries):
            pause = self.after_refusal[min(refusals + tries, len(self.after_refusal)) - 1]
            pauses.append(pause * (1 - JITTER))
            if sum(pauses, timedelta(0)) > span:
                if not early:
                    break
                early -= 1
                pauses.remove(max(pauses))
            tries += 1
        return tries

    def next_after_silence(self, now: datetime, silences: int, *, retry_after: float | None = None) -> datetime:
        """When to try again after the ``silences``-th failure to get an answer in a row (counted from 1).

        ``retry_after`` seconds, if the processor named them, are the least.
        """
        pause = _jittered(self.after_silence, silences)
        return now + max(pause, timedelta(seconds=retry_after or 0))


def _jittered(pauses: Sequence[timedelta], number: int) -> timedelta:
    # Spread by a tenth, so that what failed together does not come back together.
    return pauses[min(number, len(pauses)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)
