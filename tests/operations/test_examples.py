"""The units, the crontab and the configuration of nginx in docs/examples: right, and in step with production.ini."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from billy.scripts.common import read_ini
from billy.secrets import new_secret_key
from billy.settings import Settings, parse_duration

from .conftest import EXAMPLES, ROOT

SYSTEMD = EXAMPLES / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.glob("billy-*.*") if path.is_file())
SERVICES = [name for name in UNITS if name.endswith(".service")]
NGINX = (EXAMPLES / "nginx" / "billy.conf").read_text()

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with the programs where they are here."""
    copy = shutil.copytree(SYSTEMD, tmp_path / "units")
    for path in copy.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace("/srv/billy/.venv/bin", str(Path(sys.executable).parent)))
    return Path(copy)


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_against_a_unit(units: Path, unit: str) -> None:
    done = analyze(units, "verify", "--man=no", str(units / unit))

    told = [line for line in (done.stdout + done.stderr).splitlines() if "billy" in line]
    assert (done.returncode, told) == (0, []), done.stderr


@needs_systemd
def test_systemd_would_say_so(units: Path) -> None:
    unit = units / "billy-verify.service"
    unit.write_text(unit.read_text().replace("Type=oneshot", "Type=oneshot\nNoNewPrivilege=yes"))
    assert "NoNewPrivilege" in analyze(units, "verify", "--man=no", str(unit)).stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_exposed_to_little(units: Path, unit: str) -> None:
    done = analyze(units, "security", "--offline=yes", "--threshold=20", "--no-pager", str(units / unit))
    if "exposure level" not in done.stdout.lower():
        pytest.skip(f"this systemd cannot judge a file: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_runs_what_is_installed(unit: str) -> None:
    [command] = re.findall(r"^ExecStart=(.*)", (SYSTEMD / unit).read_text(), re.MULTILINE)
    program, *arguments = command.split()
    assert program in ("/srv/billy/.venv/bin/billy", "/srv/billy/.venv/bin/pserve")
    assert "/etc/billy/production.ini" in arguments


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, dict[str, str]]:
    """What production.ini says of the app, and of the server."""
    monkeypatch.setenv("BILLY_DATABASE_URL", "postgresql://billy@localhost/billy")
    monkeypatch.setenv("BILLY_SECRET_KEYS", new_secret_key())
    path = str(ROOT / "production.ini")
    return Settings.load(read_ini(path)), read_ini(path, "server:main")


def test_nobody_is_killed_before_he_has_finished(production: tuple[Settings, dict[str, str]]) -> None:
    settings, server = production
    stop = {name: re.search(r"TimeoutStopSec=(\d+)", (SYSTEMD / name).read_text()) for name in SERVICES}
    web = stop["billy-web.service"]
    assert web is not None and int(web[1]) > float(server["graceful_timeout"])
    for name in ("billy-process-transactions.service", "billy-scheduler.service"):
        scheduler = stop[name]
        assert scheduler is not None and int(scheduler[1]) > 2 * settings.call_deadline.total_seconds()


def test_systemd_listens_where_the_server_would(production: tuple[Settings, dict[str, str]]) -> None:
    _, server = production
    assert f"ListenStream={server['bind']}\n" in (SYSTEMD / "billy-web.socket").read_text()


def of_nginx(directive: str) -> str:
    [value] = re.findall(rf"^\s*{directive} ([^;]+);", NGINX, re.MULTILINE)
    return str(value)


def test_nginx_asks_the_server_of_production_and_waits_longer_than_that(
    production: tuple[Settings, dict[str, str]],
) -> None:
    settings, server = production
    assert f"server {server['bind']};" in NGINX
    assert parse_duration(of_nginx("proxy_read_timeout")).total_seconds() > float(server["timeout"])
    assert float(server["timeout"]) > settings.request_deadline.total_seconds()


def test_nginx_takes_as_large_a_body_as_billy(production: tuple[Settings, dict[str, str]]) -> None:
    settings, _ = production
    assert of_nginx("client_max_body_size") == f"{settings.maximum_body // 2**20}m"


def test_nginx_does_not_log_the_secret_of_a_callback() -> None:
    [location] = re.findall(r"location ~ (\S+) {\s+access_log off;", NGINX)
    assert re.search(location, "/v1/companies/CP1/callbacks/secret/")
    assert not re.search(location, "/v1/companies/CP1")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    names = ["-subj", "/CN=billy.example.com", "-keyout", "privkey.pem", "-out", "fullchain.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = NGINX.replace("/etc/ssl/billy", str(tmp_path))
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{text}\n}}\n")
    done = subprocess.run(["nginx", "-t", "-c", str(conf), "-p", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_crontab_names_the_same_files_as_the_units() -> None:
    crontab = (EXAMPLES / "cron" / "billy").read_text()
    assert "/srv/billy/.venv/bin/billy process-transactions /etc/billy/production.ini" in crontab
    assert "/srv/billy/.venv/bin/billy verify /etc/billy/production.ini" in crontab
    lines = [line for line in crontab.splitlines() if re.match(r"[*\d]", line)]
    assert all(line.split()[5] == "billy" for line in lines), "a crontab in /etc/cron.d names the user"
    assert "%" not in crontab, "cron ends a command there"


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("logger")), reason="bash or logger is not installed")
@pytest.mark.parametrize(("code", "mailed"), [(0, ""), (1, "process-transactions exited 1: journalctl -t billy\n")])
def test_the_crontab_mails_when_a_person_has_to_look(tmp_path: Path, code: int, mailed: str) -> None:
    crontab = (EXAMPLES / "cron" / "billy").read_text()
    [line] = [line for line in crontab.splitlines() if "process-transactions /etc" in line]
    command = line.split(maxsplit=6)[6]
    (tmp_path / "billy").write_text(f'#!/bin/sh\ntest -n "$BILLY_SECRET_KEYS" && echo counts && exit {code}\n')
    (tmp_path / "billy").chmod(0o755)
    (tmp_path / "environment").write_text("BILLY_SECRET_KEYS=secret\n")
    (tmp_path / "logger").write_text("#!/bin/sh\ncat > /dev/null\n")
    (tmp_path / "logger").chmod(0o755)
    command = command.replace("/etc/billy/environment", str(tmp_path / "environment"))
    command = command.replace("/srv/billy/.venv/bin", str(tmp_path))
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", command], env={"PATH": path}, capture_output=True, text=True, timeout=30)
    assert done.stdout + done.stderr == mailed
