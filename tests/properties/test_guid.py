"""Base58 as guids use it: nothing is lost, and texts sort as the numbers do."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from billy.guid import ALPHABET, DIGITS, base58

numbers = st.integers(0, 2**128 - 1)


@given(numbers)
def test_a_number_can_be_read_from_its_digits(number: int) -> None:
    digits = base58(number, DIGITS)

    assert len(digits) == DIGITS
    assert reduce(lambda value, digit: value * 58 + ALPHABET.index(digit), digits, 0) == number


@given(numbers, numbers)
def test_digits_sort_as_their_numbers_do(one: int, other: int) -> None:
    assert (base58(one, DIGITS) < base58(other, DIGITS)) is (one < other)
