"""Events, and the callbacks that tell of them."""

from __future__ import annotations

import re

import pytest

from billy.testing.balanced_simulator import BalancedSimulator
from billy.testing.courier import RETRIES
from tests.testing.balanced_simulator.client import Client
from tests.testing.receiver import receiving


def types(api: Client, path: str = "/events") -> list[str]:
    """Oldest first."""
    return [event["type"] for event in reversed(api.get(f"{path}?limit=100").items)]


def test_a_debit_of_a_card_has_a_history(api: Client) -> None:
    api.debit()
    made = ["card.created", "hold.created", "hold.updated", "debit.created", "hold.captured", "debit.succeeded"]
    assert sorted(types(api)) == sorted(made)
    assert types(api)[0] == "card.created"
    assert types(api)[-1] == "debit.succeeded"


def test_each_change_has_its_event(api: Client, simulator: BalancedSimulator) -> None:
    customer, card = api.customer(), api.card()
    api.put(card["href"], {"customer": customer["href"]})
    debit = api.debit(card)
    refund = api.post(f"{debit['href']}/refunds").item
    assert types(api, f"{refund['href']}/events") == ["refund.created", "refund.succeeded"]
    credit = api.credit(api.bank_account("9900000000"))
    assert types(api, f"{credit['href']}/events") == ["credit.created"]
    api.post(f"{credit['href']}/reversals")
    simulator.settle(credit["href"], "failed")
    assert types(api, f"{credit['href']}/events") == ["credit.created", "credit.failed"]
    api.verified()
    api.delete(card["href"])
    api.put(customer["href"], {"name": "x"})
    assert {"account.created", "account.updated", "card.created", "card.updated", "card.invalidated"} < set(types(api))
    assert {"bank_account.created", "bank_account_verification.succeeded", "reversal.created"} < set(types(api))


def test_an_event_shows_the_object_as_it_was_shortly_after(api: Client) -> None:
    debit = api.debit()
    [created] = api.get("/events?type=debit.created").items
    assert re.match(r"EV[0-9a-f]{32}\Z", created["id"])
    assert created.keys() == {"callback_statuses", "entity", "href", "id", "links", "occurred_at", "type"}
    assert created["entity"]["debits"] == [debit]
    assert created["entity"].keys() == {"debits", "links"}
    assert created["occurred_at"] == debit["updated_at"]
    assert api.get(created["href"]).item == created


def test_an_event_is_a_snapshot(api: Client) -> None:
    debit = api.debit(description="a")
    api.put(debit["href"], {"description": "b"})
    [created] = api.get("/events?type=debit.created").items
    assert created["entity"]["debits"][0]["description"] == "a"
    [updated] = api.get("/events?type=debit.updated").items
    assert updated["entity"]["debits"][0]["description"] == "b"


def test_customers_appear_as_accounts(api: Client) -> None:
    customer = api.customer()
    [event] = api.get("/events?type=account.created").items
    assert event["entity"]["customers"] == [customer]


def test_a_refused_debit_has_an_event_that_says_why(api: Client) -> None:
    api.post(f"{api.card('4444444444444448')['href']}/debits", {"amount": 100}, 402)
    [failed] = api.get("/events?type=debit.failed").items
    [debit] = failed["entity"]["debits"]
    assert (debit["status"], debit["failure_reason_code"]) == ("failed", "card-declined")


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_what_is_pending_ends_one_day(api: Client, simulator: BalancedSimulator, status: str) -> None:
    debit = api.debit(api.verified("9900000000"))
    assert (debit["status"], debit["links"]["card_hold"]) == ("pending", None)
    event = simulator.settle(debit["href"], status)
    settled = api.get(debit["href"]).item
    assert settled["status"] == status
    assert (settled["failure_reason"] is None) is (status == "succeeded")
    shown = api.get(event.href).item
    assert (shown["type"], shown["entity"]["debits"]) == (f"debit.{status}", [settled])


# --- callbacks ---


def test_a_callback_is_registered_once(api: Client) -> None:
    callback = api.post("/callbacks", {"url": "http://127.0.0.1:9/"}).item
    assert callback == {**callback, "links": {}, "method": "post", "revision": "1.1", "url": "http://127.0.0.1:9/"}
    assert callback.keys() == {"href", "id", "links", "method", "revision", "url"}
    assert api.post("/callbacks", {"url": callback["url"]}, 409).error["category_code"] == "duplicate-webhook-url"
    api.post("/callbacks", {"url": callback["url"] + "other"})
    api.delete(callback["href"])
    assert len(api.get("/callbacks").items) == 1


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"url": ""}, {"url": "nowhere"}, {"url": "ftp://x/"}, {"url": "http://"}, {"url": "http://[/"}),
        *({"url": "http://x:99999/"}, {"url": "http://x/", "method": "brew"}, {"url": "http://x/", "revision": "2"}),
    ],
)
def test_a_callback_that_cannot_be_meant_is_refused(api: Client, body: dict[str, str]) -> None:
    api.post("/callbacks", body, 400)
    assert api.get("/callbacks").items == []


