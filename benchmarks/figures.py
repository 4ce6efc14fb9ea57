"""A figure: what was measured, its ratio, and what the ratio has to be."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Measurement = Callable[[], float]
"""Does the work once and returns how much of it was done in a second."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Its ratio is the median of ``ratios``, each of two neighboring measurements."""

    name: str
    unit: str
    floor: float
    billy: float
    ratios: tuple[float, ...]
    least: float | None = None
    """The ratio must not be below; speed."""
    most: float | None = None
    """The ratio must not be above; growth, memory."""
    aim: float | None = None
    limit: float | None = None
    """Billy's own value must not be above."""

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether it is what it has to be."""
        return (
            (self.least is None or self.ratio >= self.least)
            and (self.most is None or self.ratio <= self.most)
            and (self.limit is None or self.billy <= self.limit)
        )

    @property
    def is_aim_met(self) -> bool:
        if self.aim is None:
            return self.is_met
        return self.ratio <= self.aim if self.least is None else self.ratio >= self.aim

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ratio": self.ratio, "is_met": self.is_met, "is_aim_met": self.is_aim_met}


def side_by_side(floor: Measurement, billy: Measurement, *, times: int) -> tuple[list[float], list[float]]:
    """Measure both ``times`` times, in turns, and who is first changes: both meet the same machine."""
    floors, billys = [], []
    for number in range(times):
        turns = [(floor, floors), (billy, billys)]
        for measure, rates in turns if number % 2 else reversed(turns):
            gc.collect()
            rates.append(measure())
    return floors, billys


def speed(
    name: str, unit: str, floors: Sequence[float], billys: Sequence[float], *, least: float, aim: float
) -> Figure:
    """Billy's speed as a part of the floor's."""
    ratios = tuple(billy / floor for floor, billy in zip(floors, billys, strict=True))
    return Figure(name, unit, median(floors), median(billys), ratios, least=least, aim=aim)


def growth(name: str, unit: str, smalls: Sequence[float], larges: Sequence[float]) -> Figure:
    """How much longer it takes with many rows than with few."""
    ratios = tuple(small / large for small, large in zip(smalls, larges, strict=True))
    return Figure(name, unit, median(smalls), median(larges), ratios, most=1.3, aim=1.05)
