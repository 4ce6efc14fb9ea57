"""A case of the torture, and what cases came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from torture.scenes import Scene

if TYPE_CHECKING:
    from torture.stage import Stage

DATABASES = ("postgresql", "sqlite")
FRAGILE = "fragile"
"""Another PostgreSQL server, which may be restarted."""


@dataclass(frozen=True)
class Case:
    """One story: a world that begins with a scene, and what happens in it.

    Its name says all that has to be known to tell it again, together with a seed.
    """

    name: str
    """``family/database/…``"""
    scene: Scene
    play: Callable[[Stage], None]
    arguments: tuple[Any, ...] = ()
    """The scene's."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the ini, beside the ordinary ones."""

    @property
    def family(self) -> str:
        """What it belongs to."""
        return self.name.split("/")[0]

    @property
    def database(self) -> str:
        """On which it is played."""
        return self.name.split("/")[1]


@dataclass(slots=True)
class Tally:
    """What a case did, and what it found."""

    cases: int = 0
    points: int = 0
    """Crash points: processes killed exactly there."""
    faults: int = 0
    """Everything else that was made to go wrong."""
    charges: int = 0
    overpaid: int = 0
    """Double charges that are documented, and that the books show."""
    failed: int = 0
    """Cases that did not go as they should; what the books say of it is counted below."""
    doubled: int = 0
    lost: int = 0
    violations: int = 0

    def add(self, other: Tally) -> None:
        """Count another one's too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.failed or self.doubled or self.lost or self.violations)


class Found(AssertionError):
    """The books do not hold: what was wrong, a line each."""
