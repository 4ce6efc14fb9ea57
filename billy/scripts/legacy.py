"""The commands' names of 2014, so that an existing crontab keeps working."""

from __future__ import annotations

import os
import sys

from billy.scripts import main


def initialize_billy_db() -> None:
    """``initialize_billy_db <config_uri> [alembic_uri]`` is ``billy init-db <config_uri>``.

    The second argument told which Alembic settings to stamp; the migrations know that themselves now.
    """
    if len(sys.argv) not in (2, 3):
        _show_usage("<config_uri> [alembic_uri]", "development.ini alembic.ini")
    main(["init-db", sys.argv[1]], prog_name="billy")


def process_billy_tx() -> None:
    """``process_billy_tx <config_uri>``, or ``process_transactions``: ``billy process-transactions <config_uri>``."""
    if len(sys.argv) != 2:
        _show_usage("<config_uri>", "development.ini")
    main(["process-transactions", sys.argv[1]], prog_name="billy")


def _show_usage(arguments: str, example: str) -> None:
    command = os.path.basename(sys.argv[0])
    print(f'usage: {command} {arguments}\n(example: "{command} {example}")')
    sys.exit(1)
