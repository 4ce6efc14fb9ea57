"""A company that is being tested beside one that must not move, its processor's callbacks, and scheduler runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from sqlalchemy import Engine, event, update
from webob import Request
from webtest import TestApp
from webtest.response import TestResponse

from billy.app import make_app
from billy.billing_run import run
from billy.models import Transaction
from billy.models.run import Summary
from billy.secrets import new_secret_key
from billy.settings import Settings
from tests.api.steps import Record
from tests.support.client import Api, Client
from tests.support.conformance import Conformance


@pytest.fixture(autouse=True)
def plain_tracebacks() -> Iterator[None]:
    """structlog, as it is before Billy sets it up, draws tracebacks with all local variables: that takes seconds."""
    before = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before[:-1], renderer])
    yield
    structlog.configure(processors=before)


@pytest.fixture(scope="session")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Conformance:
    """Checks what the API answers against the document that it serves."""
    options = {
        "sqlalchemy.url": f"sqlite:///{tmp_path_factory.mktemp('document')}/billy.sqlite",
        "billy.secret_keys": new_secret_key(),
        "billy.processor_factory": "billy.processors.sandbox.Sandbox",
    }
    return Conformance(TestApp(make_app(Settings.load(options))).get("/v1/openapi.json").json)


@pytest.fixture(autouse=True)
def conforming(conformance: Conformance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer to every test of the API is one that its document allows."""
    send = TestApp.do_request

    def checked(self: TestApp, request: Request, *arguments: Any, **options: Any) -> TestResponse:
        method, path = request.method, request.environ["PATH_INFO"]  # which the server may change
        response = send(self, request, *arguments, **options)
        assert conformance.mistakes(method, path, response) == []
        return response

    monkeypatch.setattr(TestApp, "do_request", checked)


@pytest.fixture
def company(api: Api, bystander: Any) -> Client:
    """A registered company; not a row of another one may change meanwhile."""
    return api.company()


@pytest.fixture
def bill(sessions: Any, settings: Any, submitter: Any, clock: Any) -> Callable[[], Summary]:
    """One scheduler run at the clock's time."""
    return lambda: run(sessions, settings, submitter, clock.now)


@pytest.fixture
def callback_path(sandbox: Any) -> Callable[..., str]:
    """The address that a company's processor was told to call."""

    def path(company: Client, processor_key: str = "a-processor-key") -> str:
        [url] = [url for url in sandbox.callbacks(processor_key) if company.guid in url]
        return urlsplit(url).path

    return path


@pytest.fixture
def call_back(api: Api, callback_path: Any) -> Callable[..., TestResponse]:
    """Deliver the body of an event, as the processor would."""

    def deliver(
        company: Client, body: bytes, *, processor_key: str = "a-processor-key", status: int = 200
    ) -> TestResponse:
        path, headers = callback_path(company, processor_key), {"Content-Type": "application/json"}
        return api.anonymous.post(path, body=body, headers=headers, status=status)

    return deliver


@pytest.fixture
def settle(sandbox: Any, call_back: Any) -> Callable[[Client, Record, str], Record]:
    """Let the processor say how a transaction ended, and tell the company."""

    def tell(company: Client, transaction: Record, status: str) -> Record:
        answer: Record = call_back(company, sandbox.settle(transaction["processor_uri"], status)).json
        return answer

    return tell


@pytest.fixture
def end_leases(sessions: Any, clock: Any) -> Callable[[], None]:
    """As if every claim were long past: its lease is over, and a look-up is conclusive."""

    def end() -> None:
        clock.move(hours=1)
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)  # leases are measured by the database's clock, not by ours
        with sessions.begin() as session:
            claimed = update(Transaction).where(Transaction.in_doubt.is_(True))
            session.execute(claimed.values(leased_until=long_ago, last_send_at=long_ago))

    return end


@pytest.fixture
def statements(app: Any) -> Callable[[], Any]:
    """``with statements() as seen``: the SQL that the application sent meanwhile."""

    @contextmanager
    def watch() -> Iterator[list[str]]:
        engine: Engine = app.app.registry["billy.engine"]
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                seen.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return watch
