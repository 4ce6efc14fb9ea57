"""What is sent again, and that it is done once; what is not; how long it takes; and what nobody gets to see."""

from __future__ import annotations

import logging
import os
import pickle
import random
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from billy import client as client_package
from billy.client import (
    Answer,
    Client,
    ConnectionFailed,
    DatabaseUnavailable,
    DuplicateExternalIDError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InternalServerError,
    InvalidOperationError,
    MoneyMoving,
    NotFound,
    ServerError,
    TooManyRequests,
    UnexpectedAnswer,
    UntrustedServer,
    ValidationError,
    transport,
)
from tests.client import double as faults
from tests.client.double import PLAN, Double, error, says

NEW_PLAN: dict[str, Any] = {"plan_type": "debit", "frequency": "monthly", "amount": 500}

STAMPS = {name: PLAN[name] for name in ("created_at", "updated_at")}

PASSING = {
    "lost before it was done": faults.lost_before,
    "lost after it was done": faults.lost_after,
    "half of an answer": faults.half,
    "half of an answer without a length": faults.half_chunked,
    "slow down": says(429, error("TooManyRequests"), Retry_After="0"),
    "a crash": says(500),
    "a proxy that lost the server": says(502, b"<html>Bad Gateway</html>"),
    "no database": says(503, error("DatabaseUnavailable"), Retry_After="0"),
    "a proxy that waited": says(504, b""),
    "still at work on it": says(409, error("StillAtWork"), Retry_After="0"),
}


# -- what is sent again ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_write_is_sent_again_with_the_same_key_and_done_once(billy: Client, double: Double, fault: Any) -> None:
    double.faults += [fault, fault]
    assert billy.plans.create(**NEW_PLAN).guid == "PL1"

    assert len(double.seen) == 3
    assert len(set(double.keys)) == 1
    assert double.keys[0]
    assert len({seen.body for seen in double.seen}) == 1
    assert len(double.effects) == 1


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_read_is_sent_again_without_a_key(billy: Client, double: Double, fault: Any) -> None:
    double.faults.append(fault)
    assert billy.plans.get("PL1").amount == 500
    assert double.keys == [None, None]


@pytest.mark.parametrize("write", ["PUT", "DELETE"])
def test_every_write_has_a_key(billy: Client, double: Double, write: str) -> None:
    double.faults.append(faults.lost_after)
    billy.request(write, "/v1/plans/PL1")
    assert len(set(double.keys)) == 1
    assert len(double.effects) == 1


def test_each_call_has_a_key_of_its_own(billy: Client, double: Double) -> None:
    billy.plans.create(**NEW_PLAN)
    billy.plans.create(**NEW_PLAN)
    assert len(double.effects) == 2


def test_a_key_of_ones_own_makes_two_calls_one(billy: Client, double: Double) -> None:
    seen: list[Answer] = []
    with Client(double.url, "a-key", watch=seen.append) as other:
        for each in (billy, other):
            each.plans.create(**NEW_PLAN, idempotency_key="order-42")
        with pytest.raises(IdempotencyKeyReused) as refused:
            other.plans.create(**{**NEW_PLAN, "amount": 501}, idempotency_key="order-42")
    assert len(double.effects) == 1
    assert [(answer.status, answer.replayed) for answer in seen] == [(200, True), (422, False)]
    assert refused.value.idempotency_key == "order-42"
    assert len(double.seen) == 3, "that would be refused again"


def test_a_registration_is_made_once_too(double: Double) -> None:
    double.body = {"guid": "CP1", "name": None, "api_key": "new-key", "processor": "sandbox", **STAMPS}
    double.faults.append(faults.lost_after)
    with Client.register(double.url, processor_key="a-processor-key") as billy:
        assert billy.api_key == "new-key"
        assert billy.company is not None
        assert billy.company.guid == "CP1"
    assert len(double.effects) == 1


def test_a_registration_token_is_the_anonymous_callers_alone(double: Double) -> None:
    double.body = {"guid": "CP1", "name": None, "api_key": "new-key", "processor": "sandbox", **STAMPS}
    with Client.register(double.url, processor_key="a-processor-key", registration_token="the-token") as billy:
        billy.companies.get("CP1")
    assert [seen.headers["Authorization"] for seen in double.seen] == ["Bearer the-token", "Basic bmV3LWtleTo="]
    with pytest.raises(ValueError, match="exclude each other"):
        Client(double.url, "a-key", "the-token")
    with pytest.raises(ValueError, match="no registration token") as raised:
        Client(double.url, registration_token="a b")
    assert "a b" not in str(raised.value)


