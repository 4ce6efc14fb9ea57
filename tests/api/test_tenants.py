"""Tenants: for every route and method, one company's key opens nothing of another's.

The cases are made from the document of the API, so a route that is added tomorrow is among them.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import event, select

from billy.api.operations import Operation, operations
from billy.models import Transaction
from billy.models.company import ApiKey, _company_of_api_key
from billy.secrets import hash_key
from tests.support.bystander import Bystander
from tests.support.client import Client

# What else has to be in a body for it to be refused for no other reason; a new one has to be put here.
GOOD = {
    "create_subscription": {"funding_instrument_uri": "/cards/ok"},
    "change_subscription": {"funding_instrument_uri": "/cards/ok", "open_invoices": True},
    "cancel_subscription": {"open_invoices": True},
    "create_invoice": {"amount": 500, "funding_instrument_uri": "/cards/ok"},
    "change_invoice": {"funding_instrument_uri": "/cards/ok"},
    "refund_invoice": {"amount": 1},
}


@pytest.fixture
def theirs(bystander: Bystander, sessions: Any) -> dict[str, str]:
    """A guid of each kind of the bystander's, by the noun of its path."""
    with sessions() as session:
        of_theirs = select(Transaction.guid).where(Transaction.company_guid == bystander.company.guid)
        transaction = session.scalars(of_theirs).first()
    return {
        "companies": bystander.company.guid,
        "customers": bystander.customer.guid,
        "plans": bystander.plan.guid,
        "subscriptions": bystander.subscription.guid,
        "invoices": bystander.settled.guid,
        "transactions": transaction,
    }


def below_a_guid(app: Any) -> list[Operation]:
    return [each for each in operations(app.app.registry) if "{guid}" in each.path and each.route != "callback"]


def path_of(operation: Operation, guids: dict[str, str]) -> str:
    return operation.path.replace("{guid}", guids[operation.path.split("/")[2]])


def test_another_companys_guid_in_a_path_is_404_whatever_one_asks(app: Any, company: Client, theirs: Any) -> None:
    tried = 0
    for operation in below_a_guid(app):
        path = path_of(operation, theirs)
        bodies = [{"json": GOOD.get(operation.view.__name__, {})}, {"params": GOOD.get(operation.view.__name__, {})}]
        for sent in bodies if operation.body else [{}]:
            answer = company.request(operation.method, path, status=404, **sent).json
            assert answer["error_class"] == "NotFound"
            tried += 1
        if operation.method == "GET":
            company.request("HEAD", path, status=404)
    assert tried >= 27


def test_it_is_told_in_the_words_of_a_guid_that_nobody_has(app: Any, company: Client, theirs: Any) -> None:
    nobodys = {noun: f"{guid[:2]}{'2' * 22}" for noun, guid in theirs.items()}
    for operation in below_a_guid(app):
        sent = {"json": GOOD.get(operation.view.__name__, {})} if operation.body else {}
        told = []
        for guids in (theirs, nobodys):
            answer = company.request(operation.method, path_of(operation, guids), status=404, **sent).json
            told.append(re.sub(r"[A-Z]{2}\w{22}", "GUID", answer["error_message"]))
        assert told[0] == told[1]


def test_the_owners_own_key_opens_every_one_of_them(app: Any, api: Any, theirs: Any, bystander: Bystander) -> None:
    owner = api.client(bystander.api_key)
    for operation in below_a_guid(app):
        if operation.method == "GET":  # the others would move what must not move
            owner.get(path_of(operation, theirs))


