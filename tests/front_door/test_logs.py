"""A whole run's logs, of real processes at level DEBUG: every line can be read, and none holds a secret.

Everything that a secret can pass through is passed through: right and wrong keys, bodies that are refused, callbacks,
processors that refuse, crash and are away, a database error, a bug, requests that are no HTTP.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker

from billy.models import Company
from billy.secrets import Vault, new_secret_key
from billy.testing.stripe_simulator import StripeSimulator

from .conftest import ROOT, Start, Started

pytestmark = pytest.mark.postgresql  # which quotes what it was sent in its errors, and has a password

TOKEN = "token-of-the-metrics-4Ug7"
PASSWORD = "password-of-the-database-9Lk2"
PROCESSOR_KEY = "key-of-the-processor-7Hq3"
GUNICORN, WAITRESS = "gunicorn", "waitress"

INI = """
[app:main]
use = egg:billy
sqlalchemy.url = env:BILLY_DATABASE_URL
billy.secret_keys = env:BILLY_SECRET_KEYS
billy.processor_factory = billy.processors.sandbox.Sandbox
billy.sandbox.ledger = {directory}/ledger.sqlite
billy.processors = stripe
billy.stripe.base_url = {stripe}
billy.callback_base_url = {url}
billy.company.display_callback_key = true
billy.transaction.silence_schedule = 1s
billy.metrics = true
billy.metrics_token = env:BILLY_METRICS_TOKEN
billy.log.format = json
billy.log.level = DEBUG

[server:main]
{server}
"""


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator.started(retry_delay=0.05) as simulator:
        yield simulator


@pytest.fixture
def environment(database_url: str, settings: Any, tmp_path: Path) -> dict[str, str]:
    shared = tmp_path / "metrics"
    shared.mkdir()
    return {
        "BILLY_DATABASE_URL": make_url(database_url).set(password=PASSWORD).render_as_string(hide_password=False),
        "BILLY_SECRET_KEYS": f"{settings.secret_keys[0]} {new_secret_key()}",
        "BILLY_METRICS_TOKEN": TOKEN,
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
    }


@pytest.fixture(params=[GUNICORN, WAITRESS])
def ini_file(request: pytest.FixtureRequest, simulator: StripeSimulator, port: int, tmp_path: Path) -> Path:
    """production.ini's server with fewer workers, or development.ini's."""
    server = (ROOT / "production.ini").read_text().partition("[server:main]\n")[2]
    server = server.replace("127.0.0.1:6543", f"127.0.0.1:{port}")
    server = server.replace("workers = 4", "workers = 2\nloglevel = debug")
    if request.param == WAITRESS:
        server = f"use = egg:waitress#main\nlisten = 127.0.0.1:{port}"
    path = tmp_path / "billy.ini"
    options = {"directory": tmp_path, "stripe": simulator.url, "url": f"http://127.0.0.1:{port}"}
    path.write_text(INI.format(server=server, **options))
    return path


class Caller:
    """Calls the server, and remembers each key that it presented."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: set[str] = set()

    def __call__(
        self, method: str, path: str, sent: Any = None, *, key: str | None = None, token: str | None = None
    ) -> tuple[int, Any]:
        body = sent if isinstance(sent, bytes) or sent is None else json.dumps(sent).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"}, method=method)
        if key is not None:
            self.keys.add(key)
            request.add_header("Authorization", f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}")
        if token is not None:
            self.keys.add(token)
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                told, status = response.read(), response.status
        except urllib.error.HTTPError as error:
            told, status = error.read(), error.code
        try:
            return status, json.loads(told)
        except ValueError:
            return status, told.decode()

    def raw(self, sent: bytes) -> None:
        """Send something that is perhaps no HTTP, and hang up."""
        with socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=10) as connection:
            connection.sendall(sent)
            connection.settimeout(0.5)
            with contextlib.suppress(OSError):
                connection.recv(1000)


@pytest.fixture
def call(port: int) -> Caller:
    return Caller(port)


