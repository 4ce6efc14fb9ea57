"""Idempotency keys: what is sent again under the same key is answered again, and not done again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from billy import billing_run
from billy.api.idempotency import KEEP_REGISTRATIONS
from billy.api.operations import operations
from billy.errors import Misconfigured, OutcomeUnknown, Refused, Unavailable
from billy.models import Company, IdempotencyKey
from billy.processors.sandbox import SandboxProcessor
from tests.api.requests import REQUESTS, Sent, stored
from tests.api.steps import new_customer, new_invoice, new_plan, subscribe
from tests.support.client import Api, Client

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"

each_request = pytest.mark.parametrize("name", REQUESTS)
of_companies = pytest.mark.parametrize("name", [name for name in REQUESTS if name != "create_company"])


@pytest.fixture
def send(name: str, company: Client) -> Sent:
    """A request that has not been sent yet."""
    return REQUESTS[name](company)


@pytest.fixture
def keys(sessions: Any) -> Callable[[], list[IdempotencyKey]]:
    """All that are stored."""

    def read() -> list[IdempotencyKey]:
        with sessions() as session:
            return list(session.scalars(select(IdempotencyKey)))

    return read


def unmoved(engine: Any, sandbox: Any) -> tuple[Any, int]:
    return stored(engine), len(sandbox.sends())


class Death(BaseException):
    """The end of a process, which nothing catches."""


def die(*arguments: Any, **options: Any) -> None:
    raise Death


def lease_out(session: Session) -> None:
    """As if whoever was at it had been so for a long time."""
    session.execute(update(IdempotencyKey).values(leased_until=datetime(2000, 1, 1, tzinfo=UTC)))
    session.commit()


# -- the same again ----------------------------------------------------------------------------------


def test_every_operation_that_changes_something_is_among_those_that_are_tried_here(app: Any) -> None:
    found = operations(app.app.registry)
    assert {each.id for each in found if each.method != "GET"} == {*REQUESTS, "receive_callback"}
    assert {each.id for each in found if each.takes_key} == set(REQUESTS)


@each_request
def test_the_same_again_is_answered_again_and_not_done_again(send: Sent, engine: Any, sandbox: Any) -> None:
    first = send(KEY)
    before = unmoved(engine, sandbox)
    again = send(KEY)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.body, again.headers["Content-Type"]) == (first.body, first.headers["Content-Type"])
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert unmoved(engine, sandbox) == before


ONLY_ONCE = {"delete_customer", "delete_plan", "cancel_subscription", "change_invoice", "cancel_invoice"}
"""What the record's state refuses the second time."""


@each_request
def test_without_a_key_or_with_another_it_is_judged_anew(name: str, send: Sent) -> None:
    send(KEY)
    for key in (None, f"{KEY}.", KEY.upper()):
        answer = send(key, status=400 if name in ONLY_ONCE else 200)
        assert "Idempotent-Replayed" not in answer.headers


@of_companies
def test_another_body_under_the_key_is_refused(send: Sent, engine: Any, sandbox: Any) -> None:
    send(KEY)
    before = unmoved(engine, sandbox)
    answer = send(KEY, status=422, something="else").json
    assert answer["error_class"] == "IdempotencyKeyReused"
    assert unmoved(engine, sandbox) == before
    assert send(KEY).headers["Idempotent-Replayed"] == "true"


@of_companies
def test_the_key_at_another_address_or_in_another_form_is_refused(send: Sent, company: Client, engine: Any) -> None:
    first = company.post(
        "/v1/plans", REQUESTS["create_plan"](company).params | {"amount": 900}, headers={"Idempotency-Key": KEY}
    )
    before = stored(engine)
    send(KEY, status=422)
    company.post("/v1/plans", json={"amount": 900}, status=422, headers={"Idempotency-Key": KEY})
    assert stored(engine) == before
    assert first.json["amount"] == 900