def test_an_event_is_delivered_as_an_envelope(api: Client, simulator: BalancedSimulator) -> None:
    with receiving() as receiver:
        api.post("/callbacks", {"url": receiver.url})
        customer = api.customer()
        simulator.wait_for_callbacks()
    [(method, headers, _)] = receiver.received
    assert (method, headers["Content-Type"], headers["User-Agent"]) == (
        "POST",
        "application/json",
        "balanced/hooker/1.0",
    )
    assert "Authorization" not in headers
    [event] = api.get("/events").items
    assert event["callback_statuses"] == {"failed": 0, "pending": 0, "retrying": 0, "succeeded": 1}
    del event["callback_statuses"]
    [body] = receiver.bodies
    assert body == {"events": [{**event, "uri": f"/v1/events/{event['id']}"}], "links": {}}
    assert body["events"][0]["entity"]["customers"] == [customer]
    assert [shown["status"] for shown in api.get(f"{event['href']}/callbacks").items] == ["succeeded"]


def test_an_old_callback_gets_the_event_bare(api: Client, simulator: BalancedSimulator) -> None:
    with receiving() as receiver:
        api.post("/callbacks", {"url": receiver.url, "revision": "1.0", "method": "PUT"})
        customer = api.customer()
        simulator.wait_for_callbacks()
    [body] = receiver.bodies
    assert receiver.received[0][0] == "PUT"
    assert body.keys() == {"id", "uri", "type", "occurred_at", "entity"}
    assert (body["type"], body["entity"]) == ("account.created", customer)


def test_a_receiver_that_fails_is_asked_again(api: Client, simulator: BalancedSimulator) -> None:
    with receiving(500, 302, 404) as receiver:
        api.post("/callbacks", {"url": receiver.url})
        api.customer()
        simulator.wait_for_callbacks()
    assert len(receiver.received) == 4
    assert len({body for _, _, body in receiver.received}) == 1
    assert [(d.attempt, d.status) for d in simulator.deliveries()] == [(1, 500), (2, 302), (3, 404), (4, 200)]
    assert api.get("/events").items[0]["callback_statuses"]["succeeded"] == 1


def test_a_receiver_that_fails_long_enough_is_given_up(api: Client, simulator: BalancedSimulator) -> None:
    simulator.courier._retry_delay = 0  # the doubling of nothing
    with receiving(*[500] * (RETRIES + 1)) as receiver:
        api.post("/callbacks", {"url": receiver.url})
        api.customer()
        simulator.wait_for_callbacks()
    assert len(receiver.received) == RETRIES + 1
    assert api.get("/events").items[0]["callback_statuses"]["failed"] == 1


def test_each_retry_waits_twice_as_long_and_all_take_a_week(simulator: BalancedSimulator) -> None:
    with BalancedSimulator.started() as patient:
        first = patient.courier._retry_delay
    waits = [first * 2**n for n in range(RETRIES)]
    assert waits[0] == 600
    assert 7 <= sum(waits) / 86400 < 8


def test_a_receiver_that_is_away_does_not_stop_the_others(api: Client, simulator: BalancedSimulator) -> None:
    with receiving() as receiver:
        away = api.post("/callbacks", {"url": "http://127.0.0.1:9/"}).item
        api.post("/callbacks", {"url": receiver.url})
        api.customer()
        api.delete(away["href"])
        simulator.wait_for_callbacks()
    assert len(receiver.received) == 1


def test_only_the_companys_own_events_are_told(api: Client, other: Client, simulator: BalancedSimulator) -> None:
    with receiving() as receiver, receiving() as second:
        api.post("/callbacks", {"url": receiver.url})
        api.post("/callbacks", {"url": second.url})
        theirs = Client(api.url, simulator.new_key())
        theirs.customer()
        theirs.pool.clear()
        customer = api.customer()
        simulator.wait_for_callbacks()
    for told in (receiver.bodies, second.bodies):
        assert [body["events"][0]["entity"]["customers"][0]["id"] for body in told] == [customer["id"]]


def test_the_body_of_a_callback_can_be_asked_for(api: Client, simulator: BalancedSimulator) -> None:
    with receiving() as receiver:
        api.post("/callbacks", {"url": receiver.url})
        debit = api.debit(api.card("4999990000000015"))
        event = simulator.settle(debit["id"], "succeeded")
        simulator.wait_for_callbacks()
    assert simulator.callback_body(event.id) in [body for _, _, body in receiver.received]


def test_waiting_for_what_does_not_come_ends(api: Client) -> None:
    with BalancedSimulator.started(retry_delay=600) as simulator:
        client = Client(simulator.url, simulator.new_key())
        client.post("/callbacks", {"url": "http://127.0.0.1:9/"})
        client.customer()
        client.pool.clear()
        with pytest.raises(TimeoutError, match="1 callbacks"):
            simulator.wait_for_callbacks(0.1)
