"""``billy demo``: that it passes, and that it would not if an answer were wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from billy.scripts import reference
from billy.scripts.player import BillyPlayer, HttpPlayer, Player, StoryEnded
from billy.testing.localstripe import LEFT_OUT
from tests.processors.localstripe import IS_INSTALLED

from .conftest import Start


def test_the_story_ends_well(start: Start) -> None:
    demo = start("billy.scripts", "demo", COLUMNS="200")

    assert demo.end() == 0, demo.output
    assert "answers were right." in demo.output
    assert "✗" not in demo.output
    for path in ("POST /v1/invoices/IV…/refund", "PUT /v1/invoices/IV…", "POST /v1/companies/CP…/callbacks/…"):
        assert path in demo.output
    assert "api_key" not in demo.output


def test_the_story_with_balanced_ends_well(start: Start) -> None:
    demo = start("billy.scripts", "demo", "--processor", "balanced", COLUMNS="300")

    assert demo.end() == 0, demo.output
    assert "answers were right." in demo.output
    assert "✗" not in demo.output
    for told in ("BAL*FooBar Hosting", "billy.transaction_guid", "POST /simulator/settle", "/cancel", "/refund"):
        assert told in demo.output
    assert "ak-test-" not in demo.output


def test_the_story_with_stripe_ends_well(start: Start) -> None:
    demo = start("billy.scripts", "demo", "--processor", "stripe", COLUMNS="300")

    assert demo.end() == 0, demo.output
    assert "answers were right." in demo.output
    assert "✗" not in demo.output
    for told in ("/v1/payment_intents/pi_", "/v1/refunds/re_", "POST /simulator/disputes", "409", "/refund"):
        assert told in demo.output
    assert "sk_test_" not in demo.output
    assert "whsec_" not in demo.output


@pytest.mark.localstripe
@pytest.mark.skipif(not IS_INSTALLED, reason="localstripe is not installed")
def test_the_story_with_localstripe_ends_well(start: Start) -> None:
    demo = start("billy.scripts", "demo", "--processor", "localstripe", COLUMNS="300")

    assert demo.end() == 0, demo.output
    assert "answers were right." in demo.output
    assert "✗" not in demo.output
    for told in ("/v1/payment_intents/pi_", "/v1/refunds/re_", "1 failed", "Stripe's payments agree", "/refund"):
        assert told in demo.output
    for parameter in sorted(*LEFT_OUT.values()):
        assert parameter in demo.lines[-1]
    assert "sk_test_" not in demo.output


def test_without_localstripe_the_demo_says_what_to_install(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['localstripe'] = None")
    demo = start("billy.scripts", "demo", "--processor", "localstripe", PYTHONPATH=str(tmp_path))

    assert demo.end() == 2
    assert "localstripe is not installed: pip install 'billy[localstripe]'" in demo.output


@pytest.mark.parametrize("processor", ["balanced", "stripe", "localstripe"])
def test_a_processor_is_never_played_on_somebodys_server(start: Start, development_ini: Any, processor: str) -> None:
    given = (development_ini, "--url", "http://127.0.0.1:9")
    assert start("billy.scripts", "demo", "--processor", processor, *given).end() == 2


def test_it_plays_against_a_server_that_runs(start: Start, development_ini: Any, port: int) -> None:
    development_ini.write_text(development_ini.read_text().replace("retry_schedule = 5s", "retry_schedule = 1s"))
    start("billy.scripts", "serve", development_ini).wait_for("curl ")
    demo = start("billy.scripts", "demo", development_ini, "--url", f"http://127.0.0.1:{port}")

    assert demo.end() == 0, demo.output


def test_a_server_needs_its_settings(start: Start) -> None:
    assert start("billy.scripts", "demo", "--url", "http://127.0.0.1:9").end() == 2


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that answers everything with ``server.answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.answer  # type: ignore[attr-defined]  # set by the test
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


RIGHT = {
    "guid": "PL1",
    "company_guid": "CP1",
    "plan_type": "debit",
    "frequency": "monthly",
    "interval": 1,
    "amount": 500,
    "name": None,
    "description": None,
    "external_id": None,
    "deleted": False,
    "created_at": "2014-02-08T08:22:11.508000+00:00",
    "updated_at": "2014-02-08T08:22:11+00:00",
}


Play = Callable[..., Player]


def ask_billy(server: ThreadingHTTPServer) -> Player:
    """One step, through the client."""
    player = BillyPlayer(f"http://127.0.0.1:{server.server_port}", run_scheduler=lambda: None)
    player.play(lambda: player.ask("A plan", lambda: player.billy.plans.get("PL1"), fields=reference.PLAN, amount=500))
    return player


def ask_a_processor(server: ThreadingHTTPServer) -> Player:
    """The same, over plain HTTP."""
    player = HttpPlayer(f"http://127.0.0.1:{server.server_port}", [])
    with suppress(StoryEnded):
        player.ask("A plan", "GET", "/v1/plans/PL1", fields=reference.PLAN, amount=500)
    return player


@pytest.fixture(params=[ask_billy, ask_a_processor])
def player(request: pytest.FixtureRequest) -> Play:
    """Plays one step against a server that answers so."""

    def play(server: ThreadingHTTPServer, answer: Any, status: int = 200) -> Player:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        server.answer = (status, body)  # type: ignore[attr-defined]  # the handler reads it
        played: Player = request.param(server)
        return played

    return play


def test_a_right_answer_is_right(player: Play, server: ThreadingHTTPServer) -> None:
    assert player(server, RIGHT).mistakes == []


@pytest.mark.parametrize(
    "wrong, mistake",
    [
        ({"amount": "500"}, "amount is '500'"),
        ({"amount": True}, "amount is True"),
        ({"amount": 501}, "amount is 501 instead of 500"),
        ({"deleted": 0}, "deleted is 0"),
        ({"guid": None}, "guid is None"),
        ({"frequency": "hourly"}, "frequency is 'hourly'"),
        ({"created_at": "2014-02-08T08:22:11.508000"}, "created_at is '2014-02-08T08:22:11.508000'"),
        ({"created_at": "yesterday+00:00"}, "created_at is 'yesterday+00:00'"),
    ],
)
def test_a_wrong_field_is_told(player: Play, server: ThreadingHTTPServer, wrong: dict[str, Any], mistake: str) -> None:
    assert f"A plan: {mistake}" in player(server, {**RIGHT, **wrong}).mistakes


def test_a_missing_field_is_told(player: Play, server: ThreadingHTTPServer) -> None:
    del (answer := dict(RIGHT))["interval"]

    assert player(server, answer).mistakes == ["A plan: interval is missing"]


@pytest.mark.parametrize("answer, status", [(RIGHT, 201), ({"error_class": "NotFound", "error_message": "No"}, 404)])
def test_another_status_is_told(player: Play, server: ThreadingHTTPServer, answer: Any, status: int) -> None:
    [mistake] = player(server, answer, status).mistakes
    assert mistake.startswith(f"A plan: answered {status} instead of 200")


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"null", b""])
def test_an_answer_that_is_no_object_is_told(player: Play, server: ThreadingHTTPServer, answer: bytes) -> None:
    assert "A plan: guid is missing" in player(server, answer).mistakes


def test_an_answer_that_the_client_cannot_read_is_told(server: ThreadingHTTPServer) -> None:
    del (answer := dict(RIGHT))["external_id"]  # which was not promised in 2014
    server.answer = (200, json.dumps(answer).encode())  # type: ignore[attr-defined]  # the handler reads it

    [mistake] = ask_billy(server).mistakes
    assert "the client cannot read it" in mistake
    assert "'external_id' is missing" in mistake


def test_without_requests_it_says_what_to_install(start: Start, tmp_path: Path) -> None:
    (tmp_path / "requests.py").write_text("raise ImportError('there is none')")
    demo = start("billy.scripts", "demo", PYTHONPATH=str(tmp_path))

    assert demo.end() == 2
    assert "Billy's client needs requests: pip install 'billy[client]'" in demo.output
    assert "Traceback" not in demo.output


def test_a_server_that_is_gone_is_told() -> None:
    gone = BillyPlayer("http://127.0.0.1:9", run_scheduler=lambda: None)
    gone.play(lambda: gone.ask("A plan", lambda: gone.billy.plans.get("PL1"), fields=reference.PLAN))

    [mistake] = gone.mistakes
    assert "does not answer" in mistake


def test_the_story_stops_at_the_first_mistake_and_the_demo_fails(
    start: Start, server: ThreadingHTTPServer, development_ini: Any
) -> None:
    server.answer = (200, b"{}")  # type: ignore[attr-defined]  # the handler reads it
    start("billy.scripts", "init-db", development_ini).end()
    demo = start("billy.scripts", "demo", development_ini, "--url", f"http://127.0.0.1:{server.server_port}")

    assert demo.end() == 1
    assert "Error: not every answer was right" in demo.output
    assert "The server says what it is: server is missing" in demo.output
    assert "A company registers" not in demo.output


@pytest.mark.parametrize(
    "value, check, is_right",
    [
        (None, reference.optional(reference.number), True),
        ("", reference.text, False),
        ([{"amount": 1, "reason": None}], reference.list_of(reference.ADJUSTMENT), True),
        ([{"amount": 1}], reference.list_of(reference.ADJUSTMENT), False),
        ({}, reference.list_of(reference.ADJUSTMENT), False),
    ],
)
def test_the_checks_tell_right_from_wrong(value: object, check: reference.Check, is_right: bool) -> None:
    assert check(value) is is_right
