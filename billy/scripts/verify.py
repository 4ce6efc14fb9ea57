"""``billy verify``: do the books hold?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from billy.db import read_only
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import make_console, show, table
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
            click.echo(json.dumps(asdict(violation)))
    elif found:
        meanings = {invariant.name: invariant.meaning for invariant in INVARIANTS}
        broken = table("invariant", "company", "record", "detail")
        for violation in found:
            broken.add_row(violation.invariant, violation.company_guid, violation.guid, violation.detail)
        show(make_console(), broken)
        for name in dict.fromkeys(violation.invariant for violation in found):
            click.echo(f"{name}: {meanings[name]}")
    else:
        click.echo(f"The books hold: {len(INVARIANTS)} invariants, no violation.")
    sys.exit(1 if found else 0)
