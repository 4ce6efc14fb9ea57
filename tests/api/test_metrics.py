"""GET /metrics: requests as they were, and the books as they stand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, select, text, update
from webtest import TestApp

from billy import metrics
from billy.app import make_app
from billy.errors import ConfigurationError
from billy.models import BillingRun, Transaction
from billy.statements import database_now
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe
from tests.support.client import Client

ON = pytest.mark.ini({"billy.metrics": "true"})
TOKEN = "a-token-of-the-operator's"
WITH_TOKEN = pytest.mark.ini({"billy.metrics": "true", "billy.metrics_token": TOKEN})


@pytest.fixture
def scrape(api):
    """What Prometheus reads: values by name and labels."""

    def read(client=api.anonymous):
        answer = client.get("/metrics")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=UTF-8"
        found = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items()))
                assert key not in found, "Prometheus refuses a scrape that has a series twice"
                found[key] = sample.value
        return found

    return read


def requests(scraped, **labels):
    return scraped.get(("billy_http_requests_total", *sorted(labels.items())), 0)


# -- who may ask -------------------------------------------------------------------------------------


def test_by_default_there_is_nothing_there(api):
    assert api.anonymous.get("/metrics", status=404).json["error_class"] == "NotFound"


@ON
def test_it_needs_no_key_unless_a_token_is_set(api, scrape):
    assert scrape()["billy_database_up",] == 1
    assert scrape(api.client("wrong"))["billy_database_up",] == 1


@WITH_TOKEN
@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer ü"]
)
def test_where_a_token_is_set_nothing_is_told_without_it(api, given):
    headers = {} if given is None else {"Authorization": given}
    answer = api.anonymous.get("/metrics", headers=headers, status=401)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Billy"'
    assert answer.json["error_class"] == "TokenRequired"
    assert "billy_" not in answer.text


@WITH_TOKEN
def test_with_the_token_all_is_told(api, company):
    for scheme in ("Bearer", "bearer"):
        told = api.anonymous.get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert "billy_database_up 1" in told.text
    assert company.get("/metrics", status=401), "a company's key is not the operator's token"


@ON
def test_one_of_several_processes_does_not_pretend_to_know_the_others_figures(app):
    answer = app.get("/metrics", extra_environ={"wsgi.multiprocess": "1"}, status=503)
    assert answer.json["error_class"] == "MetricsNotShared"
    assert "PROMETHEUS_MULTIPROC_DIR" in answer.json["error_message"]


@ON
def test_a_directory_that_is_not_there_is_told_at_the_start(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"PROMETHEUS_MULTIPROC_DIR: .*nowhere is not a directory"):
        make_app(settings)


# -- requests ----------------------------------------------------------------------------------------


@ON
def test_requests_are_counted_by_method_route_and_class_of_status(company, scrape):
    customer = new_customer(company)
    path, route = f"/v1/customers/{customer['guid']}", "/v1/customers/{guid}"
    for _ in range(3):
        company.get(path)
    company.get("/v1/customers/CU1", status=404)
    scraped = scrape()
    assert requests(scraped, method="GET", route=route, status="2xx") == 3
    assert requests(scraped, method="GET", route=route, status="4xx") == 1
    of_route = (("method", "GET"), ("route", route))
    assert scraped["billy_http_request_duration_seconds_count", *of_route] == 4
    assert 0 < scraped["billy_http_request_duration_seconds_sum", *of_route] < 60
    assert scraped["billy_http_request_duration_seconds_bucket", ("le", "+Inf"), *of_route] == 4
    assert scraped["billy_http_queries_total", *of_route] == 3 * 2 + 1, "what cannot be a guid is not asked for"


@ON
def test_no_label_has_what_a_caller_made_up(company, scrape):
    customer = new_customer(company)
    for path in ("/v1/made-up", "/v1/customers/made-up", "/made/up", f"/v1/customers/{customer['guid']}?made=up"):
        company.get(path, status="*")
    company.request("PATCH", "/v1/plans", status=405)
    company.request("PATCH", "/v1/made-up", status=404)
    scraped = scrape()
    assert requests(scraped, method="GET", route="none", status="4xx") == 2
    assert requests(scraped, method="other", route="none", status="4xx") == 1
    assert requests(scraped, method="other", route="/v1/plans", status="4xx") == 1
    told = repr(list(scraped)).lower()
    for never in ("made-up", "patch", customer["guid"].lower(), company.guid.lower(), company.api_key.lower()):
        assert never not in told


@ON
def test_a_request_that_was_tried_again_is_one_request(company, scrape, monkeypatch):
    from sqlalchemy.exc import OperationalError

    from billy.models import Plan

    real, left = Plan.__init__, [1]

    def stumble(self, **values):
        if left:
            left.pop()
            raise OperationalError("INSERT", None, RuntimeError("deadlock"))
        real(self, **values)

    monkeypatch.setattr(Plan, "__init__", stumble)
    new_plan(company)
    assert not left
    scraped = scrape()
    assert requests(scraped, method="POST", route="/v1/plans", status="2xx") == 1
    assert requests(scraped, method="POST", route="/v1/plans", status="5xx") == 0


@ON
def test_what_requests_submit_is_counted_by_its_outcome(company, scrape):
    for card in ("ok", "ok", "declined", "stolen", "pending"):
        new_invoice(company, card=f"/cards/{card}")
    scraped = scrape()
    outcomes = {key[1][1]: value for key, value in scraped.items() if key[0] == "billy_api_submissions_total"}
    assert outcomes == {"succeeded": 2, "retrying": 1, "failed": 1, "pending": 1}


@ON
def test_two_servers_in_one_process_do_not_share_their_counts(settings, sandbox, api):
    other = make_app(settings, processor_factory=sandbox)
    Client(TestApp(other)).get("/health")
    assert 'route="/health"' not in api.anonymous.get("/metrics").text
    other.registry["billy.engine"].dispose()


# -- the books ---------------------------------------------------------------------------------------


@ON
def test_before_anything_happened_the_books_are_empty(scrape):
    scraped = scrape()
    assert scraped["billy_subscriptions_due",] == 0
    assert scraped["billy_subscriptions_oldest_due_seconds",] == 0
    assert scraped["billy_transactions_oldest_due_seconds",] == 0
    assert scraped["billy_runs_last_day",] == 0
    assert ("billy_run_last_finished_timestamp_seconds",) not in scraped
    assert ("billy_run_last_exit_code",) not in scraped


@ON
def test_what_is_due_is_told_until_it_is_done(company, scrape, clock, bill, bystander):
    subscribe(company, card="/cards/ok")
    subscribe(company, card="/cards/declined")
    before = scrape()
    assert before["billy_subscriptions_due",] == 0
    assert before["billy_transactions_open", ("submit_status", "retrying")] == 1
    assert before["billy_transactions_open", ("submit_status", "staged")] == 1, "the bystander's"
    assert before["billy_transactions_due",] == 0

    clock.move(months=1, hours=2)
    late = scrape()
    assert late["billy_subscriptions_due",] == 2
    assert late["billy_subscriptions_oldest_due_seconds",] == 7200
    assert late["billy_transactions_due",] == 1
    assert late["billy_transactions_oldest_due_seconds",] == pytest.approx(31 * 86400 + 3600, rel=0.01)

    bill()
    done = scrape()
    assert done["billy_subscriptions_due",] == done["billy_transactions_due",] == 0
    assert done["billy_subscriptions_oldest_due_seconds",] == done["billy_transactions_oldest_due_seconds",] == 0
    assert done["billy_run_invoices_last_day",] == 2
    assert done["billy_run_submissions_last_day", ("outcome", "succeeded")] == 1
    assert done["billy_run_submissions_last_day", ("outcome", "retrying")] == 2
    assert done["billy_run_submissions_last_day", ("outcome", "failed")] == 0
    assert done["billy_run_declines_last_day",] == 2
    assert done["billy_runs_last_day",] == 1


@ON
def test_the_last_run_is_told_and_what_became_of_it(make, scrape, bill, clock, bystander):
    bill()
    quiet = scrape()
    assert quiet["billy_run_last_exit_code",] == 0
    assert quiet["billy_run_last_started_timestamp_seconds",] == clock.now.timestamp()
    assert quiet["billy_run_last_finished_timestamp_seconds",] >= clock.now.timestamp()
    assert quiet["billy_run_last_duration_seconds",] >= 0

    clock.move(hours=1)
    make.invoice(make.company(), funding_instrument_uri="/cards/bug")
    bill()
    loud = scrape()
    assert loud["billy_run_last_exit_code",] == 1
    assert loud["billy_run_errors_last_day",] == 1
    assert loud["billy_run_last_started_timestamp_seconds",] == clock.now.timestamp()
    assert loud["billy_runs_last_day",] == 2
    assert loud["billy_transactions_in_doubt",] == 1


@ON
def test_a_run_that_was_killed_began_but_did_not_end(scrape, bill, clock, sessions):
    bill()
    before = scrape()
    clock.move(minutes=5)
    with sessions.begin() as session:
        session.add(BillingRun(guid="RN9", host="h", started_at=clock.now, finished_at=None, counts={}))
    after = scrape()
    name = "billy_run_last_finished_timestamp_seconds"
    assert after[name,] == before[name,]
    assert after["billy_run_last_started_timestamp_seconds",] == clock.now.timestamp()
    assert after["billy_runs_last_day",] == 1


@ON
def test_only_the_runs_of_the_last_day_are_added_up(scrape, sessions):
    older_counts = {"filed": 5, "succeeded": 4, "no_longer_counted": 7}
    ended = ((25, older_counts), (23, older_counts), (1, {"filed": 2}))
    with sessions.begin() as session:
        for number, (hours, counts) in enumerate(ended):
            at = database_now(session) - timedelta(hours=hours)
            session.add(BillingRun(guid=f"RN{number}", host="h", started_at=at, finished_at=at, counts=counts))
    scraped = scrape()
    assert scraped["billy_runs_last_day",] == 2
    assert scraped["billy_run_invoices_last_day",] == 7
    assert scraped["billy_run_submissions_last_day", ("outcome", "succeeded")] == 4
    assert scraped["billy_run_last_exit_code",] == 0


@ON
def test_a_lease_that_ran_out_is_told_until_a_run_takes_it_over(make, scrape, bill, end_leases, clock, sessions):
    make.invoice(make.company(), funding_instrument_uri="/cards/ok")
    far = datetime(2999, 1, 1, tzinfo=UTC)
    with sessions.begin() as session:
        claim = update(Transaction).values(attempt=1, in_doubt=True, leased_until=far, last_send_at=clock.now)
        session.execute(claim)
    held = scrape()
    assert held["billy_transactions_claimed",] == 1
    assert held["billy_transactions_lease_expired",] == held["billy_transactions_in_doubt",] == 0
    assert held["billy_transactions_due",] == 0

    end_leases()  # which happens when a process dies
    expired = scrape()
    assert expired["billy_transactions_lease_expired",] == expired["billy_transactions_in_doubt",] == 1
    assert expired["billy_transactions_oldest_doubt_seconds",] > 20 * 365 * 86400
    assert expired["billy_transactions_claimed",] == 0
    assert expired["billy_transactions_due",] == 1

    assert bill().expired == 1
    over = scrape()
    assert over["billy_transactions_lease_expired",] == over["billy_transactions_in_doubt",] == 0
    assert over["billy_transactions_oldest_doubt_seconds",] == 0
    assert over["billy_run_leases_expired_last_day",] == 1
    assert bill().expired == 0


@ON
def test_a_parked_companys_transactions_are_open_but_not_due(make, scrape, bill, clock):
    make.invoice(make.company(processor_key="k"), funding_instrument_uri="/cards/revoked-key")
    bill()
    parked = scrape()
    assert parked["billy_companies_parked",] == 1
    clock.move(seconds=31)
    parked = scrape()
    assert parked["billy_companies_parked",] == 1
    assert parked["billy_transactions_open", ("submit_status", "retrying")] == 1
    assert parked["billy_transactions_due",] == 0


@ON
def test_what_the_processor_has_not_told_the_end_of_is_pending(company, scrape):
    new_invoice(company, card="/cards/pending")
    new_invoice(company, card="/cards/ok")
    assert scrape()["billy_transactions_pending",] == 1


@ON
def test_without_a_database_the_requests_are_told_and_that_it_is_away(settings, sandbox, tmp_path):
    away = f"sqlite:///{tmp_path}/no/such/directory/billy.sqlite"
    wsgi = make_app(settings.model_copy(update={"database_url": away}), processor_factory=sandbox)
    client = Client(TestApp(wsgi))
    client.get("/health")
    told = client.get("/metrics").text
    assert "billy_database_up 0.0" in told
    assert 'billy_http_requests_total{method="GET",route="/health",status="2xx"} 1.0' in told
    names = {line.partition("{")[0].split()[0] for line in told.splitlines() if not line.startswith("#")}
    assert {name for name in names if not name.startswith(("billy_http_", "billy_api_"))} == {
        "billy_build_info",
        "billy_database_up",
    }
    assert str(tmp_path) not in told


@ON
def test_before_the_migrations_the_database_counts_as_away(settings, sandbox, tmp_path):
    empty = f"sqlite:///{tmp_path}/empty.sqlite"
    wsgi = make_app(settings.model_copy(update={"database_url": empty}), processor_factory=sandbox)
    assert "billy_database_up 0.0" in Client(TestApp(wsgi)).get("/metrics").text
    wsgi.registry["billy.engine"].dispose()


@ON
def test_a_scrape_changes_nothing_and_takes_a_fixed_number_of_queries(company, api, statements, bystander):
    def ask():
        with statements() as seen:
            api.anonymous.get("/metrics")
        assert all(statement.lstrip().startswith(("SELECT", "SET LOCAL")) for statement in seen)
        return len(seen)

    few = ask()
    for _ in range(3):
        new_invoice(company, card="/cards/ok")
    assert ask() == few <= 10


MULTIPLY = """
INSERT INTO "{table}"
SELECT copy.* FROM "{table}" AS original, generate_series(1, 5000) AS number,
    LATERAL jsonb_populate_record(original, jsonb_build_object('guid', left(guid, 2) || lpad(number::text, 22, '0')))
        AS copy