# -- what is not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault, kind",
    [
        (says(409, error("InvalidOperationError")), MoneyMoving),
        (says(409, error("InvalidOperationError"), Retry_After="0"), MoneyMoving),
        (says(409, error("DuplicateExternalIDError")), DuplicateExternalIDError),
        (says(400, error("InvalidOperationError")), InvalidOperationError),
        (says(400, error("ValidationError", errors={"amount": ["Number must be at least 50."]})), ValidationError),
        (says(404, error("NotFound")), NotFound),
        (says(422, error("AnyWord")), IdempotencyKeyReused),
    ],
)
def test_what_would_be_refused_again_is_not_sent_again(billy: Client, double: Double, fault: Any, kind: type) -> None:
    double.faults.append(fault)
    with pytest.raises(kind) as raised:
        billy.plans.create(**NEW_PLAN)
    assert type(raised.value) is kind
    assert raised.value.attempts == len(double.seen) == 1
    assert double.effects == []


def test_an_error_tells_all_that_is_known(billy: Client, double: Double) -> None:
    told = error("ValidationError", errors={"amount": ["Number must be at least 50."]})
    double.faults.append(says(400, told, X_Request_Id="the-server's"))
    with pytest.raises(ValidationError) as raised:
        billy.plans.create(**NEW_PLAN)
    failure = raised.value
    assert failure.errors == {"amount": ["Number must be at least 50."]}
    assert failure.idempotency_key == double.keys[0]
    assert str(failure) == (
        "ValidationError (400): A sentence; amount: Number must be at least 50. [request the-server's]"
    )


def test_a_key_that_stays_in_use_is_an_error_in_the_end(double: Double) -> None:
    double.faults += [says(409, error("StillAtWork"), Retry_After="0")] * 9
    with Client(double.url, "a-key", retries=2) as billy, pytest.raises(IdempotencyKeyInUse) as raised:
        billy.plans.create(**NEW_PLAN)
    assert raised.value.attempts == len(double.seen) == 3


def test_no_retries_are_none(double: Double) -> None:
    double.faults.append(says(500))
    with Client(double.url, "a-key", retries=0) as billy, pytest.raises(InternalServerError):
        billy.plans.get("PL1")
    assert len(double.seen) == 1


@pytest.mark.parametrize(
    "fault",
    [
        says(200, b"<html>Welcome to the hotel's network</html>"),
        says(200, b"[" * 100_000),
        says(200, []),
        says(200, {"items": []}),
        says(200, {**PLAN, "amount": "500"}),
        says(200, {**PLAN, "amount": True}),
        says(200, {**PLAN, "frequency": None}),
        says(200, {**PLAN, "created_at": "yesterday"}),
        says(204, b""),
        says(302, b"", Location="/elsewhere"),
        says(404, b"<html>Not Found</html>"),
        says(401, {"message": "Unauthorized"}),
    ],
)
def test_what_is_no_billy_is_told(billy: Client, double: Double, fault: Any) -> None:
    double.faults.append(fault)
    with pytest.raises(UnexpectedAnswer):
        billy.plans.get("PL1")
    assert len(double.seen) == 1


def test_a_write_whose_answer_cannot_be_read_tells_its_key(billy: Client, double: Double) -> None:
    double.faults.append(says(200, {}, X_Request_Id="the-server's"))
    with pytest.raises(UnexpectedAnswer, match="'guid' is missing") as raised:
        billy.plans.create(**NEW_PLAN)
    assert raised.value.idempotency_key == double.keys[0]
    assert (raised.value.status, raised.value.request_id) == (200, "the-server's")


def test_a_word_that_is_newer_than_the_client_is_told_by_its_status(double: Double) -> None:
    with Client(double.url, "a-key", retries=0) as billy:
        for status, kind in ((400, client_package.InvalidRequest), (429, TooManyRequests), (503, ServerError)):
            double.faults.append(says(status, error("NeverHeardOf")))
            with pytest.raises(kind) as raised:
                billy.plans.get("PL1")
            assert raised.value.error_class == "NeverHeardOf"


def test_fields_and_words_that_are_newer_than_the_client_break_nothing(billy: Client, double: Double) -> None:
    double.body = {**PLAN, "color": "red", "frequency": "hourly"}
    assert billy.plans.get("PL1").frequency == "hourly"


