"""Real processes over one PostgreSQL: nothing is filed or charged twice, whoever dies.

The sandbox's idempotency is off, so that every send really charges: a missing fence, lease or look-up
shows in its ledger.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from billy.models import Invoice, InvoiceStatus
from billy.processors.sandbox import Sandbox
from tests.support.bystander import Bystander
from tests.support.factories import Factories

DUE = 501
LEASE_SECONDS = 3


@pytest.fixture
def ini(ini: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A ledger in a file that forgives nothing, and a lease that a test can wait for."""
    return ini | {
        "billy.sandbox.ledger": str(tmp_path / "ledger.sqlite"),
        "billy.sandbox.idempotent": "false",
        "billy.sandbox.latency": "0.01",
        "billy.transaction.call_deadline": "1s",
        "billy.transaction.lease": f"{LEASE_SECONDS}s",
        "billy.transaction.settle_time": "0s",
    }


@pytest.fixture
def ini_file(ini: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "billy.ini"
    options = [f"{name} = {value.replace('%', '%%')}" for name, value in ini.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:billy", *options]))
    return path


@pytest.fixture
def due(make: Factories, bystander: Bystander) -> None:
    """501 subscriptions with one invoice due each, of three companies."""
    make_due(make, DUE)


def make_due(make: Factories, number: int) -> None:
    # The processes read the real clock.
    started_at = datetime.now(UTC) - timedelta(minutes=1)
    for company in (make.company(), make.company(), make.company()):
        plan, customer = make.plan(company), make.customer(company)
        for _ in range(number // 3):
            make.subscription(company, customer=customer, plan=plan, started_at=started_at)


def start(ini_file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "billy.scripts", "process-transactions", str(ini_file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, int]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def charged_once(sandbox: Sandbox, sessions: sessionmaker[Session]) -> None:
    """Every invoice was filed once, charged once, and its book says so."""
    charges = Counter(charge.transaction_guid for charge in sandbox.charges())
    assert len(charges) == DUE, "an invoice was not charged"
    assert set(charges.values()) == {1}, "an invoice was charged twice"
    with sessions() as session:
        ours = select(Invoice.status, Invoice.overpaid).where(Invoice.subscription_guid.is_not(None))
        assert Counter(tuple(row) for row in session.execute(ours)) == {(InvoiceStatus.SETTLED, False): DUE}


def test_two_runs_at_once_share_the_work_and_double_none(ini_file, due, sandbox, sessions):
    first, second = start(ini_file), start(ini_file)
    done = Counter(finish(first)) + Counter(finish(second))
    assert done["filed"] == DUE
    assert done["succeeded"] == DUE
    assert len(sandbox.sends()) == DUE
    charged_once(sandbox, sessions)


@pytest.mark.parametrize("sends_before_the_kill", [1, 60, 250])
def test_a_run_killed_in_the_middle_loses_and_doubles_nothing(ini_file, due, sandbox, sessions, sends_before_the_kill):
    process = start(ini_file)
    deadline = time.monotonic() + 60
    while len(sandbox.sends()) < sends_before_the_kill:
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(sandbox.sends()) < DUE, "the kill came too late to prove anything"
    time.sleep(LEASE_SECONDS)
    finish(start(ini_file))
    assert len(sandbox.sends()) == DUE
    charged_once(sandbox, sessions)


def test_a_daemon_finishes_what_is_under_way_when_it_is_told_to_stop(ini_file, due, sandbox, sessions):
    command = [sys.executable, "-m", "billy.scripts", "process-transactions", str(ini_file), "--every", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(sandbox.sends()) < 20:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    sent = len(sandbox.sends())
    assert sent < DUE
    # Nothing is left in doubt, so the next run sends the rest at once, without waiting for a lease.
    finish(start(ini_file))
    charged_once(sandbox, sessions)