def test_the_same_body_at_another_address_is_another_request(company: Client, engine: Any) -> None:
    one, other = (REQUESTS["cancel_invoice"](company) for _ in range(2))
    one(KEY)
    before = stored(engine)
    other(KEY, status=422)
    assert stored(engine) == before


def test_a_slash_at_the_end_and_a_charset_make_no_other_request(company: Client) -> None:
    body = b'{"plan_type": "debit", "frequency": "weekly", "amount": 500}'
    answers = [
        company.post(path, body=body, headers={"Content-Type": kind, "Idempotency-Key": KEY}).json["guid"]
        for path in ("/v1/plans", "/v1/plans/")
        for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON")
    ]
    assert len(set(answers)) == 1


def test_a_key_is_the_companys_own(api: Api, company: Client, bystander: Any) -> None:
    other = api.company(processor_key="other")
    answers = [REQUESTS["create_plan"](client)(KEY) for client in (company, other)]
    assert answers[0].json["guid"] != answers[1].json["guid"]
    assert [answer.json["company_guid"] for answer in answers] == [company.guid, other.guid]
    assert "Idempotent-Replayed" not in answers[1].headers


def test_another_companys_key_gives_nothing_away(api: Api, company: Client) -> None:
    send = REQUESTS["create_invoice"](company)
    send(KEY)
    other = api.company(processor_key="other")
    Sent(other, send.method, send.path, send.params)(KEY, status=400)  # no such customer of his


def test_it_is_answered_again_after_the_api_key_was_reset(api: Api, company: Client, sessions: Any, clock: Any) -> None:
    first = REQUESTS["create_plan"](company)(KEY)
    with sessions.begin() as session:
        new = session.get_one(Company, company.guid).reset_api_key(session, clock.now)
    REQUESTS["create_plan"](company)(KEY, status=401)
    assert REQUESTS["create_plan"](api.client(new))(KEY).body == first.body


def test_the_answer_is_the_one_of_then(company: Client) -> None:
    send = REQUESTS["create_invoice"](company)
    first = send(KEY)
    company.post(f"/v1/invoices/{first.json['guid']}/refund", {"amount": 100})
    company.delete(f"/v1/customers/{send.params['customer_guid']}")
    assert send(KEY).body == first.body


def test_what_would_not_be_valid_any_more_is_answered_all_the_same(company: Client, clock: Any) -> None:
    send = REQUESTS["create_subscription"](company)
    params = {**send.params, "started_at": (clock.now + timedelta(hours=1)).isoformat()}
    send = Sent(company, send.method, send.path, params)
    first = send(KEY)
    clock.move(hours=2)
    assert send(None, status=400).json["errors"].keys() == {"started_at"}
    assert send(KEY).body == first.body


# -- registrations -----------------------------------------------------------------------------------


def test_a_registration_is_answered_again_with_its_api_key(api: Api, company: Client, keys: Any) -> None:
    send = REQUESTS["create_company"](company)
    first = send(KEY).json
    assert send(KEY).json == first
    api.client(first["api_key"]).get("/v1/plans")
    [key] = keys()
    assert key.company_guid == ""


def test_a_key_of_a_registration_is_nobodys_without_what_was_sent_with_it(company: Client, engine: Any) -> None:
    send = REQUESTS["create_company"](company)
    first = send(KEY).json
    other = send(KEY, processor_key="somebody-else's")
    assert other.json["guid"] != first["guid"]
    assert "Idempotent-Replayed" not in other.headers
    assert send(KEY).json == first


def test_a_registration_with_a_key_of_a_company_is_nobodys_too(company: Client, keys: Any) -> None:
    send = REQUESTS["create_company"](company)
    first = Sent(company, send.method, send.path, send.params)(KEY)
    assert send(KEY).body == first.body
    assert [key.company_guid for key in keys()] == [""]


# -- for how long ------------------------------------------------------------------------------------


