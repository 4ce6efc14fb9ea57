"""What goes wrong, and what is said about it: one JSON body, the right status, nothing of the inside."""

from __future__ import annotations

import threading
from urllib.parse import quote

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from webtest import TestApp, TestRequest

from billy.app import make_app
from billy.models import Plan
from tests.api.shapes import ERROR, PARAMETER_ERROR, mistakes
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe, transactions_of
from tests.support.client import Client, basic

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PLAN = {"plan_type": "debit", "frequency": "monthly", "amount": 500}

METHODS = {
    "/": "GET, HEAD",
    "/health": "GET, HEAD",
    "/health/ready": "GET, HEAD",
    "/metrics": "GET, HEAD",
    "/v1/openapi.json": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/docs/explorer.js": "GET, HEAD",
    "/v1/companies": "POST",
    "/v1/companies/CP1": "GET, HEAD",
    "/v1/companies/CP1/callbacks/key": "POST",
    "/v1/customers": "GET, HEAD, POST",
    "/v1/customers/CU1": "DELETE, GET, HEAD",
    "/v1/customers/CU1/subscriptions": "GET, HEAD",
    "/v1/customers/CU1/invoices": "GET, HEAD",
    "/v1/customers/CU1/transactions": "GET, HEAD",
    "/v1/plans": "GET, HEAD, POST",
    "/v1/plans/PL1": "DELETE, GET, HEAD",
    "/v1/plans/PL1/customers": "GET, HEAD",
    "/v1/plans/PL1/subscriptions": "GET, HEAD",
    "/v1/plans/PL1/invoices": "GET, HEAD",
    "/v1/plans/PL1/transactions": "GET, HEAD",
    "/v1/subscriptions": "GET, HEAD, POST",
    "/v1/subscriptions/SU1": "GET, HEAD, PUT",
    "/v1/subscriptions/SU1/cancel": "POST",
    "/v1/subscriptions/SU1/invoices": "GET, HEAD",
    "/v1/subscriptions/SU1/transactions": "GET, HEAD",
    "/v1/invoices": "GET, HEAD, POST",
    "/v1/invoices/IV1": "GET, HEAD, PUT",
    "/v1/invoices/IV1/refund": "POST",
    "/v1/invoices/IV1/cancel": "POST",
    "/v1/invoices/IV1/transactions": "GET, HEAD",
    "/v1/transactions": "GET, HEAD",
    "/v1/transactions/TX1": "GET, HEAD",
}


# -- methods and paths -------------------------------------------------------------------------------


def test_a_method_that_a_path_does_not_have_is_405_and_told_which_it_has(api, company):
    for path, allowed in METHODS.items():
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - set(allowed.split(", ")):
            for client in (company, api.anonymous):
                answer = client.request(method, path, status=405)
                assert answer.headers["Allow"] == allowed
                if method != "HEAD":
                    assert mistakes(ERROR, answer.json) == {}
                    assert answer.json["error_class"] == "MethodNotAllowed"


def test_an_unknown_path_is_404_with_or_without_a_key(api, company):
    for path in ("/v1", "/v1/", "/v2/plans", "/plans", "/v1/nothing", "/v1/plans/PL1/x", "/v1/plans/PL1/invoices/IV1"):
        for client in (company, api.anonymous):
            answer = client.get(path, status=404).json
            assert mistakes(ERROR, answer) == {}
            assert (answer["error_class"], answer["error_message"]) == ("NotFound", "There is nothing at this address")


