"""``billy status``: how does the billing stand?"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

import click
from rich.console import Console
from rich.table import Table

from billy import clock
from billy.overview import Overview, look
from billy.scripts.common import Duration, open_sessions, settings_argument
from billy.scripts.printing import ABSENT, cents, instant, make_console, print_json, safe, show, table
from billy.settings import Settings

RUNS_SHOWN = 3

EXIT_CODES = """\b
Exit codes:
  0  all is well
  1  something needs a person (see concerns), or the database does not answer
  2  wrong usage, or a mistake in the settings"""


@click.command("status", epilog=EXIT_CODES)
@settings_argument
@click.option(
    "--run-within",
    type=Duration(),
    default="1h",
    show_default=True,
    help="A person is needed if no run has ended for longer.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for programs.")
def status(settings: Settings, run_within: timedelta, *, as_json: bool) -> None:
    """Say how the billing stands; exit 1 if something needs a person.

    What is due, what waits and why, what failed in the last day, the last runs. Reads only, in one snapshot, and
    costs the same however much was ever billed: good for a monitor that asks every minute.

    \b
        billy status production.ini
        billy status production.ini --json | jq '.concerns[].name'

    --json prints an object. Instants are ISO 8601 in UTC, amounts are cents, and lists are cut to ten. Its fields:

    \b
    at               when this was so
    concerns         what needs a person: name, count, meaning; the names are
                     doubt_lasts, company_parked, lease_expired, no_run and
                     run_went_wrong
    filing           subscriptions: due, due_since, next_due_at
    submitting       open transactions: due, due_since, leased, in_doubt,
                     retrying, parked, oldest_lease
    pending          at the processor: count, since
    doubts           those that last: company_guid, transaction_guid, amount, since
    retrying         company_guid, transaction_guid, amount, next_attempt_at,
                     in_doubt, code, message
    last_day         what was made in 24 hours: transaction_type, outcome, count,
                     amount
    failed_last_day  how many failed for good in 24 hours
    failed           the newest of them: company_guid, transaction_guid, amount,
                     failed_at, code, message
    runs_last_day    the counts of all runs of 24 hours, added up
    runs             guid, host, started_at, finished_at, counts
    parked           company_guid, name, parked_until, refusals
    """
    with open_sessions(settings, only_reading=True)() as session:
        overview = look(session, clock.utc_now(), doubt_alert=settings.doubt_alert, run_within=run_within)
    if as_json:
        print_json(overview)
    else:
        _print(overview, make_console())
    sys.exit(1 if overview.concerns else 0)


def _print(overview: Overview, console: Console) -> None:
    console.print(f"Billy at {instant(overview.at)} UTC")
    parts = (
        _concerns(overview),
        _standing(overview),
        _doubts(overview),
        _last_day(overview),
        _retrying(overview),
        _failed(overview),
        _parked(overview),
        _runs(overview),
    )
    for part in parts:
        if part.row_count:
            show(console, part)


def _concerns(overview: Overview) -> Table:
    concerns = table("Needs a person", "count", "what to do", right=("count",))
    for concern in overview.concerns:
        concerns.add_row(concern.name, str(concern.count), concern.meaning)
    return concerns


def _standing(overview: Overview) -> Table:
    filing, submitting, pending = overview.filing, overview.submitting, overview.pending
    standing = table("How it stands", "count", "", right=("count",))
    standing.add_row("subscriptions to be filed now", str(filing.due), _since(filing.due_since))
    if filing.next_due_at:
        standing.add_row("next after them", "", f"at {instant(filing.next_due_at)}")
    standing.add_row("transactions to be submitted now", str(submitting.due), _since(submitting.due_since))
    lease = submitting.oldest_lease
    ends = f"oldest lease ends {instant(lease.leased_until)}" if lease else ""
    standing.add_row("being submitted", str(submitting.leased), ends)
    standing.add_row("in doubt", str(submitting.in_doubt), "")
    standing.add_row("tried again later", str(submitting.retrying), "")
    standing.add_row("of parked companies", str(submitting.parked), "")
    standing.add_row("pending at the processor", str(pending.count), _since(pending.since))
    standing.add_row("failed in 24 hours", str(overview.failed_last_day), "")
    return standing


def _since(at: datetime | None) -> str:
    return f"since {instant(at)}" if at else ""


def _doubts(overview: Overview) -> Table:
    doubts = table("In doubt for too long", "amount", "since", right=("amount",))
    for doubt in overview.doubts:
        doubts.add_row(doubt.transaction_guid, cents(doubt.amount), instant(doubt.since))
    return doubts


def _last_day(overview: Overview) -> Table:
    day = table("Made in 24 hours", "outcome", "count", "amount", right=("count", "amount"))
    for group in overview.last_day:
        day.add_row(group.transaction_type, group.outcome, str(group.count), cents(group.amount))
    return day


def _retrying(overview: Overview) -> Table:
    retrying = table("Tried again", "amount", "next attempt", "why", right=("amount",))
    for each in overview.retrying:
        why = "in doubt: it is looked up first" if each.in_doubt else _why(each.code, each.message)
        retrying.add_row(each.transaction_guid, cents(each.amount), instant(each.next_attempt_at), why)
    return retrying


def _failed(overview: Overview) -> Table:
    failed = table("Failed for good", "amount", "at", "why", right=("amount",))
    for each in overview.failed:
        why = _why(each.code, each.message)
        failed.add_row(each.transaction_guid, cents(each.amount), instant(each.failed_at), why)
    return failed


def _why(code: str | None, message: str | None) -> str:
    return safe(": ".join(part for part in (code, message) if part))


def _parked(overview: Overview) -> Table:
    parked = table("Parked company", "name", "until", "refusals", right=("refusals",))
    for each in overview.parked:
        parked.add_row(each.company_guid, safe(each.name or ABSENT), instant(each.parked_until), str(each.refusals))
    return parked


def _runs(overview: Overview) -> Table:
    runs = table("Runs", "ended", "counts")
    for each in overview.runs[:RUNS_SHOWN]:
        ended = instant(each.finished_at) if each.finished_at else "runs, or was killed"
        runs.add_row(instant(each.started_at), ended, _counts(each.counts) or "nothing was due")
    day = dict(overview.runs_last_day)
    number = day.pop("runs", 0)
    if overview.runs:
        runs.add_row("24 hours", f"{number} runs", _counts(day) or "nothing was due")
    return runs


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
