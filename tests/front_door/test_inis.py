"""The inis as they stand."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from billy.scripts.common import read_ini
from billy.scripts.processes import server_url
from billy.secrets import new_secret_key
from billy.settings import Settings

from .conftest import ROOT, Start

PRODUCTION = ROOT / "production.ini"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BILLY_DATABASE_URL", "postgresql://billy@localhost/billy")
    monkeypatch.setenv("BILLY_SECRET_KEYS", f"{new_secret_key()} {new_secret_key()}")


@pytest.mark.usefixtures("secrets")
def test_productions_options_are_right() -> None:
    settings = Settings.load(read_ini(str(PRODUCTION)))

    assert settings.database_url == "postgresql+psycopg2://billy@localhost/billy"
    assert len(settings.secret_keys) == 2
    assert (settings.log_format, settings.pretty_print) == ("json", False)


@pytest.mark.usefixtures("secrets")
def test_productions_server_waits_longer_than_a_request_may_take() -> None:
    settings = Settings.load(read_ini(str(PRODUCTION)))
    server = read_ini(str(PRODUCTION), "server:main")

    # The deadline is for a call's end; recording it takes a moment, and the last call may overrun a little.
    needed = settings.request_deadline.total_seconds() + settings.call_deadline.total_seconds()
    assert float(server["timeout"]) > needed
    assert float(server["graceful_timeout"]) > needed


@pytest.mark.parametrize("processor", ["balanced", "stripe"])
def test_a_processors_options_are_right_and_only_the_processors_differ_from_developments(
    tmp_path: Path, processor: str
) -> None:
    inis = {}
    for name in ("development", processor):
        text = (ROOT / f"{name}.ini").read_text()
        (tmp_path / ".billy-secrets").write_text(new_secret_key())
        (tmp_path / f"{name}.ini").write_text(text)
        options = read_ini(str(tmp_path / f"{name}.ini"))
        Settings.load(options)
        inis[name] = set(options)
    differing = {option.rpartition(".")[0] for option in inis["development"] ^ inis[processor]}
    assert differing <= {"billy", "billy.sandbox", f"billy.{processor}", "billy.company"}


def test_the_readme_names_developments_address() -> None:
    assert server_url(str(ROOT / "development.ini")) == "http://127.0.0.1:6543"


def test_development_retries_sooner_than_it_says_is_the_default() -> None:
    default = Settings.model_fields["retry_schedule"].default

    assert f"{default}." in re.sub(r"\n# ", " ", (ROOT / "development.ini").read_text())


@pytest.mark.parametrize("command", [["pyramid.scripts.pserve", PRODUCTION], ["billy.scripts", "init-db", PRODUCTION]])
def test_without_its_secrets_production_does_not_start(
    start: Start, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in ("BILLY_DATABASE_URL", "BILLY_SECRET_KEYS"):
        monkeypatch.delenv(name, raising=False)
    refused = start(*command)

    assert refused.end() != 0
    for name in ("BILLY_DATABASE_URL", "BILLY_SECRET_KEYS"):
        assert f"the environment variable {name} is not set" in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.postgresql
def test_production_serves(start: Start, database_url: str, port: int, tmp_path: Path) -> None:
    ini = tmp_path / "production.ini"
    text = PRODUCTION.read_text().replace("127.0.0.1:6543", f"127.0.0.1:{port}")
    text = text.replace("billy.registration = closed", "billy.registration = open")
    ini.write_text(text.replace("/var/lib/billy", str(tmp_path)))
    env = {"BILLY_DATABASE_URL": database_url, "BILLY_SECRET_KEYS": new_secret_key()}
    server = start("pyramid.scripts.pserve", ini, **env)
    for _ in range(4):  # workers
        server.wait_for("Booting worker")

    guids = {_register(f"http://127.0.0.1:{port}", number) for number in range(12)}
    listed = start("billy.scripts", "list-companies", "--json", ini, **env)
    assert listed.end() == 0, listed.output
    assert {json.loads(line)["guid"] for line in listed.lines} == guids

    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0, server.output
    for line in server.output.splitlines():
        if "request_finished" in line:
            json.loads(line)


def _register(url: str, number: int) -> str:
    request = urllib.request.Request(f"{url}/v1/companies", data=f"processor_key=key-{number}".encode())
    with urllib.request.urlopen(request, timeout=30) as response:
        guid: str = json.loads(response.read())["guid"]
        return guid