WHERE original.guid = :guid
"""


@ON
@pytest.mark.postgresql
def test_what_is_closed_is_not_read(api, app, make, session, clock):
    company = make.company()
    subscription = make.subscription(company, started_at=clock.now + timedelta(days=30))
    paid = make.paid_invoice(company)
    long_ago = clock.now - timedelta(days=30)
    run = BillingRun(guid="RN1", host="h", started_at=long_ago, finished_at=long_ago, counts={})
    session.add(run)
    session.flush()
    [charge] = session.scalars(select(Transaction.guid).where(Transaction.invoice_guid == paid.guid))
    for table, guid in (("subscription", subscription.guid), ("transaction", charge), ("billing_run", "RN1")):
        session.execute(text(MULTIPLY.format(table=table)), {"guid": guid})
        session.execute(text(f'ANALYZE "{table}"'))

    plans = explained(app, session, lambda: api.anonymous.get("/metrics"))

    used = set(re.findall(r"Scan (?:Backward )?(?:using|on) (\w+)", plans))
    assert used - {"subscription", "transaction", "billing_run"} == {
        "company",
        "ix_subscription_due",
        "ix_transaction_open",
        "ix_transaction_pending",
        "ix_billing_run_finished",
        "pk_billing_run",
    }
    assert not re.findall(r"Seq Scan on (?!company)\w+", plans)


def explained(app, session, call):
    """The plans, as this session would make them, of the queries that the application sends meanwhile."""
    engine, asked = app.app.registry["billy.engine"], []

    def note(connection, cursor, statement, parameters, *rest):
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    call()
    event.remove(engine, "before_cursor_execute", note)
    connection = session.connection()
    return "\n".join(
        line
        for statement, parameters in asked
        if statement.rpartition("; ")[2].startswith("SELECT")  # it comes with its time limit
        for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement.rpartition('; ')[2]}", parameters)
    )


def test_every_metric_is_told_in_the_table(api):
    names = [line.split("`")[1] for line in metrics.markdown().splitlines()[2:]]
    assert len(names) == len(set(names)) == 6 + len(metrics.GAUGES)
    assert all(name.startswith("billy_") for name in names)


@ON
def test_the_exposition_has_what_the_table_says_and_nothing_else(company, api, bill):
    new_invoice(company, card="/cards/ok")
    bill()
    api.anonymous.get("/metrics")
    told = {
        (line.split()[2].removesuffix("_total"), line.split()[3])
        for line in api.anonymous.get("/metrics").text.splitlines()
        if line.startswith("# TYPE")
    }
    rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in metrics.markdown().splitlines()[2:]]
    assert told == {(name.removesuffix("_total"), kind) for name, kind in rows}
