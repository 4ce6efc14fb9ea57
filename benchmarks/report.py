"""What was measured, for people and for machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.processes import Throughput


def figures_table(figures: Sequence[Figure]) -> Table:
    """All figures; the floor of growth and memory is the same with fewer rows."""
    table = Table(title=f"Billy against floors, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores")
    table.add_column("figure")
    for column in ("floor", "Billy", "ratio", "required", "aim"):
        table.add_column(column, justify="right")
    table.add_column("ok")
    for figure in figures:
        table.add_row(
            figure.name,
            _number(figure.floor),
            f"{_number(figure.billy)} {figure.unit}",
            f"{figure.ratio:.2f}",
            _required(figure),
            "" if figure.aim is None else f"{figure.aim:.2f}",
            _verdict(figure),
        )
    return table


def processes_table(throughputs: Sequence[Throughput]) -> Table:
    """What many processes do together; the ideal is what the processor alone would allow."""
    table = Table(title=f"Many processes, one PostgreSQL, {os.cpu_count()} cores, 50 ms a call")
    for column in ("concurrency of each", "processes", "transactions/s", "of the ideal"):
        table.add_column(column, justify="right")
    for each in throughputs:
        table.add_row(
            str(each.concurrency), str(each.processes), _number(each.rate), f"{100 * each.rate / each.ideal:.0f} %"
        )
    return table


def as_json(figures: Sequence[Figure], throughputs: Sequence[Throughput]) -> dict[str, Any]:
    """Everything, with each single ratio."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "figures": [figure.as_dict() for figure in figures],
        "processes": [each.as_dict() for each in throughputs],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _required(figure: Figure) -> str:
    if figure.least is not None:
        return f"≥ {figure.least:.2f}"
    limit = "" if figure.limit is None else f", ≤ {figure.limit:.0f} {figure.unit}"
    return f"≤ {figure.most:.2f}{limit}"


def _verdict(figure: Figure) -> str:
    if not figure.is_met:
        return "[red]missed[/red]"
    return "[green]aim[/green]" if figure.is_aim_met else "yes"
