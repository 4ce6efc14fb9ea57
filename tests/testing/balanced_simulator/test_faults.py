"""Magic cards, the chaos switch, outages: everything that goes wrong on purpose."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from pydantic import ValidationError

from billy.testing.balanced_simulator import CARDS, OUR_CARDS, BalancedSimulator, Chaos, Fault
from billy.testing.balanced_simulator.resources.cards import passes_luhn
from tests.testing.balanced_simulator.client import Client

LOST = (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError)
SERVER_ERRORS = (500, 502, 503, 504)


def number_of(behavior: str) -> str:
    [number] = [number for number, name in OUR_CARDS.items() if name == behavior]
    return number


def debit_status(api: Client, card: Any, timeout: float = 20) -> int | None:
    """The status of the answer; None if none came, or not all of it."""
    api.pool.connection_pool_kw["timeout"] = timeout
    api.pool.clear()
    try:
        return api.send("POST", f"{card['href']}/debits", {"amount": 100}).status
    except LOST:
        return None


def made(simulator: BalancedSimulator, api: Client) -> int:
    """How many records of the company's money did not fail."""
    return sum(entry.status != "failed" for entry in simulator.ledger(key=api.key))


@pytest.mark.parametrize("number", [*CARDS, *OUR_CARDS])
def test_a_magic_number_can_be_a_cards(number: str) -> None:
    assert passes_luhn(number)


def test_no_number_has_two_meanings() -> None:
    assert not CARDS.keys() & OUR_CARDS.keys()


@pytest.mark.parametrize(
    "behavior, statuses, charges",
    [
        ("pending", [201], 1),
        ("fails", [201], 0),
        ("declined-without-record", [402, 402], 0),
        ("declined-twice", [402, 402, 201, 201], 2),
        ("insufficient-funds", [409, 409], 0),
        ("not-valid", [409, 409], 0),
        ("slow-down", [429, 429], 0),
        ("lost-before", [None, 201], 1),
        ("lost-after", [None, 201], 2),
        ("half", [None, 201], 2),
    ],
)
def test_our_cards_behave_as_their_names_say(
    api: Client, simulator: BalancedSimulator, behavior: str, statuses: list[int | None], charges: int
) -> None:
    card = api.card(number_of(behavior))
    assert [debit_status(api, card) for _ in statuses] == statuses
    assert made(simulator, api) == charges


@pytest.mark.parametrize("behavior, charges", [("error-before", 1), ("error-after", 2)])
def test_our_cards_can_break_the_service(
    api: Client, simulator: BalancedSimulator, behavior: str, charges: int
) -> None:
    card = api.card(number_of(behavior))
    assert debit_status(api, card) in SERVER_ERRORS
    assert debit_status(api, card) == 201
    assert made(simulator, api) == charges


def test_nobody_waits_for_a_slow_card_and_it_is_charged(api: Client, simulator: BalancedSimulator) -> None:
    assert debit_status(api, api.card(number_of("slow")), timeout=0.3) is None
    assert made(simulator, api) == 1


def trickle(api: Client, card: Any, seconds: float) -> int:
    """How many bytes come in so many seconds, with a time-out between two that is shorter."""
    request = {"body": b'{"amount": 1}', "headers": urllib3.make_headers(basic_auth=f"{api.key}:")}
    url = f"{api.url}{card['href']}/debits"
    response = api.pool.request("POST", url, timeout=0.5, preload_content=False, **request)
    received, give_up = 0, time.monotonic() + seconds
    while time.monotonic() < give_up:
        received += len(response.read(1))
    response.close()
    return received


def test_an_answer_that_trickles_outlives_a_time_out_between_reads(
    api: Client, simulator: BalancedSimulator
) -> None:
    assert trickle(api, api.card(number_of("trickle")), seconds=1) > 2
    assert made(simulator, api) == 1


def test_who_is_asked_to_slow_down_learns_for_how_long(api: Client) -> None:
    card = api.card(number_of("slow-down"))
    answer = api.send("POST", f"{card['href']}/debits", {"amount": 100})
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "recorded, bare",
    [
        ("4444444444444448", "4999990000000031"),
        ("4999990000000056", "4999990000000197"),
        ("4999990000000064", "4999990000000205"),
    ],
)
def test_a_refusal_without_a_record_shows_only_the_error(api: Client, recorded: str, bare: str) -> None:
    cards = [api.card(recorded), api.card(bare)]
    answers = [api.send("POST", f"{card['href']}/debits", {"amount": 100}) for card in cards]
    assert answers[0].error["category_code"] == answers[1].error["category_code"]
    assert [sorted(answer.json) for answer in answers] == [["debits", "errors", "links"], ["errors"]]
    assert len(api.get("/debits?status=failed").items) == 1