def test_a_path_that_names_nothing_is_404_however_strange(company):
    strange = [
        "/v1/customers/%2e%2e",
        "/v1/customers/%2e%2e/plans",
        "/v1/customers/..%2fplans",
        "/v1/customers/%2e%2e%2f%2e%2e",
        "/%2e%2e/v1/plans",
        "/v1/customers/../plans",
        "/v1/customers/%ff",
        "/%ff",
        "/v1/customers/%00",
        "/v1/customers/CU%00",
        "/v1/customers/%F0%9F%92%B8",
        "/v1/customers//",
        "/v1//customers",
        "//v1/customers",
        "/v1/customers/" + "C" * 5000,
        "/v1/customers/CU'%20OR%201=1--",
    ]
    for path in strange:
        answer = company.get(path, status=404).json
        assert mistakes(ERROR, answer) == {}
        assert answer["error_class"] == "NotFound"


def test_a_trailing_slash_is_accepted_everywhere(api, company, clock):
    customer, plan = new_customer(company), new_plan(company)
    subscription = subscribe(company, plan=plan, customer=customer)
    invoice = new_invoice(company, customer=customer, card="/cards/declined")
    [transaction] = transactions_of(company, invoice)
    paths = [
        "/health",
        f"/v1/companies/{company.guid}",
        *(f"/v1/{noun}" for noun in ("customers", "plans", "subscriptions", "invoices", "transactions")),
        *(f"/v1/customers/{customer['guid']}{rest}" for rest in ("", "/subscriptions", "/invoices", "/transactions")),
        *(f"/v1/plans/{plan['guid']}{rest}" for rest in ("", "/customers", "/subscriptions", "/invoices")),
        *(f"/v1/subscriptions/{subscription['guid']}{rest}" for rest in ("", "/invoices", "/transactions")),
        *(f"/v1/invoices/{invoice['guid']}{rest}" for rest in ("", "/transactions")),
        f"/v1/transactions/{transaction['guid']}",
    ]
    for path in paths:
        assert company.get(f"{path}/").json == company.get(path).json
        assert company.get(f"{path}/?limit=1").json == company.get(f"{path}?limit=1").json
    assert company.post("/v1/customers/").json["guid"]
    assert company.put(f"/v1/invoices/{invoice['guid']}/", {"funding_instrument_uri": "/cards/ok"}).json
    assert company.post(f"/v1/invoices/{invoice['guid']}/refund/", {"amount": 1}).json
    assert company.post(f"/v1/subscriptions/{subscription['guid']}/cancel/").json["canceled"]
    assert company.delete(f"/v1/plans/{plan['guid']}/").json["deleted"]
    assert api.anonymous.post("/v1/companies/", {"processor_key": "k"}).json["api_key"]


def test_head_answers_as_get_does_without_a_body(company):
    customer = new_customer(company)
    for path in ("/", "/health", "/v1/customers", f"/v1/customers/{customer['guid']}", "/v1/customers?limit=x"):
        get = company.get(path, status="*")
        head = company.request("HEAD", path, status="*")
        assert (head.status, head.headers["Content-Type"], head.body) == (get.status, get.headers["Content-Type"], b"")
    assert company.request("HEAD", "/v1/customers/CU1", status=404).body == b""


# -- bodies ------------------------------------------------------------------------------------------


def test_json_that_is_none_or_says_two_things_is_400(company):
    broken = [
        b"{",
        b"nonsense",
        b'{"amount": 500,}',
        b"[]",
        b'"text"',
        b"null",
        b"5",
        b"\xff\xfe{}",
        '{"plan_type": "d\u00e9bit"}'.encode("latin-1"),
        b'{"amount": NaN}',
        b'{"amount": Infinity}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"amount": ' + b"9" * 5000 + b"}",
        b'{"amount": 1, "amount": 2}',
        b'{"items": [{"name": "a", "name": "b"}]}',
        '{"b\u00e9trag": 1}'.encode(),
        b'{"a\\u0000b": 1}',
    ]
    for body in broken:
        answer = company.post("/v1/plans", body=body, headers=JSON, status=400).json
        assert mistakes(ERROR, answer) == {}
        assert answer["error_class"] == "InvalidRequest"
    assert company.get("/v1/plans").json["items"] == []


