"""Keys, headers, paths, bodies, and what is not even HTTP."""

from __future__ import annotations

import base64
import json
import socket

import pytest
import urllib3
from webtest import TestApp

from billy.testing.balanced_simulator import BalancedSimulator, Chaos
from billy.testing.http_app import AnswerLost
from tests.testing.balanced_simulator.client import Client, client_of


@pytest.mark.parametrize("password", ["", "None", "anything:else"])
def test_only_the_user_name_is_looked_at(api: Client, stranger: Client, password: str) -> None:
    encoded = base64.b64encode(f"{api.key}:{password}".encode()).decode()
    answer = stranger.send("GET", "/marketplaces", headers={"Authorization": f"Basic {encoded}"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "authorization",
    ["Basic", "Basic !", "Basic YQ", "Basic /w==", "Bearer x", "Basic YWstdGVzdC1ub25lOg==", "Basic Og==", "Ä"],
)
def test_what_is_no_key_is_unauthenticated(stranger: Client, authorization: str) -> None:
    headers = {"Authorization": authorization}
    for method, path in (("GET", "/debits"), ("POST", "/cards"), ("POST", "/api_keys"), ("GET", "/nowhere")):
        answer = stranger.send(method, path, headers=headers)
        assert (answer.status, answer.error["category_code"]) == (401, "authentication-required")
        assert answer.error["category_type"] == "permission"


def test_without_a_key_one_may_only_tokenise_and_begin(stranger: Client) -> None:
    assert stranger.get("/cards", 401).error["status"] == "Unauthorized"
    stranger.post("/customers", status=401)
    stranger.post("/marketplaces", status=401)
    stranger.post("/cards/CC1/debits", status=401)
    assert stranger.post("/api_keys").item["secret"].startswith("ak-test-")


def test_a_revoked_key_is_refused_and_another_of_the_company_is_not(simulator: BalancedSimulator, api: Client) -> None:
    second = api.post("/api_keys").item["secret"]
    assert api.key is not None
    simulator.revoke(api.key)
    api.get("/debits", 401)
    with client_of(api.url, second) as client:
        client.get("/debits")


def test_a_key_can_delete_another(api: Client) -> None:
    second = api.post("/api_keys").item
    api.delete(second["href"])
    with client_of(api.url, second["secret"]) as client:
        client.get("/debits", 401)


def test_only_the_creation_shows_a_secret(api: Client) -> None:
    made = api.post("/api_keys").item
    assert made.keys() == {"id", "href", "created_at", "links", "meta", "secret"}
    assert api.get(made["href"]).item.keys() == {"id", "href", "created_at", "links", "meta"}
    assert not any("secret" in key for key in api.get("/api_keys").items)


def test_a_new_company_makes_its_only_marketplace(stranger: Client) -> None:
    secret = stranger.post("/api_keys", {}).item["secret"]
    with client_of(stranger.url, secret) as client:
        assert client.post("/customers", status=409).error["category_code"] == "marketplace-required"
        marketplace = client.post("/marketplaces", {}).item
        assert (marketplace["name"], marketplace["domain_url"]) == ("Test Marketplace", "example.com")
        assert (marketplace["in_escrow"], marketplace["unsettled_fees"], marketplace["production"]) == (0, 0, False)
        assert client.post("/marketplaces", status=409).error["category_code"] == "marketplace-already-created"
        assert client.get("/marketplaces?limit=25&offset=0").items == [client.get(marketplace["href"]).item]
        assert client.get(marketplace["href"]).json["links"]["marketplaces.debits"] == "/debits"


@pytest.mark.parametrize("path", ["/", "//", "/nowhere", "/debits/WDnone", "/debits/", "/cards/a/b/c", "/resources/x"])
def test_an_unknown_path_is_not_found(api: Client, path: str) -> None:
    error = api.get(path, 404).error
    assert (error["category_type"], error["category_code"]) == ("request", "not-found")


def test_an_id_is_found_only_under_its_own_type(api: Client) -> None:
    card = api.card()
    api.get(f"/bank_accounts/{card['id']}", 404)
    api.get(f"/cards/{card['id']}/refunds", 404)


@pytest.mark.parametrize(
    "method, path",
    [("DELETE", "/debits"), ("POST", "/events"), ("POST", "/refunds"), ("POST", "/orders"), ("PUT", "/cards")],
)
def test_a_method_that_the_path_does_not_take_is_refused(api: Client, method: str, path: str) -> None:
    answer = api.send(method, path)
    assert (answer.status, answer.error["category_code"]) == (405, "method-not-allowed")


def test_money_cannot_be_deleted(api: Client) -> None:
    api.delete(api.debit()["href"], 405)


def test_what_can_be_made_under_a_record_and_is_not_listed_there_takes_no_get(api: Client) -> None:
    api.get(f"{api.card()['href']}/holds", 405)


def test_any_object_is_found_among_the_resources(api: Client) -> None:
    debit = api.debit()
    for item, name in ((debit, "debits"), (api.customer(), "customers"), (api.bank_account(), "bank_accounts")):
        assert api.get(f"/resources/{item['id']}").json[name] == [item]


@pytest.mark.parametrize("wrap", [lambda body: body, lambda body: {"customers": [body]}], ids=["bare", "wrapped"])
def test_a_body_may_be_bare_or_wrapped(api: Client, wrap: object) -> None:
    assert api.post("/customers", wrap({"name": "Benny"})).item["name"] == "Benny"  # type: ignore[operator]


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"\xff\xfe", b"[" * 100_000, b'"text"', b"null", b"7", b"[]x", b'{"customers": []}', b"[1]", b"NaN"),
        *(b'{"customers": [1]}', b'{"customers": [{}, {}]}', b'[{"op": "move"}]', b'[{"op": "add", "path": "/x"}]'),
        *(b'{"name": 7}', b'{"meta": 7}', b'{"meta": {"a": 1}}', b'{"meta": {"a": {}}}', b'{"address": "here"}'),
        *(b'{"name": "\\ud800"}', b'{"source": {}}', b'{"source": "https://example.com/cards/CC1"}'),
        *(b'{"dob_month": 13}', b'{"dob_month": 1.5}', b'{"dob_month": true}', b'{"dob_year": "\xd9\xa1"}'),
        *(b'{"dob_year": ' + b"9" * 10_000 + b"}", b'{"email": "nobody"}', b'{"email": []}'),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_cannot_be_meant_is_refused(api: Client, body: bytes) -> None:
    error = api.post("/customers", body, 400).error
    assert (error["category_type"], error["category_code"]) == ("request", "request")
    assert api.get("/customers").items == []


