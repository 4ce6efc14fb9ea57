"""Real servers over one PostgreSQL: what is sent to two at once, or again after one was killed, is charged once.

The sandbox's idempotency is off, so that every send really charges.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import urllib3
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from billy.models import IdempotencyKey, Invoice, Transaction
from billy.processors.sandbox import Sandbox
from tests.support.bystander import Bystander

pytestmark = pytest.mark.postgresql

RACES = 50
PATIENCE = 60
CALL_DEADLINE = 1
REQUEST_DEADLINE = 3
LEASE = REQUEST_DEADLINE + 3 * CALL_DEADLINE


@pytest.fixture
def ini(ini: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A ledger that processes share and that forgives nothing, and leases that a test can wait for."""
    return {
        "billy.sandbox.latency": "0.05",
        **ini,
        "billy.sandbox.ledger": str(tmp_path / "ledger.sqlite"),
        "billy.sandbox.idempotent": "false",
        "billy.transaction.call_deadline": f"{CALL_DEADLINE}s",
        "billy.transaction.lease": f"{3 * CALL_DEADLINE}s",
        "billy.transaction.settle_time": "0s",
        "billy.api.request_deadline": f"{REQUEST_DEADLINE}s",
    }


class Server:
    """A web server of its own process."""

    def __init__(self, ini: dict[str, str], directory: Path, number: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.ini = directory / f"server-{number}.ini"
        options = [f"{name} = {value.replace('%', '%%')}" for name, value in ini.items()]
        server = ["[server:main]", "use = egg:waitress#main", f"listen = 127.0.0.1:{port}"]
        self.ini.write_text("\n".join(["[app:main]", "use = egg:billy", *options, *server]))
        command = [sys.executable, "-W", "ignore", "-m", "billy.scripts.server", str(self.ini)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = port

    def post(self, path: str, params: dict[str, Any], *, api_key: str = "", key: str = "") -> urllib3.BaseHTTPResponse:
        """Send it once, whatever comes of it."""
        headers = urllib3.make_headers(basic_auth=f"{api_key}:")
        headers |= {"Idempotency-Key": key} if key else {}
        with urllib3.PoolManager(retries=False) as pool:
            return pool.request(
                "POST", f"http://127.0.0.1:{self.port}{path}", json=params, headers=headers, timeout=PATIENCE
            )

    def listens(self) -> bool:
        """Whether it is up."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def wait_until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def servers(ini: dict[str, str], tmp_path: Path, bystander: Bystander) -> Iterator[list[Server]]:
    """Two, that answer."""
    servers = [Server(ini, tmp_path, number) for number in range(2)]
    try:
        for server in servers:
            wait_until(server.listens)
        yield servers
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def order(servers: list[Server]) -> dict[str, Any]:
    """An invoice to be charged, and whose it is."""
    api_key = servers[0].post("/v1/companies", {"processor_key": "a-processor-key"}).json()["api_key"]
    customer = servers[0].post("/v1/customers", {}, api_key=api_key).json()["guid"]
    params = {"customer_guid": customer, "amount": 1000, "funding_instrument_uri": "/cards/ok"}
    return {"path": "/v1/invoices", "params": params, "api_key": api_key}


def charges_by_invoice(sandbox: Sandbox, sessions: sessionmaker[Session]) -> Counter[str]:
    with sessions() as session:
        rows = session.execute(select(Transaction.guid, Transaction.invoice_guid))
        invoice_of = dict(iter(rows))
    return Counter(invoice_of[charge.transaction_guid] for charge in sandbox.charges())


def test_one_key_sent_twice_at_once_charges_once_each_time(
    servers: list[Server], order: dict[str, Any], sandbox: Sandbox, sessions: sessionmaker[Session]
) -> None:
    answers: Counter[str] = Counter()
    guids = set()
    with ThreadPoolExecutor(2) as pool:
        for race in range(RACES):
            start = Barrier(2)

            def send(server: Server, start: Barrier = start, key: str = f"race-{race}") -> urllib3.BaseHTTPResponse:
                start.wait()
                return server.post(**order, key=key)

            both = list(pool.map(send, servers))
            done = [answer for answer in both if answer.status == 200 and "Idempotent-Replayed" not in answer.headers]
            [first] = done
            guids.add(first.json()["guid"])
            [other] = [answer for answer in both if answer is not first]
            answers[f"{other.status} {other.headers.get('Idempotent-Replayed', '')}".strip()] += 1
            assert other.status in (200, 409)
            assert other.status == 409 or other.data == first.data
            again = servers[race % 2].post(**order, key=f"race-{race}")
            assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
    assert answers["409"] > 0, f"they never were at it at once: {answers}"
    assert charges_by_invoice(sandbox, sessions) == dict.fromkeys(guids, 1)
    assert len(guids) == len(sandbox.sends()) == RACES


def test_one_registration_sent_twice_at_once_makes_one_company_each_time(
    servers: list[Server], sessions: sessionmaker[Session]
) -> None:
    def send(number: int) -> int:
        params = {"processor_key": f"key-{number // 2}", "name": "raced"}
        return servers[number % 2].post("/v1/companies", params, key="register").status

    with ThreadPoolExecutor(4) as pool:
        statuses = Counter(pool.map(send, range(40)))
    assert set(statuses) <= {200, 409}
    with sessions() as session:
        company = IdempotencyKey.record_guid
        made = session.scalars(select(company)).all()
    assert len(set(made)) == len(made) == 20


@pytest.mark.ini({"billy.sandbox.latency": "0.8"})  # half of it before the charge, half after
@pytest.mark.parametrize("is_charged", [False, True])
def test_a_server_that_is_killed_while_it_charges_leaves_one_charge_and_one_answer(
    servers: list[Server], order: dict[str, Any], sandbox: Sandbox, sessions: sessionmaker[Session], is_charged: bool
) -> None:
    first, second = servers

    def is_under_way() -> bool:
        with sessions() as session:
            claimed = session.scalar(
                select(func.count()).where(Transaction.in_doubt, Transaction.leased_until.is_not(None))
            )
        return bool(claimed) and bool(sandbox.sends()) == is_charged

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(first.post, **order, key="killed")
        wait_until(lambda: is_under_way() or lost.done())
        first.process.send_signal(signal.SIGKILL)
        assert isinstance(lost.exception(), urllib3.exceptions.HTTPError), "the kill came too late to prove anything"

    statuses = []
    answer = second.post(**order, key="killed")
    while answer.status == 409:
        statuses.append(answer.status)
        assert answer.json()["error_class"] == "IdempotencyKeyInUse"
        assert len(statuses) < PATIENCE, "nobody could take it over"
        time.sleep(int(answer.headers["Retry-After"]))
        answer = second.post(**order, key="killed")
    assert answer.status == 200
    assert statuses, "it had to wait for the lease"
    command = [sys.executable, "-m", "billy.scripts", "process-transactions", str(second.ini)]
    wait_until(lambda: subprocess.run(command, capture_output=True, check=True) and sandbox.charges())
    subprocess.run(command, capture_output=True, check=True)

    assert second.post(**order, key="killed").data == answer.data
    with sessions() as session:
        invoices = session.scalars(select(Invoice).where(Invoice.guid == answer.json()["guid"])).all()
        assert [invoice.status for invoice in invoices] == ["settled"]
    assert charges_by_invoice(sandbox, sessions) == {answer.json()["guid"]: 1}