def test_another_companys_guid_in_a_body_is_400_and_named(app: Any, company: Client, theirs: Any) -> None:
    own = {
        "customer_guid": company.post("/v1/customers").json["guid"],
        "plan_guid": company.post("/v1/plans", {"plan_type": "debit", "frequency": "daily", "amount": 50}).json["guid"],
    }
    tried = set()
    for operation in operations(app.app.registry):
        fields = [name for name in (operation.body.model_fields if operation.body else ()) if name.endswith("_guid")]
        for name in fields:
            good = {**GOOD[operation.view.__name__], **{field: own[field] for field in fields}}
            guid = theirs[f"{name.removesuffix('_guid')}s"]
            for sent in ({"json": {**good, name: guid}}, {"params": {**good, name: guid}}):
                answer = company.request(operation.method, operation.path, status=400, **sent).json
                model = name.removesuffix("_guid").capitalize()
                assert answer["errors"] == {name: [f"No such {model} record {guid}"]}
            tried.add((operation.route, name))
    assert tried == {("subscriptions", "customer_guid"), ("subscriptions", "plan_guid"), ("invoices", "customer_guid")}


def test_another_companys_guid_in_a_query_finds_nothing(app: Any, company: Client, theirs: Any) -> None:
    tried = 0
    for operation in operations(app.app.registry):
        if operation.query is None or "{" in operation.path:
            continue
        for name in operation.query.model_fields:
            if name.endswith("_guid"):
                guid = theirs[f"{name.removesuffix('_guid')}s"]
                page = company.get(operation.path, {name: guid, "count": "true"}).json
                assert (page["items"], page["total"]) == ([], 0)
                tried += 1
        noun = operation.path.rpartition("/")[2]
        company.get(operation.path, {"after": theirs[noun]}, status=400)
    assert tried == 9


def test_no_list_shows_a_record_of_another_company(app: Any, company: Client, theirs: Any) -> None:
    for operation in operations(app.app.registry):
        if operation.query is not None and "{" not in operation.path:
            page = company.get(operation.path, {"count": "true"}).json
            assert (page["items"], page["total"]) == ([], 0)


def test_a_callback_url_of_another_company_does_not_work_with_ones_own_secret(
    api: Any, company: Client, callback_path: Any, sandbox: Any, bystander: Bystander
) -> None:
    path = callback_path(company).replace(company.guid, bystander.company.guid)
    api.anonymous.post(path, body=sandbox.announce("a-processor-key"), status=404)


# -- finding the company of a key --------------------------------------------------------------------
#
# How long a look-up takes cannot tell how much of a key is right, because no key is ever compared: what the
# database compares is its SHA-256, and a key that is right but for its last character has a hash that has as
# little to do with the stored one as any other. So the mechanism is tested, and not times, which a test could
# only measure badly: one query, by the hash, whole, through a unique index.


def test_a_key_is_looked_up_by_its_whole_hash_and_never_sent_or_stored(
    app: Any, api: Any, company: Client
) -> None:
    sent: list[Any] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        sent.append((statement, parameters))

    key = company.api_key
    first, last = ("3" if key[0] == "2" else "2"), ("1" if key[-1] != "1" else "2")
    near = [key[:-1] + last, key[:1] + key[1:][::-1], first + key[1:], "x"]
    event.listen(app.app.registry["billy.engine"], "before_cursor_execute", note)
    for guess in near:
        api.client(guess).get("/v1/plans", status=401)
    # Without the time-out that stands before each (billy.db).
    sent = [(statement.rpartition("; ")[2], parameters) for statement, parameters in sent]
    sent = [(statement, parameters) for statement, parameters in sent if not statement.startswith(("BEGIN", "PRAGMA"))]
    assert len(sent) == len(near), "one query, whatever the key is"
    assert len({statement for statement, _ in sent}) == 1
    for guess, (_, parameters) in zip(near, sent, strict=True):
        assert hash_key(guess) in repr(parameters)
    assert "api_key.key_hash = " in str(_company_of_api_key())
    assert not any(guess in repr(sent) for guess in near if len(guess) > 1)


def test_the_hash_is_found_by_a_unique_index_and_keeps_nothing_of_how_near_a_key_is() -> None:
    assert ApiKey.__table__.c.key_hash.unique
    one, other = hash_key("a" * 43 + "b"), hash_key("a" * 43 + "c")
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 16, "64 digits agree by chance in 4"