def play(
    call: Caller, simulator: StripeSimulator, engine: Engine, sessions: sessionmaker[Session], vault: Vault
) -> None:
    """All that a company does, and much that it should not."""
    _, sandboxed = call("POST", "/v1/companies", {"processor_key": PROCESSOR_KEY})
    stripe_key = simulator.new_key()
    _, striped = call("POST", "/v1/companies", {"processor_key": stripe_key, "processor": "stripe"})
    call.keys |= {PROCESSOR_KEY, stripe_key}
    key = sandboxed["api_key"]

    _, customer = call("POST", "/v1/customers", key=key)
    _, plan = call("POST", "/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": 500}, key=key)
    for card in ("ok", "declined", "stolen", "bug", "unreachable", "lost-after-charge", "revoked-key"):
        order = {"customer_guid": customer["guid"], "amount": 500, "funding_instrument_uri": f"/cards/{card}"}
        assert call("POST", "/v1/invoices", order, key=key)[0] == 200
        assert call("POST", "/v1/subscriptions", {**order, "plan_guid": plan["guid"]}, key=key)[0] == 200
    _, customer = call("POST", "/v1/customers", key=striped["api_key"])
    for behavior in ("pm_card_visa", "pm_card_visa_chargeDeclined"):
        order = {"customer_guid": customer["guid"], "amount": 500, "funding_instrument_uri": behavior}
        call("POST", "/v1/invoices", order, key=striped["api_key"])

    # Nobody, and what is refused. A key in the wrong place is a secret too.
    for wrong in ("a-wrong-key-5Tz8", f"{key}x"):
        assert call("GET", "/v1/plans", key=wrong)[0] == 401
    assert call("GET", "/metrics", token="a-wrong-token-3Vc6")[0] == 401
    assert call("GET", "/metrics", token=TOKEN)[0] == 200
    assert call("GET", f"/v1/plans/{key}", key=key)[0] == 404
    assert call("GET", f"/v1/plans?limit=x&api_key={key}", key=key)[0] == 400
    assert call("POST", "/v1/companies", {"processor_key": PROCESSOR_KEY * 20})[0] == 400
    assert call("POST", "/v1/companies", {"processor_key": PROCESSOR_KEY, "processor": PROCESSOR_KEY})[0] == 400
    assert call("POST", "/v1/companies", f'{{"processor_key": "{PROCESSOR_KEY}"'.encode())[0] == 400

    with sessions() as session:
        companies = session.scalars(select(Company)).all()
        opened = {each.guid: [vault.open(sealed) for sealed in each.sealed_secrets] for each in companies}
        paths = {each.guid: urllib.parse.urlsplit(each.callback_url(vault)).path for each in companies}
    call.keys |= {secret for secrets in opened.values() for secret in secrets}
    path = paths[sandboxed["guid"]]
    assert call("POST", path, {"not": "an event"})[0] == 400
    assert call("GET", path)[0] == 405
    assert call("POST", path.rstrip("/") + "x", {})[0] == 404
    call("POST", paths[striped["guid"]], {"id": "evt_1", "object": "event"})

    basic = base64.b64encode(f"{key}:".encode())
    call.raw(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf a bo" % path.encode())
    call.raw(b"POST %s HTTP/7.9\r\nHost: x\r\n\r\n" % path.encode())
    call.raw(b"PO ST %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    call.raw(b"GET /v1/plans HTTP/1.1\r\nHost: x\r\nAuthorization Basic %s\r\n\r\n" % basic)
    call.raw(b"GET /v1/plans HTTP/1.1\r\nHost: x\r\nAuthorization : Basic %s\r\n\r\n" % basic)

    # A database that is not as it should be, in the middle of what holds a secret.
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE api_key RENAME TO away"))
    assert call("POST", "/v1/companies", {"processor_key": PROCESSOR_KEY})[0] == 500
    assert call("GET", "/v1/plans", key=key)[0] == 500
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO api_key"))
    assert call("GET", "/health/ready")[0] == 200


def spellings(secret: str) -> set[str]:
    """As it stands, quoted, and in base64, alone or as the user name of HTTP basic authentication."""
    encoded = {base64.b64encode(each.encode()).decode().rstrip("=")[:-1] for each in (secret, f"{secret}:")}
    return {secret, urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}


def lines_of(started: Started) -> list[dict[str, Any]]:
    """All that it printed."""
    assert [line for line in started.lines if not line.startswith("{")] == []
    return [json.loads(line) for line in started.lines]


def test_a_whole_runs_logs_can_be_read_and_hold_no_secret(
    start: Start,
    ini_file: Path,
    environment: dict[str, str],
    call: Caller,
    simulator: StripeSimulator,
    engine: Engine,
    sessions: sessionmaker[Session],
    vault: Vault,
    settings: Any,
) -> None:
    server = start("pyramid.scripts.pserve", "-q", ini_file, **environment)
    server.wait_for("Serving on" if "waitress" in ini_file.read_text() else "Booting worker")
    play(call, simulator, engine, sessions, vault)
    runs = [start("billy.scripts", "process-transactions", ini_file, **environment) for _ in range(2)]
    for run in runs:
        assert run.end() == 1, "an adapter crashed, and a key was refused"
    server.process.terminate()
    server.end()

    secrets = call.keys | {TOKEN, PASSWORD, *environment["BILLY_SECRET_KEYS"].split()}
    assert len(secrets) == 14, "seven of two companies, three that are wrong, four of the settings"
    output = server.output + "".join(run.output for run in runs)
    told = {spelling for secret in secrets for spelling in spellings(secret)}
    assert [line for line in output.splitlines() if any(spelling in line for spelling in told)] == []

    requests = [line for line in lines_of(server) if line["event"] == "request_finished"]
    assert len(requests) > 30
    for line in requests:
        assert {"request_id", "method", "route", "status", "milliseconds", "queries", "timestamp"} <= line.keys()
        assert line["level"] == ("warning" if line["status"] >= 500 else "info")
        assert ("error" in line) == (line["status"] >= 400)
    assert sum("company" in line for line in requests) > 20
    crashes = [line for line in lines_of(server) if line["event"] == "request_crashed"]
    assert len(crashes) == 2
    assert all("UndefinedTable" in line["exception"] and line["level"] == "error" for line in crashes)

    for run in runs:
        *told, summary = lines_of(run)
        [finished] = [line for line in told if line["event"] == "run_finished"]
        assert finished["run"].startswith("RN")
        assert {name: finished[name] for name in summary} == summary
        assert {line.get("run") for line in told if line["logger"].startswith("billy.")} == {finished["run"]}
    assert len({finished["run"] for finished in (lines_of(run)[-2] for run in runs)}) == 2
