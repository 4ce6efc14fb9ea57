"""What nobody sends by mistake. ``test_errors`` has what programs get wrong; this has what people try.

Whatever it is, the answer is below 500 and one that the document allows (``conftest`` checks that), nothing is
made, and the server goes on.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from waitress.server import create_server

from tests.api.steps import new_customer, new_invoice, new_plan
from tests.support.client import basic

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PLAN = b'{"plan_type": "debit", "frequency": "daily", "amount": %s}'

NO_AMOUNTS = [
    b"1e400",
    b"-1e400",
    b"1e2",
    b"50.0",
    b"0.5e3",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"-1",
    b"-0",
    b"340282366920938463463374607431768211456",
    b"1" + b"0" * 4000,
    b"NaN",
    b"-Infinity",
    b"0x32",
    b"050",
    b"+50",
    b"true",
    b"[50]",
    b'{"$gt": 0}',
    b'"50"',
    '"\u0665\u0660"'.encode(),
    b'"50 OR 1=1"',
]

TEXTS = [
    "' OR '1'='1",
    "'; DROP TABLE plan; --",
    "{{7*7}}${7*7}#{7*7}%(x)s{0}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "\u202e\u2066\u200b\ufeff",
    "Z\u0351\u036b\u0343" * 20,
    "\U0001f4b8\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\r\nX-Injected: yes\r\n\r\n<html>",
    "\x1b[31m\x07\x08",
    "\ufffe\uffff",
    "a" * 128,
    "\u00df" * 128,
    "\U00010348" * 128,
]


@pytest.mark.parametrize("amount", NO_AMOUNTS, ids=lambda amount: amount[:24].decode("ascii", "replace"))
def test_what_is_no_amount_of_cents_is_400(company, amount):
    company.post("/v1/plans", body=PLAN % amount, headers=JSON, status=400)
    form = b"plan_type=debit&frequency=daily&amount=" + amount[:60] + b"."
    company.post("/v1/plans", body=form, headers=FORM, status=400)
    assert company.get("/v1/plans", {"count": "1"}).json["total"] == 0


def test_the_largest_amounts_are_kept_to_the_cent(company):
    plan = company.post("/v1/plans", body=PLAN % b"99999999999", headers=JSON).json
    assert plan["amount"] == 99_999_999_999
    company.post("/v1/plans", body=PLAN % b"100000000000", headers=JSON, status=400)
    customer = new_customer(company)
    invoice = new_invoice(company, customer=customer, amount=99_999_999_999, card="/cards/ok")
    assert invoice["effective_amount"] == 99_999_999_999
    lines = [{"amount": 99_999_999_999}] * 1000
    sent = {"customer_guid": customer["guid"], "amount": 1, "adjustments": lines}
    assert list(company.post("/v1/invoices", json=sent, status=400).json["errors"]) == ["adjustments"]


@pytest.mark.parametrize("text", TEXTS, ids=[f"text {number}" for number in range(len(TEXTS))])
def test_a_strange_text_comes_back_to_the_letter_and_does_nothing(company, text):
    for kind, external_id in (("json", text), ("params", f"{text[:-1]}~")):
        sent = {kind: {"external_id": external_id}}
        customer = company.post("/v1/customers", **sent).json
        assert customer["external_id"] == external_id
        assert company.get("/v1/customers", {"external_id": external_id}).json["items"] == [customer]
        company.post("/v1/customers", **sent, status=409)
    company.post("/v1/invoices", {"customer_guid": text, "amount": 1}, status=400)
    assert company.get("/v1/plans", {"external_id": text}).json["items"] == []


def test_the_same_deep_and_wide(company):
    deep = b'{"items": ' + b"[" * 900 + b"]" * 900 + b', "customer_guid": "CU1", "amount": 1}'
    wide = b'{"items": [' + b",".join([b"{}"] * 50_000) + b"]}"
    keys = b"{" + b",".join(b'"k%d": %d' % (n, n) for n in range(60_000)) + b"}"
    for body in (deep, wide, keys):
        answer = company.post("/v1/invoices", body=body, headers=JSON, status=400).json
        assert answer["error_class"] == "ValidationError"
        assert len(answer["errors"]) < 10


def test_a_hundred_thousand_parameters_are_400_wherever_they_are(company):
    pairs = "&".join(f"k{number}=v" for number in range(100_000))
    company.post("/v1/customers", body=pairs.encode(), headers=FORM, status=400)
    company.get(f"/v1/customers?{pairs}", status=400)
    boundary = b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    company.post("/v1/customers", body=boundary * 15_000 + b"--XX--\r\n", headers=headers, status=400)
    assert company.get("/v1/customers").json["items"] == []


def test_ten_megabytes_are_413_in_every_type_and_without_a_key(api, company):
    body = b"a" * 10 * 1024 * 1024
    for client in (company, api.anonymous):
        for content_type in (*FORM.values(), *JSON.values(), "multipart/form-data; boundary=XX", "image/png"):
            client.post("/v1/companies", body=body, headers={"Content-Type": content_type}, status=413)
    company.delete("/v1/plans/PL1", body=body, headers=FORM, status=413)


def test_wrong_content_types_are_415_or_what_they_say_they_are(company):
    sent = b'{"plan_type": "debit", "frequency": "daily", "amount": 500}'
    for content_type in (
        "application/json+x",
        "application/vnd.api+json",
        "text/json",
        "multipart/mixed; boundary=XX",
        "application/x-www-form-urlencodedd",
        "*/*",
        "application",
        ";",
        "application/json, text/html",
    ):
        company.post("/v1/plans", body=sent, headers={"Content-Type": content_type}, status=415)
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary="):
        company.post("/v1/plans", body=sent, headers={"Content-Type": content_type}, status=400)
    for content_type in ("application/json; charset=utf-16", "application/json; charset=nonsense"):
        utf16 = sent.decode().encode("utf-16")
        company.post("/v1/plans", body=utf16, headers={"Content-Type": content_type}, status=400)
    assert company.get("/v1/plans").json["items"] == []


def test_a_header_that_was_sent_injects_none(api, company):
    for name in ("X-Request-Id", "Origin", "If-None-Match", "Accept", "Authorization", "Host", "X-Forwarded-For"):
        for value in ("a%0d%0aX-Injected: yes", "a\u0085X-Injected: yes", "<x>" * 100, "\xff\xfe", "," * 5000):
            answer = api.anonymous.get("/v1/openapi.json", headers={name: value})
            assert "X-Injected" not in answer.headers
            assert "yes" not in str(answer.headers)


def test_an_authorization_that_is_none_is_401(api, company):
    for value in (
        "Basic",
        "Basic ",
        "Basic =",
        "Basic " + "A" * 100_000,
        "Basic " + basic(company.api_key).removeprefix("Basic ")[:-4],
        "Basic\t" + basic(company.api_key).removeprefix("Basic "),
        "Bearer " + company.api_key,
        basic(company.api_key) + ", Basic x",
        basic(f"{company.api_key}\0"),
        basic(f" {company.api_key}"),
        basic(company.api_key.swapcase()),
        basic("\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
    ):
        api.anonymous.get("/v1/plans", headers={"Authorization": value}, status=401)


def test_tricks_with_a_path_lead_nowhere(company):
    plan = new_plan(company)["guid"]
    for path in (
        f"/v1/plans/{plan};x=1",
        f"/v1/plans/{plan}%00",
        f"/v1/plans/{plan}%0a",
        f"/v1/plans/{plan}%20",
        f"/v1/plans/{plan}.json",
        f"/v1/plans/%2e/{plan}",
        f"/v1/plans/{plan}/../../customers",
        f"/V1/plans/{plan}",
        f"/v1/Plans/{plan}",
        f"/v1/plans/{plan.lower()}",
        f"/v1/plans/{plan}%e2%80%8b",
        f"/v1/customers/{plan}",
        "/v1/plans/*",
        "/v1/plans/%25",
        "/docs/../v1/plans",
        "/docs/%2e%2e/openapi.py",
    ):
        company.get(path, status=404)
    company.get(f"/v1/plans/{plan}")


@pytest.fixture
def port(app) -> Iterator[int]:
    """Where the application listens on a socket, for what no client library would send."""
    server = create_server(app.app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.effective_port
    server.close()
    thread.join(10)


def spoken(port: int, *lines: bytes) -> bytes:
    """The head of the answer to these lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_on_the_wire_a_broken_request_is_400_and_the_server_goes_on(port, company):
    key = basic(company.api_key).encode()
    for lines in (
        [b"GET /v1/plans HTTP/1.1", b"Host: x", b"X-Bad\0Name: 1"],
        [b"GET /v1/plans HTTP/1.1", b"Host: x", b" folded: 1", b"Content-Length: -1"],
        [b"POST /v1/plans HTTP/1.1", b"Host: x", b"Content-Length: 3", b"Content-Length: 9999"],
        [b"POST /v1/plans HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", b"", b"zz"],
        [b"\0\1\2 /v1/plans HTTP/1.1"],
    ):
        assert spoken(port, *lines).split(b" ")[1][:1] == b"4", lines
    fine = spoken(port, b"GET /v1/plans HTTP/1.1", b"Host: x", b"Authorization: " + key, b"Connection: close")
    assert fine.startswith(b"HTTP/1.1 200")
