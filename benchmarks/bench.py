"""What every measurement is given."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.server import Server


@dataclass(frozen=True, slots=True)
class Bench:
    """The server, and how much to do."""

    server: Server
    is_quick: bool = False
    times: int = 3
    """How often everything big is measured."""

    def size(self, number: int) -> int:
        """``number``, or a tenth of it where it has to be quick."""
        return number // 10 if self.is_quick else number
