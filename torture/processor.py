"""A processor behind real sockets, an adapter that speaks to it, and everything that can go wrong between them.

The service has the sandbox's books, and is not idempotent unless it is told to be. Faults come from a deck,
one for each request that it fits, until the deck is used up: so each story has an end.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from billy.errors import InvalidRequest, OutcomeUnknown, ProcessorError, Refused, Unavailable
from billy.processors.base import Callback, Receipt, ReceiptStatus, Submission, SubmissionType
from billy.processors.sandbox import Sandbox


class HttpOptions(BaseModel):
    """The options ``billy.http.…``."""

    url: str


class Http:
    """The factory of adapters."""

    name: ClassVar[str] = "http"
    options: ClassVar[type[BaseModel]] = HttpOptions

    def __init__(self, options: HttpOptions, *, call_deadline: float) -> None:
        self._address = urlsplit(options.url).netloc
        self._deadline = call_deadline

    def __call__(self, processor_key: str) -> HttpProcessor:
        """The adapter for one company."""
        return HttpProcessor(self._address, self._deadline, processor_key)


class HttpProcessor:
    """Speaks to the service below. One connection a call, and one deadline for all of it."""

    def __init__(self, address: str, deadline: float, processor_key: str) -> None:
        self._address = address
        self._deadline = deadline
        self._key = processor_key

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        """As ``Processor`` says, like all that follow."""
        return str(self._ask("create_customer", customer_guid))

    def validate_customer(self, uri: str) -> None:
        self._ask("validate_customer", uri)

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        self._ask("validate_funding_instrument", uri, purpose, customer_uri)

    def register_callback(self, url: str) -> None:
        self._ask("register_callback", url)

    def submit(self, submission: Submission) -> Receipt:
        return _receipt(self._ask("submit", asdict(submission)))

    def look_up(self, submission: Submission) -> Receipt | None:
        found = self._ask("look_up", asdict(submission))
        return None if found is None else _receipt(found)

    def read_callback(self, body: bytes, headers: Mapping[str, str]) -> Callback | None:
        told = self._ask("read_callback", body.decode())
        if told is None:
            return None
        occurred_at = datetime.fromisoformat(told["occurred_at"])
        return Callback(told["event_id"], told["transaction_guid"], occurred_at, _receipt(told["receipt"]))

    def _ask(self, method: str, *arguments: Any) -> Any:
        give_up = time.monotonic() + self._deadline
        connection = http.client.HTTPConnection(self._address, timeout=self._deadline)
        try:
            connection.connect()
        except OSError as error:
            raise Unavailable(f"The processor cannot be reached: {error}") from error
        # A time-out of the socket is one for each read. This one ends them all.
        wire = connection.sock
        watchdog = threading.Timer(give_up - time.monotonic(), _hang_up, (wire,))
        watchdog.start()
        try:
            connection.request("POST", f"/{method}", json.dumps({"key": self._key, "arguments": arguments}))
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OutcomeUnknown(f"The processor's answer was lost: {type(error).__name__}") from error
        finally:
            watchdog.cancel()
            connection.close()
        if status == 200:
            return answer
        if status == 402:
            raise Refused(**answer)
        if status == 400:
            raise InvalidRequest(answer)
        raise OutcomeUnknown(f"The processor answered {status}")


def _hang_up(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)


def _receipt(values: Mapping[str, Any]) -> Receipt:
    return Receipt(**{**values, "status": ReceiptStatus(values["status"])})


class Fault(StrEnum):
    """What happens to a request, or to the answer; charges are made where it does not say otherwise."""

    ERROR_BEFORE = "500 before the charge"
    UNAVAILABLE_BEFORE = "503 before the charge"
    RESET_BEFORE = "reset before the charge"
    SILENCE_BEFORE = "silence, and no charge"
    ERROR_AFTER = "500 after the charge"
    UNAVAILABLE_AFTER = "503 after the charge"
    RESET_AFTER = "reset after the charge"
    LOST_AFTER = "answer lost after the charge"
    HALF = "half an answer after the charge"
    TRICKLE = "an answer that never ends after the charge"
    SILENCE_AFTER = "silence after the charge"
    LATE = "the charge is made when nobody waits for it any more"
    REFUSED = "refused connections for a while after this"
    CLOGGED = "connections that time out for a while after this"
    TWICE = "delivered twice"


BEFORE = {Fault.ERROR_BEFORE, Fault.UNAVAILABLE_BEFORE, Fault.RESET_BEFORE, Fault.SILENCE_BEFORE}

READING = (Fault.ERROR_BEFORE, Fault.RESET_BEFORE, Fault.SILENCE_BEFORE, Fault.LOST_AFTER, Fault.HALF)
"""What can happen to a request that changes nothing."""

TOO_LONG = 0.8
"""Seconds after which nobody waits for an answer any more."""

LATE = 1.2
"""Seconds after which a charge is made after all: less than deadline and settle time, more than a retry."""

WHILE = 0.7
"""Seconds that the service is away at a time: longer than a call."""


Deck = list[Fault | None]


class Service:
    """The processor. ``with Service.open(…) as service:`` it listens at ``service.url``."""

    def __init__(self, sandbox: Sandbox, submit_faults: Deck, other_faults: Deck) -> None:
        self._sandbox = sandbox
        self._faults = {True: submit_faults, False: other_faults}
        self._lock = threading.Lock()
        self._front = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._address = self._server.server_address
        self.injected = 0
        self.mistakes: list[str] = []

    @classmethod
    @contextmanager
    def open(cls, sandbox: Sandbox, submit_faults: Deck, other_faults: Deck) -> Iterator[Service]:
        """It listens until the block ends."""
        service = cls(sandbox, submit_faults, other_faults)
        service._listen()
        try:
            yield service
            assert not service.mistakes, service.mistakes
        finally:
            with service._front:
                service._close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._address[1]}"

    @property
    def faults_left(self) -> int:
        """How many are still to come, for submissions."""
        return len(self._faults[True])

    def next_fault(self, method: str) -> Fault | None:
        """What happens to this request."""
        with self._lock:
            deck = self._faults[method == "submit"]
            fault = deck.pop() if deck else None
            self.injected += fault is not None
        return fault

    def answer(self, method: str, key: str, arguments: list[Any]) -> tuple[int, Any]:
        """What the processor does and says, if nothing goes wrong."""
        if method in ("submit", "look_up"):
            arguments = [Submission(**{**arguments[0], "type": SubmissionType(arguments[0]["type"])})]
        elif method == "read_callback":
            arguments = [arguments[0].encode(), {}]
        try:
            answer = getattr(self._sandbox(key), method)(*arguments)
        except Refused as error:
            return 402, {"message": str(error), "code": error.code, "number": error.number, "hard": error.hard}
        except InvalidRequest as error:
            return 400, str(error)
        except ProcessorError as error:
            return 500, str(error)
        return 200, asdict(answer) if isinstance(answer, Receipt | Callback) else answer

    def go_away(self, fault: Fault) -> None:
        """Stop listening for a while, in one way or the other."""
        if not self._front.acquire(blocking=False):
            return  # it is away already
        try:
            self._close()
            if fault is Fault.REFUSED:
                time.sleep(WHILE)
            else:
                # Nobody accepts, and the queue is full: whoever knocks now hears nothing.
                with contextlib.ExitStack() as queue:
                    deaf = queue.enter_context(socket.socket())
                    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    deaf.bind(self._address)
                    deaf.listen(0)
                    for _ in range(2):
                        knocking = queue.enter_context(socket.socket())
                        knocking.setblocking(False)
                        knocking.connect_ex(self._address)
                    time.sleep(WHILE)
            self._server = _Server(self._address, _Handler)
            self._listen()
        finally:
            self._front.release()

    def _listen(self) -> None:
        self._server.service = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    service: Service
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hung up does not want to hear of it; anything else is a mistake of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.service.mistakes.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Every call."""
        service, method = self.server.service, self.path[1:]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = service.next_fault(method)
        if fault is Fault.LATE:
            time.sleep(LATE)
        if fault is Fault.SILENCE_BEFORE:
            time.sleep(TOO_LONG)
        if fault in BEFORE:
            self._go_wrong(fault)
            return
        status, answer = service.answer(method, body["key"], body["arguments"])
        if fault is Fault.TWICE:
            status, answer = service.answer(method, body["key"], body["arguments"])
        told = json.dumps(answer, default=datetime.isoformat).encode()
        if fault is Fault.SILENCE_AFTER:
            time.sleep(TOO_LONG)
        if fault in (Fault.REFUSED, Fault.CLOGGED):
            threading.Thread(target=service.go_away, args=(fault,), daemon=True).start()
        if fault is None or fault in (Fault.TWICE, Fault.REFUSED, Fault.CLOGGED):
            self._say(status, told)
        else:
            self._go_wrong(fault, told)

    def _go_wrong(self, fault: Fault, answer: bytes = b"{}") -> None:
        match fault:
            case Fault.ERROR_BEFORE | Fault.ERROR_AFTER:
                self._say(500, b'"Something went wrong"')
            case Fault.UNAVAILABLE_BEFORE | Fault.UNAVAILABLE_AFTER:
                self._say(503, b'"Try again later"')
            case Fault.RESET_BEFORE | Fault.RESET_AFTER:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case Fault.HALF:
                self._say(200, answer[: len(answer) // 2], length=len(answer))
            case Fault.TRICKLE:
                self._say(200, b"", length=1_000_000)
                for _ in range(100):
                    self.wfile.write(b" ")
                    time.sleep(0.1)
            case _:
                pass  # silence
        self.close_connection = True

    def _say(self, status: int, body: bytes, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base class's name
        """Nobody reads it."""