def test_a_form_that_is_not_utf8_or_says_two_things_names_the_parameter(company):
    broken = {
        b"name=%ff": "name",
        b"name=\xff": "name",
        b"name=%ed%a0%80": "name",
        b"name=a%00b": "name",
        b"amount=600": "amount",
        b"description=%c3": "description",
    }
    for more, named in broken.items():
        body = b"plan_type=debit&frequency=daily&amount=500&" + more
        answer = company.post("/v1/plans", body=body, headers=FORM, status=400).json
        assert mistakes(PARAMETER_ERROR, answer) == {}
        assert list(answer["errors"]) == [named]
    assert company.get("/v1/plans").json["items"] == []


def test_parameters_with_strange_names_or_far_too_many_are_400(company):
    for body in (b"%ff=1", b"a%00=1", b"%c3%a9=1", b"a%0a=1", b"&".join([b"a=1"] * 10_001)):
        answer = company.post("/v1/customers", body=body, headers=FORM, status=400).json
        assert (answer["error_class"], mistakes(ERROR, answer)) == ("InvalidRequest", {})


def test_the_same_value_twice_is_said_once(company):
    body = b"plan_type=debit&frequency=daily&amount=500&amount=500"
    assert company.post("/v1/plans", body=body, headers=FORM).json["amount"] == 500


def test_a_body_of_another_type_is_415(company):
    for content_type in ("text/plain", "application/xml", "application/jsonp", "application/octet-stream"):
        headers = {"Content-Type": content_type}
        answer = company.post("/v1/plans", body=b"amount=500", headers=headers, status=415).json
        assert mistakes(ERROR, answer) == {}
        assert answer["error_class"] == "UnsupportedMediaType"


def test_json_is_known_by_its_type_alone(company):
    sent = b'{"plan_type": "debit", "frequency": "daily", "amount": 500}'
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/json;x=y"):
        assert company.post("/v1/plans", body=sent, headers={"Content-Type": content_type}).json["amount"] == 500


def multipart(*parts: bytes) -> tuple[bytes, dict[str, str]]:
    body = b"".join(b"--XX\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--XX--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=XX"}


def test_a_multipart_form_is_a_form(company):
    body, headers = multipart(b'name="external_id"\r\n\r\n\xc3\xbc 1', b'name="ignored"\r\n\r\nx')
    assert company.post("/v1/customers", body=body, headers=headers).json["external_id"] == "ü 1"


