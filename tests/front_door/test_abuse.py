"""production.ini and development.ini against those who mean no good, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from billy.secrets import new_secret_key

from .conftest import ROOT, Start, Started

TOKEN = new_secret_key()
MEBIBYTE = 1_048_576


@pytest.fixture
def production(start: Start, database_url: str, port: int, tmp_path: Path) -> Callable[..., Started]:
    """Serves production.ini as it stands, but for its port, its files and some lines; ``.command`` runs the others."""
    env = {
        "BILLY_DATABASE_URL": database_url,
        "BILLY_SECRET_KEYS": new_secret_key(),
        "BILLY_REGISTRATION_TOKEN": TOKEN,
    }

    def serve(*changes: tuple[str, str]) -> Started:
        text = (ROOT / "production.ini").read_text()
        for old, new in (("127.0.0.1:6543", f"127.0.0.1:{port}"), ("/var/lib/billy", str(tmp_path)), *changes):
            assert old in text
            text = text.replace(old, new)
        ini = tmp_path / "production.ini"
        ini.write_text(text)
        server = start("pyramid.scripts.pserve", ini, **env)
        for _ in range(4):  # workers
            server.wait_for("Booting worker")
        return server

    serve.command = lambda name, *more: start("billy.scripts", name, tmp_path / "production.ini", *more, **env)
    return serve


BY_TOKEN = (
    ("billy.registration = closed\n", "billy.registration = token\n"),
    ("# billy.registration_token =", "billy.registration_token ="),
)


def call(
    port: int, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
) -> http.client.HTTPResponse:
    """The answer of a new connection, read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough; what it said stands
        connection.request(method, path, body=body, headers=named, encode_chunked="Transfer-Encoding" in named)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def register(port: int, **headers: str) -> http.client.HTTPResponse:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    return call(port, "POST", "/v1/companies", b"processor_key=a-key", **form, **headers)


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def test_in_production_nobody_registers_over_http_and_the_operator_does(
    production: Callable[..., Started], port: int
) -> None:
    production()
    refused = register(port, Authorization=f"Bearer {TOKEN}")
    assert (refused.status, json.loads(refused.text)["error_class"]) == (403, "RegistrationClosed")
    assert refused.headers["X-Content-Type-Options"] == "nosniff"

    made = production.command("create-company", "--processor-key", "a-key")
    assert made.end() == 0
    key = re.search("api_key: (.+)", made.output)[1]
    assert call(port, "GET", "/v1/plans", Authorization=basic(key)).status == 200


@pytest.mark.postgresql
def test_four_workers_share_a_limit_by_the_address_that_the_proxy_saw(
    production: Callable[..., Started], port: int
) -> None:
    production(*BY_TOKEN)
    token = {"Authorization": f"Bearer {TOKEN}"}
    made_up = [f"198.51.100.{number}, 203.0.113.7" for number in range(25)]
    statuses = [register(port, **token, X_Forwarded_For=each).status for each in made_up]
    assert statuses == [200] * 20 + [429] * 5
    refused = register(port, **token, X_Forwarded_For="203.0.113.7")
    assert 3000 < int(refused.headers["Retry-After"]) <= 3600
    assert register(port, **token, X_Forwarded_For="203.0.113.8").status == 200
    assert register(port, **token).status == 200
    assert register(port, X_Forwarded_For="203.0.113.8").status == 401


@pytest.mark.postgresql
def test_four_workers_share_what_they_know_of_a_revoked_key(production: Callable[..., Started], port: int) -> None:
    production(*BY_TOKEN)
    made = json.loads(register(port, Authorization=f"Bearer {TOKEN}").text)
    statuses = [call(port, "GET", "/v1/plans", Authorization=basic("revoked")).status for _ in range(24)]
    assert statuses == [401] * 10 + [429] * 14
    assert call(port, "GET", "/v1/plans", Authorization=basic(made["api_key"])).status == 200


def bodies_that_are_too_large(port: int) -> None:
    json_type = {"Content_Type": "application/json"}
    for path in ("/v1/companies", "/v1/plans"):
        whole = call(port, "POST", path, b"x" * (MEBIBYTE + 1), **json_type)
        chunked = call(port, "POST", path, iter([b"x" * 65536] * 20), Transfer_Encoding="chunked", **json_type)
        for answer in (whole, chunked):
            assert (answer.status, json.loads(answer.text)["error_class"]) == (413, "RequestEntityTooLarge")
            assert answer.headers["Cache-Control"] == "no-store"
    just_fits = call(port, "POST", "/v1/companies", iter([b"x" * 65536] * 16), Transfer_Encoding="chunked", **json_type)
    assert just_fits.status in (400, 403)
    assert call(port, "GET", "/health").status == 200


def test_behind_gunicorn_a_body_that_is_too_large_is_413_whole_or_chunked(
    production: Callable[..., Started], port: int
) -> None:
    production()
    bodies_that_are_too_large(port)


def test_behind_waitress_a_body_that_is_too_large_is_413_whole_or_chunked(
    start: Start, development_ini: Path, port: int
) -> None:
    start("billy.scripts", "serve", development_ini, "--every", "60s").wait_for("curl ")
    bodies_that_are_too_large(port)


def test_a_developer_registers_as_often_as_he_likes(start: Start, development_ini: Path, port: int) -> None:
    start("billy.scripts", "serve", development_ini, "--every", "60s").wait_for("curl ")
    assert {register(port).status for _ in range(30)} == {200}
