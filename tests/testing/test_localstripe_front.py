"""The front before localstripe: what it leaves out, and that it leaves out nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from billy.testing.localstripe import LEFT_OUT, LocalstripeFront, markdown

ANSWER = b'{"error": {"message": "No such customer"}}\n'


class Behind(ThreadingHTTPServer):
    """Notes what it gets, as it gets it, and answers a 404 with headers of its own."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, list[tuple[str, str]], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Behind

    def _note(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.requestline, self.headers.items(), body))
        self.send_response(404)
        self.send_header("Content-Type", "text/strange; charset=utf-8")
        self.send_header("Content-Encoding", "unheard-of")
        self.send_header("Location", "/elsewhere")
        self.send_header("Request-Id", "req_1")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_POST = do_GET = do_DELETE = _note

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def behind() -> Iterator[Behind]:
    server = Behind()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def front(behind: Behind) -> Iterator[LocalstripeFront]:
    with LocalstripeFront.started(behind=behind.url) as front:
        yield front


def send(front: LocalstripeFront, method: str, target: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": "Bearer sk_test_1", "Idempotency-Key": "k-1", "Content-Type": "application/form"}
    return urllib3.request(
        method, front.url + target, body=body, headers=headers, retries=False, redirect=False, decode_content=False
    )


PAYMENT = b"amount=5&metadata[billy.key]=a%20b+c&metadata%5Bd%5D=&amount=5"


def test_a_payment_arrives_without_what_is_in_the_table(front: LocalstripeFront, behind: Behind) -> None:
    unknown = b"&description=a%26b=c&statement_descriptor_suffix=&automatic_payment_methods%5Benabled%5D=true"
    send(front, "POST", "/v1/payment_intents", PAYMENT + unknown + b"&automatic_payment_methods[allow_redirects]=never")

    assert behind.received[0][2] == PAYMENT
    assert front.left_out == LEFT_OUT["POST", "/v1/payment_intents"]


@pytest.mark.parametrize(
    "method, target",
    [
        ("POST", "/v1/customers"),
        ("POST", "/v1/payment_intents/pi_1"),
        ("POST", "/v1/payment_intents/pi_1/cancel"),
        ("POST", "/v1/refunds?description=1"),
        ("POST", "/v1/webhook_endpoints"),
        ("POST", "/simulator/ledger"),
    ],
)
def test_elsewhere_nothing_is_left_out(front: LocalstripeFront, behind: Behind, method: str, target: str) -> None:
    send(front, method, target, b"description=1&statement_descriptor_suffix=2")

    [(line, _, body)] = behind.received
    assert (line, body) == (f"{method} {target} HTTP/1.1", b"description=1&statement_descriptor_suffix=2")
    assert not front.left_out


@pytest.mark.parametrize("target", ["/v1/a%2Fb/%C3%A9?created[gte]=1&x=%5B+%20&x&description=2", "/v1/a?", "/"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_target_and_the_headers_arrive_as_they_were_sent(
    front: LocalstripeFront, behind: Behind, method: str, target: str
) -> None:
    headers = [("authorization", "Bearer sk_test_1"), ("stripe-version", "2026-10-28.endive"), ("x-any", "a, b")]
    connection = HTTPConnection("127.0.0.1", int(front.url.rpartition(":")[2]))
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    connection.getresponse().read()
    connection.close()

    [(line, received, body)] = behind.received
    assert (line, body) == (f"{method} {target} HTTP/1.1", b"")
    assert [(name.lower(), value) for name, value in received if name.lower() != "host"] == headers


def test_the_answer_arrives_as_it_was_given(front: LocalstripeFront) -> None:
    answer = send(front, "GET", "/v1/customers/cus_1")

    assert (answer.status, answer.data) == (404, ANSWER)
    for name, value in {
        "Content-Type": "text/strange; charset=utf-8",
        "Content-Encoding": "unheard-of",
        "Location": "/elsewhere",
        "Request-Id": "req_1",
    }.items():
        assert answer.headers.getlist(name) == [value]


def test_if_nobody_is_behind_it_nobody_answers() -> None:
    with LocalstripeFront.started(behind="http://127.0.0.1:9") as front:
        for target in ("/v1/customers", "/simulator/ledger"):
            with pytest.raises(urllib3.exceptions.ProtocolError):
                send(front, "POST", target, b"a=1")


def test_the_documents_table_is_ours() -> None:
    text = (Path(__file__).parents[2] / "docs" / "processors.md").read_text()
    assert markdown() in text, "print it again: python -m billy.testing.localstripe"
