"""``GET /metrics`` of production.ini's own server: its workers tell one story."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from billy.secrets import new_secret_key

from .conftest import ROOT, Start, Started

pytestmark = pytest.mark.postgresql

REQUESTS = 40


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {"BILLY_DATABASE_URL": database_url, "BILLY_SECRET_KEYS": new_secret_key()}


@pytest.fixture
def ini_file(port: int, tmp_path: Path) -> Path:
    text = (ROOT / "production.ini").read_text().replace("127.0.0.1:6543", f"127.0.0.1:{port}")
    text = text.replace("# billy.metrics = true", "billy.metrics = true").replace("workers = 4", "workers = 2")
    path = tmp_path / "production.ini"
    path.write_text(text.replace("/var/lib/billy", str(tmp_path)))
    return path


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:  # a connection each: any worker may answer
        told: str = response.read().decode()
    return told


def counted(url: str) -> float:
    """Requests of /health, by what is told of all of them."""
    for family in text_string_to_metric_families(get(f"{url}/metrics")):
        for sample in family.samples:
            if sample.name == "billy_http_requests_total" and sample.labels["route"] == "/health":
                return sample.value
    return 0


def workers(server: Started) -> list[int]:
    return [child.pid for child in psutil.Process(server.process.pid).children()]


def test_every_worker_tells_what_all_of_them_counted_and_a_dead_ones_counts_are_not_lost(
    start: Start, ini_file: Path, environment: dict[str, str], url: str, tmp_path: Path
) -> None:
    shared = tmp_path / "metrics"
    shared.mkdir()
    server = start("pyramid.scripts.pserve", "-q", ini_file, **environment, PROMETHEUS_MULTIPROC_DIR=str(shared))
    server.wait_for("Booting worker")

    for _ in range(REQUESTS):
        get(f"{url}/health")
    assert [counted(url) for _ in range(20)] == [REQUESTS] * 20
    took_part = {path.stem.partition("_")[2] for path in shared.glob("counter_*.db")}
    assert len(took_part & {str(pid) for pid in workers(server)}) == 2, "both workers answered"

    os.kill(workers(server)[0], signal.SIGKILL)
    for _ in range(REQUESTS):
        try:
            get(f"{url}/health")
        except urllib.error.URLError:  # the one that the killed worker had accepted
            get(f"{url}/health")
    told = {counted(url) for _ in range(20)}
    assert len(told) == 1
    assert told.pop() >= 2 * REQUESTS


def test_workers_that_share_nothing_say_so(
    start: Start, ini_file: Path, environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    start("pyramid.scripts.pserve", "-q", ini_file, **environment).wait_for("Booting worker")

    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        get(f"{url}/metrics")
    assert "PROMETHEUS_MULTIPROC_DIR" in refused.value.read().decode()