@each_request
def test_a_key_is_as_good_as_new_once_it_has_expired(name: str, company: Client, clock: Any, engine: Any) -> None:
    keep = timedelta(hours=1) if name == "create_company" else timedelta(hours=24)
    send = REQUESTS[name](company)
    first = send(KEY)
    clock.now += keep - timedelta(seconds=1)
    assert send(KEY).body == first.body
    clock.now += timedelta(seconds=1)
    anew = send(KEY, status=400 if name in ONLY_ONCE else 200)
    assert "Idempotent-Replayed" not in anew.headers
    if name.startswith("create_"):
        assert anew.json["guid"] != first.json["guid"]


def test_a_run_forgets_what_has_expired_and_nothing_else(
    api: Api, company: Client, clock: Any, bill: Any, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(billing_run, "FORGOTTEN_AT_ONCE", 2)
    send = REQUESTS["create_plan"](company)
    REQUESTS["create_company"](company)("registers")
    for number in range(5):
        send(f"old-{number}")
    clock.move(hours=1)
    assert bill().expired_keys == 1
    clock.move(hours=22)
    new = send("new")
    assert bill().expired_keys == 0
    assert len(keys()) == 6
    clock.move(hours=1)
    summary = bill()
    assert (summary.expired_keys, summary.exit_code) == (5, 0)
    assert len(keys()) == 1
    assert send("new").body == new.body


def test_a_run_that_cannot_forget_has_billed(
    company: Client, clock: Any, bill: Any, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    REQUESTS["create_plan"](company)(KEY)
    subscribe(company)
    clock.move(days=40)

    def fail(*arguments: Any, **options: Any) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(billing_run, "delete_expired_keys", fail)
    summary = bill()
    assert (summary.filed, summary.succeeded, summary.expired_keys, summary.errors) == (1, 1, 0, 1)
    assert len(keys()) == 1


@pytest.mark.ini({"billy.idempotency.keep": "2m"})
def test_how_long_is_a_setting(company: Client, clock: Any) -> None:
    for send in (REQUESTS["create_plan"](company), REQUESTS["create_company"](company)):
        first = send(KEY)
        clock.move(seconds=119)
        assert send(KEY).body == first.body
        clock.move(seconds=1)
        assert send(KEY).json["guid"] != first.json["guid"]


# -- what a key is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("a", '"a"'),
        ("a", "  a\t"),
        (KEY, f'"{KEY}"'),
        ("!~", '"!~"'),
        ("x" * 255, f'"{"x" * 255}"'),
        ('a"b', r'"a\"b"'),
        (r"a\b", r'"a\\b"'),
    ],
)
def test_a_key_is_the_same_in_quotation_marks(company: Client, key: str, same: str) -> None:
    send = REQUESTS["create_plan"](company)
    assert send(key).body == send(same).body


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        '""',
        "x" * 256,
        f'"{"x" * 256}"',
        "a b",
        '"a b"',
        "ä",
        "a\x7fb",
        '"',
        '"a',
        '"a"b"',
        r'"a\b"',
        r'"a\"',
        '"a";b',
    ],
)
def test_what_cannot_be_a_key_is_refused(key: str, company: Client, engine: Any, keys: Any) -> None:
    before = stored(engine)
    answer = REQUESTS["create_plan"](company)(key.encode("utf-8").decode("latin-1"), status=400).json
    assert answer["errors"].keys() == {"Idempotency-Key"}
    assert stored(engine) == before
    assert keys() == []


@each_request
def test_an_empty_key_is_refused_by_every_operation(send: Sent, engine: Any) -> None:
    before = stored(engine)
    assert send("", status=400).json["errors"].keys() == {"Idempotency-Key"}
    assert stored(engine) == before


def test_nothing_of_a_key_or_an_answer_is_stored_in_clear(company: Client, keys: Any, vault: Any) -> None:
    for name in ("create_company", "create_invoice"):
        answer = REQUESTS[name](company)(KEY)
        [row] = [row for row in keys() if (row.company_guid == "") == (name == "create_company")]
        shown = repr({column.name: getattr(row, column.name) for column in IdempotencyKey.__table__.columns})
        assert KEY not in shown + repr(row)
        for value in (answer.json.get("api_key", KEY), "/cards/new", "another-processor-key"):
            assert value not in shown
        assert vault.open(row.sealed_answer) == answer.text


