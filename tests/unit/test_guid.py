"""Ids that sort by time, are never made twice, and keys that nobody guesses."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from billy.guid import ALPHABET, base58, first_guid, is_guid, new_guid, new_key

NOW = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


def number_of(guid: str) -> int:
    value = 0
    for digit in guid[2:]:
        value = value * 58 + ALPHABET.index(digit)
    return value


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no guid had been made yet: other tests may have made some for later instants."""
    monkeypatch.setattr("billy.guid._last", 0)


def test_a_guid_is_its_prefix_and_22_digits() -> None:
    guid = new_guid("IV", NOW)

    assert guid.startswith("IV")
    assert len(guid) == 24
    assert set(guid[2:]) <= set(ALPHABET)


def test_a_guid_is_a_uuid_of_version_7_for_its_instant() -> None:
    value = number_of(new_guid("IV", NOW))

    assert value >> 80 == int(NOW.timestamp() * 1000)
    assert value >> 76 & 0xF == 7
    assert value >> 62 & 0b11 == 0b10


def test_later_guids_sort_after_earlier_ones() -> None:
    guids = [new_guid("IV", NOW + timedelta(milliseconds=number)) for number in range(1000)]

    assert guids == sorted(guids)


def test_guids_of_one_instant_are_different_and_in_order() -> None:
    guids = [new_guid("IV", NOW) for _ in range(10_000)]

    assert guids == sorted(set(guids))


def test_guids_stay_in_order_when_the_clock_steps_back() -> None:
    before = new_guid("IV", NOW)

    after = new_guid("IV", NOW - timedelta(days=1))

    assert after > before


def test_the_order_does_not_depend_on_the_century() -> None:
    instants = [datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2001, 2024, 2100, 3000)]

    guids = [new_guid("IV", instant) for instant in instants]

    assert guids == sorted(guids)
    assert {len(guid) for guid in guids} == {24}


def test_the_next_guid_cannot_be_told_from_this_one() -> None:
    values = [number_of(new_guid("IV", NOW)) for _ in range(100)]

    steps = {later - earlier for earlier, later in pairwise(values)}
    assert len(steps) > 90


def test_threads_never_make_the_same_guid() -> None:
    made: list[list[str]] = []

    def make() -> None:
        made.append([new_guid("IV", NOW) for _ in range(2000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [guid for guids in made for guid in guids]
    assert len(everything) == len(set(everything)) == 16_000
    assert all(guids == sorted(guids) for guids in made)


def guids_of_a_child(count: int) -> list[str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                pipe.write(" ".join(new_guid("IV", NOW) for _ in range(count)))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        made = pipe.read().split()
    os.waitpid(child, 0)
    return made


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_never_make_the_same_guid() -> None:
    first, second = guids_of_a_child(500), guids_of_a_child(500)

    assert len({*first, *second}) == 1000


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_count_on_from_its_parents_last_guid() -> None:
    new_guid("IV", NOW + timedelta(days=1))

    (guid,) = guids_of_a_child(1)

    assert number_of(guid) >> 80 == int(NOW.timestamp() * 1000)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_forked_while_a_guid_was_being_made_can_make_one() -> None:
    import billy.guid

    with billy.guid._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if not billy.guid._lock.locked() else 1)

    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("text", ["IV1C7oVDQQ2a6t4ax5WRqMAu", "CP" + "1" * 22, "SUAbCdEfGhJk", "PL" + "z" * 62])
def test_what_was_minted_now_or_in_2014_may_be_a_guid(text: str) -> None:
    assert is_guid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "IV",
        "IV123",
        "iv" + "1" * 22,
        "IV" + "0" * 22,
        "IV" + "l" * 22,
        "IV" + "1" * 22 + "\n",
        "IV" + "1" * 22 + "\x00",
        "IV" + "١" * 22,
        "IV" + "1" * 63,
        " IV" + "1" * 22,
        "../../etc/passwd",
    ],
)
def test_what_can_be_no_guid_is_told_without_asking_the_database(text: str) -> None:
    assert not is_guid(text)


def test_a_new_guid_is_one() -> None:
    assert is_guid(new_guid("TX", NOW))


def test_a_key_has_44_digits_and_is_never_the_same() -> None:
    keys = {new_key() for _ in range(1000)}

    assert len(keys) == 1000
    assert {len(key) for key in keys} == {44}


def test_a_keys_bits_are_spread_over_all_256() -> None:
    bits = 0
    for _ in range(200):
        bits |= number_of("AK" + new_key())

    assert bits == (1 << 256) - 1


@pytest.mark.parametrize(
    ("number", "width", "text"), [(0, 4, "1111"), (57, 2, "1z"), (58, 2, "21"), (58, 4, "1121"), (3363, 2, "zz")]
)
def test_base58_is_padded_on_the_left(number: int, width: int, text: str) -> None:
    assert base58(number, width) == text


def test_22_digits_hold_every_uuid() -> None:
    assert 58**22 > 1 << 128


def test_the_first_guid_of_an_instant_is_before_all_that_follow_and_after_all_that_came_before() -> None:
    bound = first_guid("IV", NOW)

    assert is_guid(bound) and len(bound) == 24
    before = new_guid("IV", NOW - timedelta(milliseconds=1))
    after = [new_guid("IV", NOW), new_guid("IV", NOW + timedelta(milliseconds=1))]
    assert before < bound <= after[0] < after[1]
