"""Where the line between "not sent" and "may have been sent" runs, and that no call outlives its deadline."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from billy.processors import http
from billy.processors.http import Answer, AnswerLost, Deadline, HttpClient, NotSent
from tests.processors.wire import Act, Wire, be_silent, close, drip, raw, reset, say

SECONDS = 0.4
SLACK = 0.4

OK = say(200, b"{}")


@contextmanager
def client(url: str, *, connect_timeout: float = 10, read_timeout: float = 10) -> Iterator[HttpClient]:
    client = HttpClient(url, connect_timeout=connect_timeout, read_timeout=read_timeout, pool_size=4)
    yield client
    client.close()


def ask(client: HttpClient, *, seconds: float = SECONDS, body: bytes | None = b'{"amount": 1}') -> Answer:
    return client.request("POST", "/debits", headers={}, body=body, deadline=Deadline(seconds))


def test_an_answer_is_told_as_it_came() -> None:
    with Wire.open(say(418, b"tea", {"X-Pot": "short"})) as wire, client(wire.url) as to:
        answer = ask(to)
    assert (answer.status, answer.body, answer.headers["x-pot"]) == (418, b"tea", "short")
    [request] = wire.requests
    assert (request.line, request.body) == ("POST /debits HTTP/1.1", b'{"amount": 1}')


# --- not sent ---


def test_a_refused_connection_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with client(f"http://127.0.0.1:{port}") as to, pytest.raises(NotSent, match="refused"):
        ask(to)


def test_a_name_that_does_not_exist_sent_nothing() -> None:
    with client("http://billy-test.invalid") as to, pytest.raises(NotSent):
        ask(to)


@contextmanager
def deaf() -> Iterator[int]:
    """A port where connecting takes for ever: nobody accepts, and the queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("connect_timeout", "seconds"), [(0.2, 5.0), (5.0, 0.2)])
def test_a_connection_that_times_out_sent_nothing(connect_timeout: float, seconds: float) -> None:
    with deaf() as port, client(f"http://127.0.0.1:{port}", connect_timeout=connect_timeout) as to:
        began = time.monotonic()
        with pytest.raises(NotSent):
            ask(to, seconds=seconds)
    assert time.monotonic() - began < 0.2 + SLACK


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["no TLS", "silence"])
def test_a_tls_handshake_that_fails_sent_nothing(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with client(f"https://127.0.0.1:{listener.getsockname()[1]}") as to, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, to)
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                with pytest.raises(NotSent):
                    asked.result(SECONDS + SLACK)
                hello = connection.recv(65536)
    assert hello.startswith(b"\x16\x03"), "a hello, and no request"


def test_nothing_is_sent_after_the_deadline() -> None:
    with Wire.open(OK) as wire, client(wire.url) as to:
        with pytest.raises(NotSent):
            ask(to, seconds=0)
        ask(to)
        with pytest.raises(NotSent):  # not on a connection that is open already, either
            ask(to, seconds=0)
    assert len(wire.requests) == 1


def test_a_request_that_could_not_be_written_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset that comes in between the look whether the connection still stands, and the write."""
    was_read = threading.Event()

    def answer_and_reset(connection: socket.socket, over: threading.Event) -> bool:
        OK(connection, over)
        was_read.wait(10)
        return reset(connection, over)

    with Wire.open(answer_and_reset) as wire, client(wire.url) as to:
        ask(to)
        was_read.set()
        while wire.open_connections:
            time.sleep(0.001)
        monkeypatch.setattr(http._Connection, "is_connected", True)
        with pytest.raises(NotSent):
            ask(to)
    assert len(wire.requests) == 1


# --- may have been sent ---

LOST = {
    "not a word": close,
    "a reset": reset,
    "silence": be_silent,
    "half a status line": raw(b"HTTP/1.1 20"),
    "half a body": raw(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"),
    "half a chunk": raw(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "drops of a status line": drip(b"HTTP/1.1 20"),
    "drops of a head": drip(b"HTTP/1.1 201 Created\r\nX: "),
    "drops of a body": drip(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n"),
    "drops of chunks": drip(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n"),
    "drops without an end": drip(b"HTTP/1.1 201 Created\r\n\r\n{}"),
    "another answer meanwhile": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in LOST.items()])
def test_a_request_without_a_whole_answer_may_have_been_sent(act: Act) -> None:
    with Wire.open(act) as wire, client(wire.url) as to:
        began = time.monotonic()
        with pytest.raises(AnswerLost):
            ask(to)
        assert time.monotonic() - began < SECONDS + SLACK
    assert len(wire.requests) == 1, "it is not sent twice"


def test_the_longest_silence_ends_a_call_before_its_deadline() -> None:
    with Wire.open(be_silent) as wire, client(wire.url, read_timeout=0.2) as to:
        began = time.monotonic()
        with pytest.raises(AnswerLost):
            ask(to, seconds=30)
    assert time.monotonic() - began < 0.2 + SLACK


def test_an_answer_without_an_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1000)
    with Wire.open(say(200, b" " * 1001)) as wire, client(wire.url) as to, pytest.raises(AnswerLost):
        ask(to)


def test_a_kept_connection_that_is_closed_at_the_request_may_have_carried_it() -> None:
    with Wire.open(OK, close) as wire, client(wire.url) as to:
        ask(to)
        with pytest.raises(AnswerLost):
            ask(to)
    assert [request.connection for request in wire.requests] == [1, 1]


# --- connections ---


def test_a_connection_is_used_again() -> None:
    with Wire.open(OK) as wire, client(wire.url) as to:
        for _ in range(3):
            ask(to)
    assert wire.connections == 1


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    with Wire.open(OK) as wire, client(wire.url) as to:
        ask(to)
        wire.hang_up()
        assert ask(to).status == 200
    assert wire.connections == 2


def test_a_connection_that_idled_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire.open(OK) as wire, client(wire.url) as to:
        ask(to)
        monkeypatch.setattr(http, "KEEP_ALIVE", 0.0)
        ask(to)
    assert wire.connections == 2


def test_a_connection_whose_answer_was_lost_is_not_used_again() -> None:
    with Wire.open(be_silent, OK) as wire, client(wire.url) as to:
        with pytest.raises(AnswerLost):
            ask(to)
        ask(to)
    assert wire.connections == 2


def test_a_forked_child_does_not_read_its_parents_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire.open(OK) as wire, client(wire.url) as to:
        ask(to)
        monkeypatch.setattr(os, "getpid", lambda: 0)
        ask(to)
        to.close()
    assert wire.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with Wire.open(OK) as elsewhere:
        with Wire.open(say(status, b"", {"Location": f"{elsewhere.url}/debits"})) as wire, client(wire.url) as to:
            assert ask(to).status == status
    assert elsewhere.connections == 0
    assert len(wire.requests) == 1