def test_a_read_and_a_callback_take_no_key(
    company: Client, call_back: Any, sandbox: Any, callback_path: Any, keys: Any
) -> None:
    for key in ("", KEY):
        company.get("/v1/plans", headers={"Idempotency-Key": key})
        event = sandbox.announce("a-processor-key")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        company.post(callback_path(company), body=event, headers=headers)
    assert keys() == []


# -- what is not stored ------------------------------------------------------------------------------


def test_a_refusal_frees_the_key_for_any_request(company: Client, keys: Any, sandbox: Any, engine: Any) -> None:
    customer = new_customer(company)["guid"]
    canceled = new_invoice(company)["guid"]
    company.post(f"/v1/invoices/{canceled}/cancel")
    moving = new_invoice(company, card="/cards/pending")["guid"]
    new_plan(company, external_id="taken")
    plan = REQUESTS["create_plan"](company)
    order = {"customer_guid": customer, "amount": 100}
    headers = {"Idempotency-Key": KEY}
    before = unmoved(engine, sandbox)
    for status, method, path, params in (
        (400, "POST", "/v1/plans", {"plan_type": "debit"}),
        (400, "POST", "/v1/invoices", {**order, "funding_instrument_uri": "/cards/not-found"}),
        (400, "POST", f"/v1/invoices/{canceled}/cancel", {}),
        (400, "POST", "/v1/customers", {"processor_uri": "/customers/not-found"}),
        (404, "POST", "/v1/invoices/IV22222222222222222222222/cancel", {}),
        (409, "POST", f"/v1/invoices/{moving}/cancel", {}),
        (409, "POST", "/v1/plans", {**plan.params, "external_id": "taken"}),
    ):
        company.request(method, path, params, status=status, headers=headers)
        assert keys() == []
    company.post("/v1/plans", body=b"a", status=415, headers={**headers, "Content-Type": "text/plain"})
    company.post("/v1/plans", body=b"x" * 1_048_577, status=413, headers=headers)
    Client(company.app, "wrong").post("/v1/plans", plan.params, status=401, headers=headers)
    assert keys() == []
    assert unmoved(engine, sandbox) == before
    assert plan(KEY).json["guid"] == plan(KEY).json["guid"]


@pytest.mark.parametrize("fault", [Refused("no", hard=True), Misconfigured("revoked")])
def test_a_refusal_by_the_processor_frees_the_key_too(
    company: Client, sandbox: Any, keys: Any, fault: Exception
) -> None:
    send = REQUESTS["create_invoice"](company)
    sandbox.fault = fault
    send(KEY, status=400)
    assert keys() == []
    sandbox.fault = None
    assert send(KEY).json["status"] == "settled"


@pytest.mark.parametrize("fault", [Unavailable("away"), OutcomeUnknown("lost"), TypeError("a bug")])
def test_after_a_failure_of_ours_or_the_processors_the_key_waits_for_the_same_request(
    company: Client, sandbox: Any, keys: Any, fault: Exception, engine: Any
) -> None:
    send = REQUESTS["create_invoice"](company)
    before = unmoved(engine, sandbox)
    sandbox.fault = fault
    send(KEY, status=500 if isinstance(fault, TypeError) else 503)
    [key] = keys()
    assert (key.leased_until, key.record_guid, key.sealed_answer) == (None, None, None)
    sandbox.fault = None
    send(KEY, status=422, amount=1)
    assert unmoved(engine, sandbox) == before
    invoice = send(KEY).json
    assert (invoice["status"], invoice["guid"]) == ("settled", f"IV{key.new_guid}")
    assert send(KEY).json == invoice
    assert len(sandbox.sends()) == 1


# -- the database ------------------------------------------------------------------------------------