# -- how long it takes -------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    pauses: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", pauses.append)
    return pauses


def test_pauses_double_and_no_two_clients_make_the_same(
    double: Double, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 8.0)
    double.faults += [says(500)] * 12
    for _ in range(2):
        with Client(double.url, "a-key") as billy, pytest.raises(InternalServerError):
            billy.plans.get("PL1")
    for pause, longest in zip(slept, [1, 2, 4, 8, 8] * 2, strict=True):
        assert longest / 2 <= pause <= longest
    assert slept[:5] != slept[5:]


@pytest.mark.parametrize(
    "headers, least",
    [
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "Thu, 15 Jan 2026 12:00:09 GMT", "Date": "Thu, 15 Jan 2026 12:00:00 GMT"}, 9),
        ({"Retry_After": "soon"}, 0),
        ({"Retry_After": "-5"}, 0),
        ({"Retry_After": "Thu, 15 Jan 2026 12:00:09"}, 0),
    ],
)
def test_a_pause_is_at_least_what_the_server_asks_for(
    billy: Client, double: Double, slept: list[float], headers: Any, least: float
) -> None:
    double.faults.append(says(429, error("TooManyRequests"), **headers))
    billy.plans.get("PL1")
    [pause] = slept
    assert least <= pause < least + 1


def test_a_pause_that_would_pass_the_deadline_is_not_made(double: Double) -> None:
    double.faults.append(says(429, error("TooManyRequests"), Retry_After="3600"))
    began = time.monotonic()
    with Client(double.url, "a-key", deadline=5) as billy, pytest.raises(TooManyRequests) as raised:
        billy.plans.get("PL1")
    assert time.monotonic() - began < 1
    assert raised.value.retry_after == 3600


def test_silence_is_given_up_and_sent_again(double: Double) -> None:
    double.faults.append(faults.silent)
    with Client(double.url, "a-key", timeout=0.2) as billy:
        began = time.monotonic()
        billy.plans.create(**NEW_PLAN)
    assert time.monotonic() - began < 1.5
    assert len(double.effects) == 1


@pytest.mark.parametrize("fault", [faults.silent, faults.dripping])
def test_a_call_ends_by_its_deadline_whatever_the_server_does(double: Double, fault: Any) -> None:
    double.faults += [fault] * 9
    began = time.monotonic()
    with Client(double.url, "a-key", deadline=0.5, timeout=0.4) as billy, pytest.raises(ConnectionFailed) as raised:
        billy.plans.create(**NEW_PLAN)
    assert 0.3 < time.monotonic() - began < 1.2
    assert raised.value.idempotency_key == double.keys[0]
    assert raised.value.request_id == double.seen[0].headers["X-Request-Id"]


def test_a_server_that_is_not_there_is_told_in_the_end() -> None:
    with socket.socket() as probe:  # bound, and listening to nobody
        probe.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{probe.getsockname()[1]}", retries=2) as billy:
            with pytest.raises(ConnectionFailed, match=r"GET /health: Connection refused") as raised:
                billy.server.health()
    assert raised.value.attempts == 3
    assert raised.value.status is None


def test_what_the_caller_was_handling_is_not_taken_for_the_cause() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{probe.getsockname()[1]}", retries=0) as billy:
            try:
                raise ValueError("something else")
            except ValueError:
                with pytest.raises(ConnectionFailed, match="Connection refused"):
                    billy.server.health()


def test_a_certificate_that_cannot_be_verified_is_refused_at_once(tmp_path: Any) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                heard.append(context.wrap_socket(connection, server_side=True).recv(1000))
            except ssl.SSLError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        with Client(f"https://127.0.0.1:{listening.getsockname()[1]}", "a-key") as billy:
            with pytest.raises(UntrustedServer, match="certificate") as raised:
                billy.plans.create(**NEW_PLAN)
        thread.join()
    assert raised.value.attempts == 1
    assert heard == []


def self_signed(directory: Any) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    signed = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return path


# -- connections -------------------------------------------------------------------------------------


def test_a_connection_is_used_again(billy: Client, double: Double) -> None:
    for _ in range(5):
        billy.plans.get("PL1")
    assert double.connections == 1


