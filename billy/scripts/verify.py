"""``billy verify``: do the books hold?"""

from __future__ import annotations

import sys
from itertools import groupby

import click

from billy.db import read_only
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import make_console, print_json, safe, show, table
from billy.settings import Settings
from billy.verification import INVARIANTS, violations

EXIT_CODES = """\b
Exit codes:
  0  the books hold
  1  something breaks a rule, and is printed; or it could not be asked
  2  wrong usage, or a mistake in the settings"""


@click.command("verify", epilog=EXIT_CODES)
@settings_argument
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each violation.")
def verify(settings: Settings, as_json: bool) -> None:
    """Check every invariant of the books and print what breaks one; exit 1 if anything does.

    Reads only, and may run beside everything else: good for every night.
    """
    sessions = open_sessions(settings)
    with sessions(bind=read_only(sessions.kw["bind"])) as session:
        found = list(violations(session))
    if as_json:
        for violation in found:
            print_json(violation)
    elif found:
        meanings = {invariant.name: invariant.meaning for invariant in INVARIANTS}
        console = make_console()
        for name, broken in groupby(found, lambda violation: violation.invariant):
            click.echo(f"{name}: {meanings[name]}")
            records = table("record, company", "detail")
            for violation in broken:
                records.add_row(f"{violation.guid}\n{violation.company_guid}", safe(violation.detail))
            show(console, records)
    else:
        click.echo(f"The books hold: {len(INVARIANTS)} invariants, no violation.")
    sys.exit(1 if found else 0)