def test_meta_is_one_level_of_short_strings(api: Client) -> None:
    at_most = {"k" * 255: "v" * 255}
    assert api.customer(meta=at_most)["meta"] == at_most
    for meta in ({"k" * 256: ""}, {"k": "v" * 256}, {"k": None}):
        assert "meta" in api.post("/customers", {"meta": meta}, 400).error["extras"]


def test_connections_are_kept(api: Client) -> None:
    for _ in range(5):
        api.get("/debits")
        api.get("/nowhere", 404)
        api.post("/customers", b"{", 400)
    [pool] = [api.pool.pools[key] for key in api.pool.pools.keys()]  # noqa: SIM118  # no mapping
    assert pool.num_connections == 1
    assert pool.num_requests == 15


LEGACY = {
    "customers": ["/v1/customers/{id}", "/v1/marketplaces/{MP}/accounts/{id}"],
    "cards": [
        "/v1/cards/{id}",
        "/v1/marketplaces/{MP}/cards/{id}",
        "/v1/customers/{CU}/cards/{id}",
        "/v1/marketplaces/{MP}/accounts/{CU}/cards/{id}",
    ],
    "bank_accounts": [
        "/v1/bank_accounts/{id}",
        "/v1/marketplaces/{MP}/bank_accounts/{id}",
        "/v1/customers/{CU}/bank_accounts/{id}",
        "/v1/marketplaces/{MP}/accounts/{CU}/bank_accounts/{id}",
    ],
    "debits": ["/v1/marketplaces/{MP}/debits/{id}"],
    "credits": ["/v1/marketplaces/{MP}/credits/{id}"],
    "refunds": ["/v1/marketplaces/{MP}/refunds/{id}"],
    "card_holds": ["/v1/marketplaces/{MP}/holds/{id}", "/holds/{id}"],
    "events": ["/v1/events/{id}"],
    "marketplaces": ["/v1/marketplaces/{id}"],
}


