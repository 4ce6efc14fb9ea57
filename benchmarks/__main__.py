"""``python -m benchmarks``: measure, print one table, exit 1 if Billy is slower than it must be."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType

import click
import orjson
from rich.console import Console

warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # pyramid

from benchmarks import filing, growth, memory, processes, submitting, web  # noqa: E402  # after the filter
from benchmarks.bench import Bench  # noqa: E402
from benchmarks.figures import Figure  # noqa: E402
from benchmarks.processes import Throughput  # noqa: E402
from benchmarks.report import as_json, figures_table, processes_table  # noqa: E402
from benchmarks.server import Server  # noqa: E402

PARTS: dict[str, ModuleType] = {
    "filing": filing,
    "submitting": submitting,
    "web": web,
    "growth": growth,
    "memory": memory,
    "processes": processes,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure this part; may be repeated.")
@click.option("--quick", is_flag=True, help="A tenth of the rows, for development: the ratios are rough.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all numbers there.")
def main(only: tuple[str, ...], quick: bool, json_file: Path | None) -> None:
    """Measure how fast Billy is, as ratios to floors measured beside it.

    Starts a PostgreSQL of its own. Use an idle machine: everything is measured in turns, but not at once.
    """
    console = Console()
    progress = Console(stderr=True)
    figures: list[Figure] = []
    throughputs: list[Throughput] = []
    with Server.started() as server, progress.status("starting PostgreSQL") as status:
        bench = Bench(server, quick)
        for name, part in PARTS.items():
            if only and name not in only:
                continue
            status.update(f"measuring {name}")
            for measured in part.measure(bench):
                (figures if isinstance(measured, Figure) else throughputs).append(measured)
                status.update(f"measuring {name} ({len(figures) + len(throughputs)} done)")
    if figures:
        console.print(figures_table(figures))
    if throughputs:
        console.print(processes_table(throughputs))
    if json_file is not None:
        json_file.write_bytes(orjson.dumps(as_json(figures, throughputs), option=orjson.OPT_INDENT_2))
    missed = [figure.name for figure in figures if not figure.is_met]
    if missed:
        console.print("[red]slower than it must be:[/red] " + "; ".join(missed))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