def test_files_and_broken_parts_of_a_multipart_form_are_400(company):
    broken = [
        [b'name="external_id"; filename="x.txt"\r\n\r\nx'],
        [b'name="external_id"; filename=""\r\n\r\nx'],
        [b'name="\xc3\xa9"\r\n\r\nx'],
        [b"\r\n\r\nx"],
        [b'name="external_id"\r\n\r\n\xff'],
        [b'name="external_id"\r\n\r\na', b'name="external_id"\r\n\r\nb'],
    ]
    for parts in broken:
        body, headers = multipart(*parts)
        company.post("/v1/customers", body=body, headers=headers, status=400)
    for body in (b"junk", b"--XX\r\n", b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nx"):
        company.post("/v1/customers", body=body, headers=headers, status=400)
    assert company.get("/v1/customers").json["items"] == []


@pytest.mark.ini({"billy.api.maximum_body": "2048"})
def test_a_body_above_the_limit_is_413(company):
    def description(length: int) -> bytes:
        head = b"plan_type=debit&frequency=daily&amount=500&description="
        return head + b"d" * (length - len(head))

    company.post("/v1/plans", body=description(2048), headers=FORM)
    answer = company.post("/v1/plans", body=description(2049), headers=FORM, status=413).json
    assert mistakes(ERROR, answer) == {}
    assert answer["error_class"] == "RequestEntityTooLarge"
    assert len(company.get("/v1/plans").json["items"]) == 1


@pytest.mark.ini({"billy.api.maximum_body": "2048"})
def test_a_body_above_the_limit_is_413_also_where_nobody_said_how_long_it_is(app, company):
    def send(length: int, status: int) -> None:
        request = TestRequest.blank("/v1/customers", method="POST", headers={"Authorization": basic(company.api_key)})
        request.body = b"external_id=x&ignored=" + b"i" * (length - 22)
        request.content_type = FORM["Content-Type"]
        del request.environ["CONTENT_LENGTH"]
        request.environ["wsgi.input_terminated"] = True
        app.do_request(request, status=status)

    send(2049, 413)
    send(2048, 200)
    send(1_000_000, 413)
    assert [each["external_id"] for each in company.get("/v1/customers").json["items"]] == ["x"]


def test_without_a_limit_of_ones_own_a_mebibyte_is_the_most(company):
    company.post("/v1/customers", body=b"a" * (1_048_576 + 1), headers=FORM, status=413)
    company.post("/v1/customers", body=b"a" * 1_048_576, headers=FORM)


# -- the body of an error ----------------------------------------------------------------------------


def test_an_error_is_json_whatever_the_caller_accepts(company):
    for accept in ("text/html", "*/*", "text/plain", "application/xml", ""):
        for path, status in {"/v1/nothing": 404, "/v1/plans/PL1": 404, "/v1/plans?limit=x": 400}.items():
            answer = company.get(path, headers={"Accept": accept}, status=status)
            assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
            assert {"error_class", "error_message", "request_id"} <= answer.json.keys()


def test_an_error_quotes_what_was_sent_without_being_html(company):
    answer = company.post("/v1/subscriptions", {"customer_guid": "<script>", "plan_guid": "{x}%s"}, status=400).json
    assert answer["errors"] == {
        "customer_guid": ["No such Customer record <script>"],
        "plan_guid": ["No such Plan record {x}%s"],
    }


def test_every_answer_names_its_request(api, company):
    answers = [
        company.get("/v1/plans"),
        company.get("/v1/nothing", status=404),
        api.anonymous.get("/v1/plans", status=401),
        company.request("PATCH", "/v1/plans", status=405),
        company.post("/v1/plans", body=b"x", headers={"Content-Type": "text/plain"}, status=415),
    ]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer in answers[1:]:
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_a_sane_request_id_of_the_caller_is_kept_and_another_replaced(company):
    answer = company.get("/v1/nothing", headers={"X-Request-Id": "shop.42_a-b"}, status=404)
    assert answer.headers["X-Request-Id"] == answer.json["request_id"] == "shop.42_a-b"
    for insane in ("x" * 65, "a b", "<x>", "ü", "a;b"):
        answer = company.get("/v1/nothing", headers={"X-Request-Id": insane}, status=404)
        assert answer.headers["X-Request-Id"] != insane


# -- bugs, and a database that is away ---------------------------------------------------------------


def test_a_bug_is_logged_and_shows_nothing_of_the_inside(company, monkeypatch):
    plan = new_plan(company)
    crash = ZeroDivisionError("SELECT secret FROM company")

    def delete(self, now):
        raise crash

    monkeypatch.setattr(Plan, "delete", delete)
    with capture_logs() as logs:
        answer = company.delete(f"/v1/plans/{plan['guid']}", headers={"X-Request-Id": "a-bug"}, status=500)
    assert answer.json == {
        "error_class": "InternalServerError",
        "error_message": "Something went wrong on our side. Please report it, with the request_id",
        "request_id": "a-bug",
    }
    assert answer.headers["X-Request-Id"] == "a-bug"
    [logged] = [entry for entry in logs if entry["event"] == "request_crashed"]
    assert (logged["exc_info"], logged["log_level"]) == (crash, "error")


def test_a_bug_leaves_nothing_half_done(company, monkeypatch):
    plan = new_plan(company)
    delete = Plan.delete

    def delete_and_crash(self, now):
        delete(self, now)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "delete", delete_and_crash)
        company.delete(f"/v1/plans/{plan['guid']}", status=500)
    assert company.get(f"/v1/plans/{plan['guid']}").json == plan


