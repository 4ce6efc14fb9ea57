"""``python -m fuzz``: send what the document allows, and what it does not, for some time; exit 1 if an answer is wrong.

Wrong is a status of 500 and above, a status or content type that the document does not have there, and a body or a
header that does not conform. Requests follow the document's links, so they reach records that exist.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import structlog
import urllib3
from sqlalchemy import func, select

warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # pyramid

from waitress.server import create_server  # noqa: E402  # after the filter

from billy.app import make_app  # noqa: E402
from billy.models import Base  # noqa: E402
from billy.secrets import new_secret_key  # noqa: E402
from billy.settings import Settings  # noqa: E402
from tests.support.databases import PostgresServer  # noqa: E402

ROOT = Path(__file__).parents[1]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)

# The document has the links; what schemathesis would guess besides is the same ones over again.
CONFIGURATION = """
[warnings]
enabled = false

[phases.stateful]
max-steps = 20

[phases.stateful.inference]
algorithms = []
"""


@contextmanager
def serving() -> Iterator[str]:
    """The server's address, until the block ends."""
    postgres = PostgresServer.start()
    options = {
        "sqlalchemy.url": postgres.copy("fuzz"),
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
        "billy.log.level": "ERROR",
        **{f"billy.limit.{what}": "off" for what in ("registrations", "failures_per_address", "failures_per_key")},
    }
    app = make_app(Settings.load(options))
    server = create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(10)
    with app.registry["billy.engine"].connect() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
        }
    print("It made", ", ".join(f"{count} {name}" for name, count in counts.items() if count))
    app.registry["billy.engine"].dispose()
    postgres.stop()


def register(url: str) -> str:
    """The API key of a new company."""
    answer = urllib3.request("POST", f"{url}/v1/companies", json={"processor_key": "a-processor-key"})
    key: str = answer.json()["api_key"]
    return key


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long; what is under way is finished.")
@click.option("--seed", type=int, help="Of an earlier run, to repeat it.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(seconds: int, seed: int | None, options: tuple[str, ...]) -> None:
    """Fuzz the API; OPTIONS go to schemathesis as they are."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with serving() as url, tempfile.TemporaryDirectory() as directory:
        Path(directory, "schemathesis.toml").write_text(CONFIGURATION)
        # Its examples database goes nowhere: a run is repeated by its seed.
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run", f"{url}/v1/openapi.json"),
                *("--auth", f"{register(url)}:", "--checks", ",".join(CHECKS)),
                *("--max-time", str(seconds), "--continue-on-failure"),
                *(() if seed is None else ("--seed", str(seed))),
                *options,
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "SCHEMATHESIS_HOOKS": "fuzz.hooks"},
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
