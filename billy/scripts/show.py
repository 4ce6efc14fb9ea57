"""``billy show``: what became of it?"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click
from rich.console import Console

from billy import clock
from billy.chronicle import KINDS, Chronicle, chronicle
from billy.guid import is_guid
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, settings_argument
from billy.scripts.printing import cents, instant, make_console, print_json, safe, table
from billy.scripts.printing import show as show_table
from billy.settings import Settings


class AnyGuid(click.ParamType):
    """The guid of anything that has a story."""

    name = "guid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The guid itself."""
        if value.endswith(".ini"):  # with one argument left, click takes it for the guid
            self.fail(f"a guid is missing after {value}", param, ctx)
        if not (is_guid(value) and value[:2] in KINDS):
            *kinds, last = (f"{noun} ({prefix}…)" for prefix, (noun, _) in KINDS.items())
            self.fail(f"{value!r} is not the guid of a {', '.join(kinds)} or {last}", param, ctx)
        return value


@click.command("show", epilog=EXIT_CODES)
@settings_argument
@click.argument("guid", metavar="GUID", type=AnyGuid())
@click.option(
    "--last", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Of what it has many of: the newest."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for programs.")
def show(settings: Settings, guid: str, last: int, *, as_json: bool) -> None:
    """Tell the story of a record, whatever it is, by its guid.

    A company, plan, customer, subscription, invoice, transaction or run of any company: when it was made, each attempt
    with the processor's answer, events, disputes, what was done by hand, and what is planned. Reads only. No secret is
    shown.

    \b
        billy show production.ini TX1CkyVDq…

    --json prints an object: kind, guid, company_guid, facts (the columns), story, and is_cut (older parts are left
    out, see --last). Each entry of the story has at, what, guid and detail. Instants are ISO 8601 in UTC, amounts are
    cents. What may be:

    \b
    created  started  filed  attempt_failed  event  disputed  done_by_hand
    answered  ended  changed  canceled  deleted  key_added  key_expires
    callback_registered  next_attempt  next_invoice  parked_until  leased_until
    """
    with open_sessions(settings, only_reading=True)() as session:
        told = chronicle(session, guid, most=last)
    if as_json:
        print_json(told)
    else:
        _print(told, clock.utc_now(), make_console())


def _print(told: Chronicle, now: datetime, console: Console) -> None:
    facts = table(told.kind, told.guid)
    for name, value in told.facts.items():
        if name != "guid" and value is not None:
            facts.add_row(name, _plain(name, value))
    show_table(console, facts)
    of_others = any(entry.guid != told.guid for entry in told.story)
    story = table("when", "what", *(["of"] if of_others else []), "")
    if told.is_cut:
        story.add_row("…", "older parts are left out: see --last")
    for entry in told.story:
        when = f"{instant(entry.at)}{' (to come)' if entry.at > now else ''}"
        of = [entry.guid if entry.guid != told.guid else ""] if of_others else []
        detail = ", ".join(f"{name.replace('_', ' ')} {_plain(name, value)}" for name, value in entry.detail.items())
        story.add_row(when, entry.what.replace("_", " "), *of, detail)
    show_table(console, story)


def _plain(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith("amount"):
        return cents(value)
    return safe(json.dumps(value) if isinstance(value, list | dict) else str(value))