def test_every_request_leaves_one_line_in_the_log_without_secrets(api, company, callback_path, sandbox):
    with capture_logs() as logs:
        company.post("/v1/customers", {"processor_uri": "/customers/not-found"}, status=400)
        api.anonymous.post(callback_path(company), body=sandbox.announce("a-processor-key"))
        api.anonymous.post("/v1/companies", {"processor_key": "a-processor-key"})
        company.get(f"/v1/plans?{quote('api_key=' + company.api_key)}")
    lines = [entry for entry in logs if entry["event"] == "request_finished"]
    assert [(line["method"], line["status"], line["route"]) for line in lines] == [
        ("POST", 400, "/v1/customers"),
        ("POST", 200, "/v1/companies/{guid}/callbacks/{callback_key}"),
        ("POST", 200, "/v1/companies"),
        ("GET", 200, "/v1/plans"),
    ]
    callback_key = callback_path(company).rstrip("/").rpartition("/")[2]
    for secret in (company.api_key, callback_key, "a-processor-key"):
        assert secret not in repr(logs)


@pytest.fixture(params=["postgresql", "sqlite"])
def without_database(request, settings, sandbox, tmp_path):
    """The server, whose database is away."""
    url = {
        "postgresql": f"postgresql+psycopg2://nobody:hunter2@/billy?host={tmp_path}",
        "sqlite": f"sqlite:///{tmp_path}/no/such/directory/billy.sqlite",
    }[request.param]
    wsgi = make_app(settings.model_copy(update={"database_url": url}), processor_factory=sandbox)
    yield Client(TestApp(wsgi), api_key="some-key")
    wsgi.registry["billy.engine"].dispose()


def test_without_a_database_everything_is_503_and_says_when_to_come_back(without_database, sandbox, tmp_path):
    for call in ("GET /v1/plans", "POST /v1/plans", "DELETE /v1/plans/PL1", "PUT /v1/invoices/IV1"):
        answer = without_database.request(*call.split(), status=503)
        assert int(answer.headers["Retry-After"]) > 0
        assert mistakes(ERROR, answer.json) == {}
        assert answer.json["error_class"] == "DatabaseUnavailable"
        for inside in (str(tmp_path), "hunter2", "sqlalche", "psycopg"):
            assert inside not in answer.text
    without_database.post("/v1/companies", {"processor_key": "new"}, status=503)
    assert sandbox.callbacks("new") == [], "the processor is not told of a company that was not saved"


def test_without_a_database_what_needs_none_still_answers(without_database):
    without_database.get("/v1/nothing", status=404)
    without_database.request("PATCH", "/v1/plans", status=405)


@pytest.mark.postgresql  # only a server can drop connections
def test_a_request_survives_a_database_that_dropped_its_connections(app, company, session):
    new_plan(company)  # the pool holds a connection now
    with app.app.registry["billy.engine"].connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    assert session.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    assert company.post("/v1/plans", PLAN).json["amount"] == 500
    assert len(company.get("/v1/plans").json["items"]) == 2


@pytest.mark.ini({"sqlalchemy.pool_size": "1", "sqlalchemy.max_overflow": "0"})
@pytest.mark.postgresql  # SQLite's connections are not counted
def test_more_requests_than_connections_are_503(app, company):
    engine = app.app.registry["billy.engine"]
    engine.pool._timeout = 0.1  # instead of 30 s
    occupied, done = threading.Event(), threading.Event()

    def occupy() -> None:
        with engine.connect():
            occupied.set()
            done.wait(10)

    thread = threading.Thread(target=occupy)
    thread.start()
    occupied.wait(10)
    try:
        answer = company.get("/v1/plans", status=503)
    finally:
        done.set()
        thread.join()
    assert answer.headers["Retry-After"]
    company.get("/v1/plans")