def test_threads_share_a_client_and_none_gets_the_answer_of_another(double: Double) -> None:
    chance = random.Random(0)
    double.faults += [chance.choice(list(PASSING.values())) for _ in range(60)]
    with Client(double.url, "a-key", pool_size=16, retries=60) as billy:

        def ask(number: int) -> tuple[int, Any]:
            answer = billy.request("POST", "/v1/plans", body={"number": number}, idempotency_key=f"key-{number}")
            return number, answer.body

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(100)))
    assert all(body == PLAN for _, body in answers)
    assert sorted(seen.json["number"] for seen in double.effects) == list(range(100))


def test_a_forked_child_makes_connections_of_its_own(billy: Client, double: Double) -> None:
    billy.plans.get("PL1")
    child = os.fork()
    if child == 0:
        try:
            billy.plans.get("PL1")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    billy.plans.get("PL1")
    first, second, third = (seen.connection for seen in double.seen)
    assert first == third != second


def test_a_cookie_is_not_kept(billy: Client, double: Double) -> None:
    double.faults.append(says(200, PLAN, Set_Cookie="sticky=1"))
    billy.plans.get("PL1")
    billy.plans.get("PL1")
    assert "Cookie" not in double.seen[1].headers


def test_a_netrc_is_not_asked_for_a_key(double: Double, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    double.body = {"status": "ok", "database": "ok", "schema": {"current": None, "head": "1"}, "last_run": None}
    with Client(double.url) as billy:
        assert billy.server.health().status == "ok"
    assert "Authorization" not in double.seen[0].headers


# -- what nobody gets to see -------------------------------------------------------------------------


def test_no_secret_is_in_a_repr_an_error_or_a_log(double: Double, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["the-api-key", "dGhlLWFwaS1rZXk6", "the-processor-key", "the-callback-key", "the-new-key"]
    company = {"guid": "CP1", "name": None, "processor": "sandbox", **STAMPS}
    double.body = {**company, "api_key": "the-new-key", "callback_key": "the-callback-key"}
    seen: list[Any] = []
    with Client(double.url, "the-api-key", watch=seen.append, retries=1) as billy:
        seen += [billy, billy.companies, billy.companies.create(processor_key="the-processor-key")]
        for fault in (faults.lost_before, says(500), says(404, error("NotFound")), says(404, b"")):
            double.faults += [fault, fault]
            with pytest.raises(client_package.BillyError) as raised:
                billy.companies.call_back("CP1", "the-callback-key", event=b"{}")
            seen += [raised.value, raised.value.__cause__, raised.value.__context__, vars(raised.value)]
            double.faults.clear()
    assert len(seen) > 15
    told = caplog.text + "".join(f"{value!r} {value}" for value in seen)
    assert "/callbacks/…" in told
    assert "urllib3" in caplog.text
    for secret in secrets:
        assert secret not in told


def test_an_error_goes_through_a_pickle(billy: Client, double: Double) -> None:
    double.faults.append(says(400, error("ValidationError", errors={"amount": ["Too little"]})))
    with pytest.raises(ValidationError) as raised:
        billy.plans.get("PL1")
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is ValidationError
    assert vars(again) == vars(raised.value)
    assert str(again) == str(raised.value)


@pytest.mark.parametrize(
    "url, api_key, told",
    [
        ("billy.example.com", "key", "http:// or https://"),
        ("ftp://billy.example.com", "key", "http:// or https://"),
        ("https://", "key", "a host"),
        ("https://secret@billy.example.com", "key", "api_key"),
        ("https://billy.example.com?a=1", "key", "before the paths"),
        ("https://billy.example.com", "a\nkey", "no API key"),
        ("https://billy.example.com", "", "no API key"),
        ("https://billy.example.com", "a:key", "no API key"),
    ],
)
def test_a_wrong_address_or_key_is_told_at_once_and_not_repeated(url: str, api_key: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        Client(url, api_key)
    assert "secret" not in str(raised.value)
    assert "a\nkey" not in str(raised.value)


@pytest.mark.parametrize("key", ["", "a b", "a\r\nb", "ü", "x" * 256])
def test_a_wrong_idempotency_key_is_refused_before_it_is_sent(billy: Client, double: Double, key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        billy.plans.create(**NEW_PLAN, idempotency_key=key)
    assert double.seen == []


def test_an_unavailable_database_is_told_in_the_end(double: Double) -> None:
    double.faults += [says(503, error("DatabaseUnavailable"), Retry_After="0")] * 3
    with Client(double.url, "a-key", retries=2) as billy, pytest.raises(DatabaseUnavailable) as raised:
        billy.plans.get("PL1")
    assert raised.value.retry_after == 0
    assert raised.value.attempts == 3