@pytest.fixture
def stumble(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the n-th commit of a request fail: before it, or after it although it was done."""

    def arm(number: int, *, is_done: bool) -> None:
        commits = iter(range(1, 100))
        commit = Session.commit

        def stumbling(session: Session) -> None:
            fails = next(commits) == number
            if is_done or not fails:
                commit(session)
            if fails:
                raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

        monkeypatch.setattr(Session, "commit", stumbling)

    return arm


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("commit", [1, 2])
@pytest.mark.parametrize(
    "name", ["create_plan", "refund_invoice", "create_invoice", "delete_customer", "cancel_invoice"]
)
def test_a_commit_that_is_lost_is_made_up_for_and_nothing_is_done_twice(
    name: str, send: Sent, commit: int, is_done: bool, stumble: Any, sandbox: Any, keys: Any, bill: Any, end_leases: Any
) -> None:
    sends = len(sandbox.sends())
    stumble(commit, is_done=is_done)
    answer = send(KEY, status="*")
    if answer.status_int == 503:
        answer = send(KEY)
    assert answer.status_int == 200
    assert send(KEY).body == answer.body
    end_leases()
    bill()
    assert len(sandbox.sends()) - sends == (1 if name in ("refund_invoice", "create_invoice") else 0)
    assert len(keys()) == 1


def test_a_key_that_could_not_be_let_go_of_is_free_after_its_lease(
    company: Client, app: Any, sandbox: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = REQUESTS["create_invoice"](company)

    class Away:
        def begin(self) -> None:
            raise OperationalError("BEGIN", {}, Exception("the server is away"))

    with monkeypatch.context() as patch:
        patch.setitem(app.app.registry, "billy.sessions", Away())
        sandbox.fault = Unavailable("away")
        send(KEY, status=503)
    sandbox.fault = None
    send(KEY, status=409)
    lease_out(session)
    assert send(KEY).json["status"] == "settled"


def test_without_a_key_the_table_is_not_touched(company: Client, statements: Any) -> None:
    with statements() as seen:
        for name in ("create_company", "create_plan", "create_customer", "create_invoice", "cancel_subscription"):
            REQUESTS[name](company)(None)
    assert not [statement for statement in seen if "idempotency" in statement]


def test_a_key_takes_four_statements_more_and_an_answer_three_in_all(company: Client, statements: Any) -> None:
    send, counts = REQUESTS["create_plan"](company), []
    for key in (None, KEY, KEY):
        with statements() as seen:
            send(key)
        counts.append(len(seen))
    without, first, again = counts
    assert first - without == 4
    assert again - 1 == 3  # the first is for the API key


# -- two at once -------------------------------------------------------------------------------------


@each_request
def test_while_the_first_is_at_it_the_second_has_to_wait(
    send: Sent, session: Session, engine: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = unmoved(engine, sandbox)
    with monkeypatch.context() as patch:
        patch.setattr("billy.api.idempotency.Hold", die)  # right after the claim
        with pytest.raises(Death):
            send(KEY)
    for _ in range(2):
        answer = send(KEY, status=409)
        assert answer.json["error_class"] == "IdempotencyKeyInUse"
        assert answer.headers["Retry-After"] == "1"
    if send.path != "/v1/companies":
        send(KEY, status=422, something="else")
    assert unmoved(engine, sandbox) == before
    lease_out(session)
    assert "Idempotent-Replayed" not in send(KEY).headers
    assert send(KEY).headers["Idempotent-Replayed"] == "true"


def test_a_lease_is_longer_than_a_request_can_take(settings: Any, company: Client, keys: Any, clock: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("billy.api.idempotency.Hold", die)
        with pytest.raises(Death):
            REQUESTS["create_plan"](company)(KEY)
    [key] = keys()
    assert settings.request_lease > settings.request_deadline + settings.call_deadline
    assert key.leased_until - key.created_at >= settings.request_lease or key.leased_until.year > clock.now.year


def test_the_documentation_tells_the_times_that_are_the_defaults(settings: Any) -> None:
    text = (Path(__file__).parents[2] / "docs" / "idempotency.md").read_text()
    assert f"({settings.request_lease.total_seconds():g} s)" in text
    assert f"({settings.keep_answers.total_seconds() / 3600:g} h)" in text
    assert KEEP_REGISTRATIONS.total_seconds() == 3600
    assert "kept for one hour only" in text


@pytest.mark.parametrize(
    "name", ["create_invoice", "create_subscription", "change_invoice", "change_subscription", "create_customer"]
)
def test_who_was_taken_for_dead_and_is_not_does_nothing_any_more(
    name: str, send: Sent, sandbox: Any, sessions: Any, engine: Any, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out while the processor was asked, and somebody else has the key now."""
    before = unmoved(engine, sandbox)

    def overtaken(method: str) -> Any:
        asked = getattr(SandboxProcessor, method)

        def ask(*arguments: Any, **options: Any) -> Any:
            answer = asked(*arguments, **options)
            with sessions.begin() as session:
                session.execute(update(IdempotencyKey).values(owner="another"))
            return answer

        return ask

    with monkeypatch.context() as patch:
        for method in ("validate_funding_instrument", "create_customer"):
            patch.setattr(SandboxProcessor, method, overtaken(method))
        answer = send(KEY, status=409)
    assert answer.json["error_class"] == "IdempotencyKeyInUse"
    assert unmoved(engine, sandbox) == before
    [key] = keys()
    assert (key.owner, key.sealed_answer, key.record_guid) == ("another", None, None)


@pytest.mark.postgresql  # SQLite has one writer at a time, and who sends within a request waits for himself
@pytest.mark.parametrize("name", ["create_invoice", "create_subscription", "change_invoice", "create_customer"])
def test_who_was_overtaken_by_one_who_finished_is_told_so_and_does_nothing(
    name: str, send: Sent, sandbox: Any, session: Session, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaking: list[Any] = []

    def slow(method: str) -> Any:
        asked = getattr(SandboxProcessor, method)

        def ask(*arguments: Any, **options: Any) -> Any:
            answer = asked(*arguments, **options)
            if not overtaking:
                overtaking.append(None)
                lease_out(session)
                overtaking[0] = send(KEY)
            return answer

        return ask

    with monkeypatch.context() as patch:
        for method in ("validate_funding_instrument", "create_customer"):
            patch.setattr(SandboxProcessor, method, slow(method))
        before, sends = stored(engine), len(sandbox.sends())
        answer = send(KEY, status=409)
    assert answer.json["error_class"] == "IdempotencyKeyInUse"
    [done] = overtaking
    assert "Idempotent-Replayed" not in done.headers
    after = stored(engine)
    assert len(sandbox.sends()) - sends == (0 if name == "create_customer" else 1)
    if name.startswith("create_"):
        [table] = [table for table in ("customer", "invoice", "subscription") if name.endswith(table)]
        assert len(after[table]) - len(before[table]) == 1
    assert send(KEY).body == done.body


def test_another_content_type_is_another_request(company: Client) -> None:
    path, headers = REQUESTS["cancel_invoice"](company).path, {"Idempotency-Key": KEY}
    company.post(path, body=b"{}", headers={**headers, "Content-Type": "application/json"})
    company.post(path, body=b"{}", headers={**headers, "Content-Type": "text/plain"}, status=422)
    company.post(path, body=b"{}", headers=headers, status=422)


# -- browsers ----------------------------------------------------------------------------------------


@pytest.mark.ini({"api.allowed_origins": "https://shop.example"})
def test_a_browser_may_send_a_key_and_see_that_it_was_heeded(api: Api, company: Client) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    preflight = api.anonymous.request("OPTIONS", "/v1/plans", headers=headers, status=204).headers
    assert "Idempotency-Key" in preflight["Access-Control-Allow-Headers"].split(", ")
    exposed = preflight["Access-Control-Expose-Headers"].split(", ")
    assert {"Idempotent-Replayed", "Retry-After"} <= set(exposed)