@pytest.mark.parametrize("type, path", [(noun, path) for noun, paths in LEGACY.items() for path in paths])
def test_a_legacy_path_is_answered_directly_with_the_new_body(api: Client, type: str, path: str) -> None:
    customer = api.customer()
    card, account = api.card("4342561111111118"), api.bank_account()
    for instrument in (card, account):
        api.put(instrument["href"], {"customer": customer["id"]})
    api.credit(account)
    api.post(f"{api.debit(card)['href']}/refunds")
    item = api.get(f"/{type}").items[0]
    marketplace = api.get("/marketplaces").item["id"]
    answer = api.get(path.format(id=item["id"], MP=marketplace, CU=customer["id"]))
    assert answer.json[type] == [item]
    assert not answer.json[type][0]["href"].startswith("/v1")


def test_a_legacy_path_must_be_true_all_the_way(api: Client, other: Client) -> None:
    card, customer = api.card(), api.customer()
    theirs = other.get("/marketplaces").item["id"]
    api.get(f"/v1/marketplaces/{theirs}/cards/{card['id']}", 404)
    api.get(f"/v1/customers/{customer['id']}/cards/{card['id']}", 404)


@pytest.mark.parametrize("spelling", ["{id}", "{href}", "/v1/customers/{id}", "/v1/marketplaces/MPx/accounts/{id}"])
def test_a_reference_may_be_spelled_in_any_way(api: Client, spelling: str) -> None:
    customer, card = api.customer(), api.card()
    reference = spelling.format(**customer)
    assert api.put(card["href"], {"links": {"customer": reference}}).item["links"]["customer"] == customer["id"]


def raw(simulator: BalancedSimulator, sent: bytes) -> bytes:
    host, _, port = simulator.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /debits HTTP/9.9\r\n\r\n", 505),
        (b"BREW /debits HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"POST /cards HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /cards HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /cards HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /cards HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET /%ff%fe%00?%ff=%fe&limit=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET http://elsewhere/debits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_what_is_not_even_http_is_told_in_json(simulator: BalancedSimulator, sent: bytes, status: int) -> None:
    head, _, body = raw(simulator, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/json\r\n" in head + b"\r\n"
    assert json.loads(body)["errors"][0]["status_code"] == status


def test_a_head_request_has_no_body(simulator: BalancedSimulator) -> None:
    sent = b"HEAD /debits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(simulator, sent).endswith(b"\r\n\r\n")


def test_the_application_is_wsgi(simulator: BalancedSimulator) -> None:
    app = TestApp(simulator.app)  # which checks what WSGI demands
    app.authorization = ("Basic", (simulator.new_key(), ""))
    card = app.post_json("/cards", {"number": "4111111111111111", "expiration_month": 12, "expiration_year": 2999}).json
    href = card["cards"][0]["href"]
    assert app.post_json(f"{href}/debits", {"amount": 100}).json["debits"][0]["status"] == "succeeded"
    assert app.delete(href).status_code == 204
    assert app.get("/simulator/ledger").json["records"][0]["amount"] == 100
    simulator.chaos = Chaos(deck=["drop-after"])
    with pytest.raises(AnswerLost):
        app.post_json("/debits", {"amount": 100})


def test_nobody_acts_on_half_a_request(simulator: BalancedSimulator) -> None:
    before = len(simulator.store.companies)
    assert raw(simulator, b"POST /api_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}") == b""
    assert len(simulator.store.companies) == before


def test_a_bug_of_the_simulators_is_not_kept_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("not a client's fault")

    with pytest.raises(AssertionError, match="not a client's fault"):
        with BalancedSimulator.started() as simulator:
            monkeypatch.setattr("billy.testing.balanced_simulator.app.answer_call", broken)
            client = Client(simulator.url, simulator.new_key())
            with pytest.raises(urllib3.exceptions.ProtocolError):
                client.get("/debits")
            client.pool.clear()