@pytest.mark.parametrize("behavior, status", [("refund-pending", "pending"), ("refund-fails", "failed")])
def test_a_card_may_tell_how_its_refunds_end(api: Client, behavior: str, status: str) -> None:
    debit = api.debit(api.card(number_of(behavior)))
    assert debit["status"] == "succeeded"
    assert api.post(f"{debit['href']}/refunds").item["status"] == status


@pytest.mark.parametrize("behavior, refunds", [("refund-lost-before", 0), ("refund-lost-after", 1)])
def test_a_card_may_lose_its_refunds(
    api: Client, simulator: BalancedSimulator, behavior: str, refunds: int
) -> None:
    debit = api.debit(api.card(number_of(behavior)))
    with pytest.raises(LOST):
        api.post(f"{debit['href']}/refunds", {"amount": 10})
    assert sum(entry.type == "refunds" for entry in simulator.ledger(key=api.key)) == refunds
    api.post(f"{debit['href']}/refunds", {"amount": 10})


def test_our_cards_behave_alike_when_they_are_credited(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card(number_of("lost-after"))
    with pytest.raises(LOST):
        api.credit(card)
    assert [entry.type for entry in simulator.ledger(key=api.key)] == ["credits"]


def test_any_instrument_can_be_told_to_misbehave(api: Client, simulator: BalancedSimulator) -> None:
    card, bystander = api.card(), api.card()
    simulator.behave(card["href"], "declined")
    api.post(f"{card['href']}/debits", {"amount": 100}, 402)
    api.debit(bystander)
    simulator.behave(card["id"], "succeeds")
    api.debit(card)


def test_refunds_can_be_refused_with_any_code(api: Client, simulator: BalancedSimulator) -> None:
    debit = api.debit()
    simulator.behave(debit["links"]["source"], "refund-debit-disputed-without-record")
    assert api.post(f"{debit['href']}/refunds", {}, 409).error["category_code"] == "debit-disputed"
    assert api.get("/refunds?status=failed").items == []


@pytest.mark.parametrize("code, status", [("authorization-failed", 402), ("bank-account-not-valid", 409)])
def test_an_instrument_can_be_refused_with_any_code(
    api: Client, simulator: BalancedSimulator, code: str, status: int
) -> None:
    account = api.verified()
    simulator.behave(account["href"], code)
    answer = api.post(f"{account['href']}/debits", {"amount": 100}, status)
    assert (answer.error["category_code"], answer.item["failure_reason_code"]) == (code, code)


@pytest.mark.parametrize(
    "name",
    [
        *("", "sulks", "refund-sulks", "refund-", "pending-without-record", "-without-record"),
        *("authentication-required", "too-many-requests", "internal-server-error"),
    ],
)
def test_there_is_no_other_behavior(api: Client, simulator: BalancedSimulator, name: str) -> None:
    with pytest.raises(ValueError, match="no behavior"):
        simulator.behave(api.card()["id"], name)


def test_only_instruments_behave(api: Client, simulator: BalancedSimulator) -> None:
    with pytest.raises(ValueError, match="neither a card"):
        simulator.behave(api.customer()["href"], "declined")
    with pytest.raises(KeyError):
        simulator.behave("/cards/CCnone", "declined")


# --- the switch ---


@pytest.mark.parametrize(
    "fault, is_expected, charges",
    [
        (Fault.DROP_BEFORE, lambda status: status is None, 0),
        (Fault.ERROR_BEFORE, lambda status: status in SERVER_ERRORS, 0),
        (Fault.SLOW_DOWN, lambda status: status == 429, 0),
        (Fault.DELAY_BEFORE, lambda status: status == 201, 1),
        (Fault.DROP_AFTER, lambda status: status is None, 1),
        (Fault.ERROR_AFTER, lambda status: status in SERVER_ERRORS, 1),
        (Fault.HALF, lambda status: status is None, 1),
        (Fault.DELAY_AFTER, lambda status: status == 201, 1),
        (Fault.TWICE, lambda status: status == 201, 2),
    ],
)
def test_each_fault_does_what_it_says(
    api: Client, simulator: BalancedSimulator, fault: Fault, is_expected: Callable[[int | None], bool], charges: int
) -> None:
    card = api.card()
    simulator.chaos = Chaos(deck=[fault], delay=0.05)
    assert is_expected(debit_status(api, card, timeout=1))
    assert made(simulator, api) == charges
    assert simulator.chaos.shown()["injected"] == {fault: 1}


def test_an_answer_may_never_end(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card()
    simulator.chaos = Chaos(deck=[Fault.TRICKLE])
    assert trickle(api, card, seconds=0.3) > 0
    assert made(simulator, api) == 1


def test_every_fault_is_tested_above() -> None:
    [mark] = test_each_fault_does_what_it_says.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == set(Fault) - {Fault.TRICKLE}


def test_a_delay_may_come_before_the_charge(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card()
    simulator.chaos = Chaos(deck=[Fault.DELAY_BEFORE], delay=60)
    assert debit_status(api, card, timeout=0.3) is None
    assert made(simulator, api) == 0


def test_a_deck_comes_in_order_and_then_all_is_well(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card()
    simulator.chaos = Chaos(deck=["slow-down", None, "drop-before"])
    assert [debit_status(api, card) for _ in range(4)] == [429, 201, None, 201]
    assert simulator.chaos.shown()["deck"] == []


def test_chaos_keeps_to_what_moves_money(api: Client, simulator: BalancedSimulator) -> None:
    simulator.chaos = Chaos(probabilities={"slow-down": 1})
    card, account = api.card(), api.bank_account()
    for path in (f"{card['href']}/debits", "/debits", "/credits", f"{account['href']}/credits", "/debits/WD1/refunds"):
        api.post(path, {"amount": 1}, 429)
    api.get("/debits")
    api.post(f"{card['href']}/card_holds", {"amount": 1})


def test_chaos_can_be_let_loose_on_anything(api: Client, simulator: BalancedSimulator) -> None:
    simulator.chaos = Chaos(probabilities={"slow-down": 1}, methods={"GET"}, paths="^/(debits|events/)")
    api.get("/debits", 429)
    api.get("/events/EV1", 429)
    api.get("/events")
    api.post("/customers")


def test_a_seed_is_a_sequence() -> None:
    def sequence(seed: int) -> list[Fault | None]:
        chaos = Chaos(probabilities={"drop-after": 0.2, "error-before": 0.3}, seed=seed)
        return [chaos.draw("POST", "/debits") for _ in range(1000)]

    assert sequence(1) == sequence(1) != sequence(2)
    counts = Counter(sequence(1))
    assert 150 < counts[Fault.DROP_AFTER] < 250
    assert 250 < counts[Fault.ERROR_BEFORE] < 350


@pytest.mark.parametrize(
    "wrong",
    [
        {"probabilities": {"sulk": 0.1}},
        {"probabilities": {"half": -0.1}},
        {"probabilities": {"half": 0.6, "twice": 0.6}},
        {"deck": ["sulk"]},
        {"paths": "("},
        {"delay": -1},
        {"colour": "red"},
    ],
)
def test_chaos_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Chaos.model_validate(wrong)


# --- outages ---


def test_nobody_reaches_a_simulator_that_is_down_and_nothing_is_forgotten(
    api: Client, simulator: BalancedSimulator
) -> None:
    debit = api.debit()
    with simulator.down(), pytest.raises(urllib3.exceptions.NewConnectionError):
        api.send("GET", "/debits")
    assert api.get("/debits").items == [debit]


def test_a_hanging_simulator_takes_requests_and_does_nothing(api: Client, simulator: BalancedSimulator) -> None:
    card = api.card()
    with simulator.hanging():
        assert debit_status(api, card, timeout=0.2) is None
    assert made(simulator, api) == 0
    assert debit_status(api, card) == 201


def test_an_outage_does_not_wait_for_what_is_slow(api: Client, simulator: BalancedSimulator) -> None:
    started = time.monotonic()
    assert debit_status(api, api.card(number_of("slow")), timeout=0.2) is None
    with simulator.down():
        assert time.monotonic() - started < 10
    assert debit_status(api, api.card(number_of("slow")), timeout=0.2) is None


def test_a_simulator_stops_at_once_whatever_is_under_way() -> None:
    started = time.monotonic()
    with BalancedSimulator.started(slow=60) as simulator:
        client = Client(simulator.url, simulator.new_key())
        assert debit_status(client, client.card(number_of("slow")), timeout=0.2) is None
        trickle(client, client.card(number_of("trickle")), seconds=0.1)
        client.get("/debits")  # a connection that is kept
    client.pool.clear()
    assert time.monotonic() - started < 10
