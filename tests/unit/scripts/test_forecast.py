from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.billing_run import run
from billy.forecast import Forecast
from billy.models import Frequency, Invoice, InvoiceStatus, PlanType, SubmitStatus, Transaction
from billy.scripts.forecast import _print
from billy.scripts.forecast import forecast as forecast_command
from billy.settings import Settings
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy

DAYS = 35
FIELDS = ("invoices", "charges", "debit", "credit", "waiting")


@pytest.fixture
def many(make: Factories, clock: FrozenClock) -> None:
    """Subscriptions of two companies on all kinds of plans, some a few periods behind, some far ahead."""
    chance = random.Random(7)
    clock.now = datetime(2026, 1, 28, 13, 30, tzinfo=UTC)
    for company in (make.company(), make.company()):
        customer = make.customer(company)
        plans = [
            make.plan(company, frequency=frequency, interval=interval, plan_type=kind, amount=100 * number)
            for number, (frequency, interval, kind) in enumerate(
                (frequency, interval, kind) for frequency in Frequency for interval in (1, 2) for kind in PlanType
            )
        ]
        for _ in range(40):
            started_at = clock.now + timedelta(minutes=chance.randrange(-4 * 24 * 60, 50 * 24 * 60))
            card = chance.choice(["/cards/ok", "/cards/ok", None])
            amount = chance.choice([None, None, 50, 0])
            plan = chance.choice(plans)
            values = {"started_at": started_at, "funding_instrument_uri": card, "amount": amount}
            make.subscription(company, customer=customer, plan=plan, **values)
        make.subscription(company, customer=customer, plan=plans[0], canceled_at=clock.now)


def test_what_is_foretold_is_what_runs_file(
    billy: Billy,
    ini_file: Path,
    many: None,
    clock: FrozenClock,
    sessions: sessionmaker[Session],
    settings: Settings,
    submitter: Any,
    bystander: Bystander,
) -> None:
    foretold = json.loads(billy("forecast", ini_file, "--days", DAYS, "--json").stdout)
    spans = {"overdue": foretold["overdue"], **{day["day"]: day["expected"] for day in foretold["days"]}}
    assert len(spans) == DAYS + 1

    seen: set[str] = set()
    for name in spans:
        if name != "overdue":  # a run in the last moment of that day
            clock.now = datetime.fromisoformat(name).replace(tzinfo=UTC) + timedelta(days=1, microseconds=-1)
        run(sessions, settings, submitter, clock.now)
        with sessions() as session:
            subscribed = select(Invoice).where(Invoice.subscription_guid.is_not(None))
            invoices = [one for one in session.scalars(subscribed) if one.guid not in seen]
            seen |= {one.guid for one in invoices}
            charges = list(
                session.scalars(select(Transaction).where(Transaction.invoice_guid.in_(one.guid for one in invoices)))
            )
        filed = Counter(debit=0, credit=0)
        for charge in charges:
            filed[charge.transaction_type.value] += charge.amount
        waiting = sum(one.status is InvoiceStatus.STAGED for one in invoices)
        actual = (len(invoices), len(charges), filed["debit"], filed["credit"], waiting)
        assert tuple(spans[name][field] for field in FIELDS) == actual, name
    assert len(seen) == foretold["total"]["invoices"] > 200


def test_today_ends_at_midnight_in_utc_and_what_is_due_this_moment_is_overdue(
    billy: Billy, ini_file: Path, make: Factories, clock: FrozenClock
) -> None:
    clock.now = datetime(2026, 1, 15, 23, 59, 59, tzinfo=UTC)
    company = make.company()
    midnight = datetime(2026, 1, 16, tzinfo=UTC)
    for at in (clock.now, clock.now + timedelta(milliseconds=1), midnight + timedelta(days=1)):
        make.subscription(company, started_at=at)
    daily = make.plan(company, frequency=Frequency.DAILY)
    make.subscription(company, plan=daily, started_at=midnight)  # its second date is the moment after the window
    told = json.loads(billy("forecast", ini_file, "--days", "2", "--json").stdout)

    assert (told["at"], told["until"]) == ("2026-01-15T23:59:59+00:00", "2026-01-17T00:00:00+00:00")
    assert told["overdue"]["invoices"] == 1
    assert [(day["day"], day["expected"]["invoices"]) for day in told["days"]] == [("2026-01-15", 1), ("2026-01-16", 1)]
    assert told["total"]["invoices"] == 3


