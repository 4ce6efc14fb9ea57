"""The line that each request leaves in the log."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from billy.api.views import plan as plan_views
from billy.errors import DatabaseUnavailable
from tests.api.steps import new_customer, new_invoice, new_plan, transactions_of


@pytest.fixture
def told():
    """``told(call)``: the lines of the log that a call leaves, of whatever level."""
    before = structlog.get_config()["wrapper_class"]  # which has the level; perhaps another test has set one
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))

    def lines(call):
        with capture_logs(processors=[merge_contextvars]) as seen:
            call()
        return seen

    yield lines
    structlog.configure(wrapper_class=before)


def test_a_request_is_one_line_with_its_company_route_status_duration_and_queries(company, told):
    customer = new_customer(company)
    [line] = told(
        lambda: company.get(f"/v1/customers/{customer['guid']}", headers={"X-Request-Id": "my-request"})
    )
    assert 0 < line.pop("milliseconds") < 60_000
    assert line == {
        "event": "request_finished",
        "log_level": "info",
        "request_id": "my-request",
        "company": company.guid,
        "method": "GET",
        "route": "/v1/customers/{guid}",
        "status": 200,
        "queries": 2,
    }


def test_queries_are_counted_for_each_request_anew(company, told):
    counts = [told(lambda: company.get("/v1/plans"))[0]["queries"] for _ in range(2)]
    assert counts == [2, 2]
    assert told(lambda: company.get("/health"))[0]["queries"] == 0
    [line] = told(lambda: company.get("/v1/plans", {"limit": 1000}))
    assert line["queries"] == 2


def test_a_registration_names_the_company_that_it_made(api, told):
    made = []
    [line] = told(lambda: made.append(api.company()))
    assert line["company"] == made[0].guid


def test_a_callback_names_its_company_and_hides_its_address(api, company, callback_path, told):
    path = callback_path(company)
    json = {"Content-Type": "application/json"}
    [line] = told(lambda: api.anonymous.post(path, body=b"{}", headers=json, status=400))
    assert line["company"] == company.guid
    assert line["route"] == "/v1/companies/{guid}/callbacks/{callback_key}"
    assert path.strip("/").rpartition("/")[2] not in repr(line)


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/v1/nothing/here", None, 404, "NotFound"),
        ("/v1/plans", {"amount": "many"}, 400, "ValidationError"),
        ("/v1/plans", {"amount": 1, "plan_type": "debit", "frequency": "monthly"}, 400, "ValidationError"),
    ],
)
def test_what_is_refused_says_why_and_not_what_was_sent(company, told, path, body, status, error):
    [line] = told(lambda: company.post(path, body, status=status))
    assert (line["log_level"], line["status"], line["error"]) == ("info", status, error)
    assert "many" not in repr(line)


def test_nobody_is_logged_as_nobody(api, told):
    key = "somebody-elses-key"
    [line] = told(lambda: api.client(key).get("/v1/plans", status=401))
    assert line["error"] == "AuthenticationRequired"
    assert "company" not in line
    assert key not in repr(line)


def test_an_address_without_a_route_is_logged_without_its_path(company, told):
    [line] = told(lambda: company.get("/v1/sk_live_pasted_by_mistake", status=404))
    assert line["route"] is None
    assert "sk_live" not in repr(line)


def test_a_crash_is_an_error_with_its_traceback_and_a_line_that_warns(company, told, monkeypatch):
    def crash(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(plan_views.Plan, "__init__", crash)
    body = {"amount": 500, "plan_type": "debit", "frequency": "monthly"}
    crashed, finished = told(lambda: company.post("/v1/plans", body, status=500))
    assert (crashed["event"], crashed["log_level"]) == ("request_crashed", "error")
    assert str(crashed["exc_info"]) == "a bug"
    assert (finished["event"], finished["log_level"]) == ("request_finished", "warning")
    assert finished["error"] == "InternalServerError"
    assert crashed["request_id"] == finished["request_id"]


def test_each_attempt_of_a_request_is_a_line_and_only_the_last_is_finished(company, told, app, monkeypatch):
    from sqlalchemy.exc import OperationalError

    left = [1]
    real = plan_views.Plan.__init__

    def stumble(self, **values):
        if left:
            left.pop()
            raise OperationalError("INSERT", None, RuntimeError("deadlock"))
        real(self, **values)

    monkeypatch.setattr(plan_views.Plan, "__init__", stumble)
    lines = told(lambda: new_plan(company))
    events = [line["event"] for line in lines if line["event"].startswith("request_")]
    assert events == ["request_unavailable", "request_retried", "request_finished"]
    retried, finished = lines[-2:]
    assert (retried["error"], retried["status"]) == (DatabaseUnavailable.__name__, 503)
    assert "error" not in finished
    assert finished["status"] == 200
    assert retried["request_id"] == finished["request_id"]


def test_nothing_of_a_request_is_left_for_the_next_one_of_its_thread(company, api, told):
    bind_contextvars(company="of another request")
    new_invoice(company)
    assert get_contextvars() == {}
    [line] = told(lambda: api.anonymous.get("/"))
    assert "company" not in line


# -- runs --------------------------------------------------------------------------------------------


def test_every_line_of_a_run_has_its_guid_also_those_of_its_threads(company, make, bill, told, clock, sandbox):
    new_invoice(company, card="/cards/pending")
    clock.move(days=1)
    make.invoice(make.company(), funding_instrument_uri="/cards/ok")
    sandbox.fault = RuntimeError("a bug")

    lines = told(bill)

    assert {line["event"] for line in lines} == {
        "run_started",
        "submission_crashed",
        "submission_unanswered",
        "reconciliation_crashed",
        "run_finished",
    }
    [run] = {line.get("run") for line in lines}
    assert run.startswith("RN")
    assert get_contextvars() == {}


@pytest.mark.parametrize(
    ("card", "level", "counts"),
    [
        (None, "debug", {}),
        ("ok", "info", {"submitted": 1, "succeeded": 1}),
        ("declined", "info", {"submitted": 1, "retrying": 1, "declined": 1}),
        ("bug", "warning", {"submitted": 1, "retrying": 1, "errors": 1}),
    ],
)
def test_a_run_ends_with_its_counts_the_louder_the_more_they_need_a_person(make, bill, told, card, level, counts):
    if card is not None:
        make.invoice(make.company(), funding_instrument_uri=f"/cards/{card}")
    finished = told(lambda: counts.update(summary=bill()))[-1]
    summary = counts.pop("summary").as_dict()
    assert {name: count for name, count in summary.items() if count} == counts
    assert (finished["event"], finished["log_level"]) == ("run_finished", level)
    assert {name: finished[name] for name in summary} == summary
    assert finished["milliseconds"] >= 0


def test_a_refusal_is_told_by_one_name_whichever_way_the_money_goes(company, told):
    def declined(call):
        return [line["transaction"] for line in told(call) if line["event"] == "submission_declined"]

    invoices = []
    of_charge = declined(lambda: invoices.append(new_invoice(company, card="/cards/stolen")))
    [charge] = transactions_of(company, invoices[0])
    assert of_charge == [charge["guid"]]

    invoice = new_invoice(company, card="/cards/refund-stolen")
    of_refund = declined(lambda: company.post(f"/v1/invoices/{invoice['guid']}/refund", {"amount": 100}))
    [refund] = [each for each in transactions_of(company, invoice) if each["transaction_type"] == "refund"]
    assert of_refund == [refund["guid"]]