def test_open_transactions_count_on_the_day_of_their_next_try(
    billy: Billy, ini_file: Path, make: Factories, clock: FrozenClock, bystander: Bystander
) -> None:
    company = make.company()
    for days, status in ((-1, SubmitStatus.STAGED), (0, SubmitStatus.RETRYING), (1, SubmitStatus.RETRYING)):
        at = {"submit_status": status, "next_attempt_at": clock.now + timedelta(days=days)}
        make.invoice(company, funding_instrument_uri="/cards/ok", charge=at)
    done = {"submit_status": SubmitStatus.FAILED, "next_attempt_at": clock.now}
    make.invoice(company, funding_instrument_uri="/cards/ok", charge=done)
    told = json.loads(billy("forecast", ini_file, "--json").stdout)

    assert (told["overdue"]["attempts"], told["overdue"]["attempts_debit"]) == (2, 2000)
    assert [day["day"] for day in told["days"] if day["expected"]["attempts"]] == ["2026-01-16"]
    assert told["total"]["attempts"] == 3
    assert told["total"]["invoices"] == 0
    assert len(told["days"]) == 30


def test_the_help_names_the_fields_of_the_json(billy: Billy, ini_file: Path, make: Factories) -> None:
    told = json.loads(billy("forecast", ini_file, "--json").stdout)

    assert list(told) == ["at", "until", "overdue", "days", "total"]
    documented = re.findall(r"^ *(\w+)  +\S", forecast_command.help or "", re.MULTILINE)
    assert documented == list(told["total"]) == list(told["days"][0]["expected"])


@pytest.mark.parametrize("days", ["0", "367", "-1", "many"])
def test_days_that_make_no_sense_are_wrong_usage(billy: Billy, ini_file: Path, days: str) -> None:
    assert billy("forecast", ini_file, "--days", days).exit_code == 2


def printed(forecast: Forecast, **console: Any) -> str:
    file = io.StringIO()
    _print(forecast, Console(file=file, markup=False, highlight=False, **console))
    return file.getvalue()


@pytest.fixture
def forecast(clock: FrozenClock) -> Forecast:
    """Two days: one with the most that can be, one with half of it."""
    made = Forecast.blank(clock.now, 2)
    for day, debit in zip(made.days, (99_999_999_999, 50_000_000_000), strict=True):
        day.expected.debit = debit
    return made


def test_a_terminal_shows_a_plot_and_a_file_does_not(forecast: Forecast) -> None:
    plotted = printed(forecast, width=100, force_terminal=True, color_system=None)

    bars = [line.count("━") for line in plotted.splitlines() if line.strip().startswith("2026")]
    assert bars[0] > 10 and abs(bars[0] / 2 - bars[1]) <= 1
    assert "━" not in printed(forecast, width=100)


@pytest.mark.parametrize("width", [40, 79, 80])
def test_no_amount_is_ever_cut(forecast: Forecast, width: int) -> None:
    told = printed(forecast, width=width, force_terminal=True, color_system=None)

    for amount in ("999,999,999.99", "500,000,000.00"):
        assert amount in told
    assert ("━" in told) == (width >= 80)
    assert max(map(len, told.splitlines())) <= 80


def test_nothing_expected_is_told_as_such(billy: Billy, ini_file: Path) -> None:
    result = billy("forecast", ini_file, "--days", "1")

    assert result.exit_code == 0
    assert re.search(r"total +0 +0 +0\.00 +0\.00 +0", result.stdout)


def test_it_changes_nothing_and_runs_as_a_process(ini_file: Path, bystander: Bystander) -> None:
    command = [sys.executable, "-m", "billy.scripts", "forecast", "-c", str(ini_file), "--json", "--days", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["days"]) == 3
