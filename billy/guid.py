"""Ids that sort by the time they were made, and API keys that cannot be guessed.

A guid is two letters for the kind of record and 22 base58 digits of a UUIDv7 (RFC 9562, method 1
of section 6.2 with all 74 free bits as the counter). Zero-padded base58 keeps the byte order, so
``ORDER BY guid`` under the C collation is the order of creation, and the primary key itself serves
the lists newest first. The 2014 Billy used UUIDv1, which tells everyone the host's MAC address (D43).

Existing UUIDv7 packages either take no time of ours or are not monotonic when the clock steps back.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from datetime import datetime

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
DIGITS = 22

# 24 characters is what we mint; the 2014 Billy's were as long, and its columns held up to 64.
PATTERN = rf"[A-Z]{{2}}[{ALPHABET}]{{10,62}}"
_GUID = re.compile(rf"{PATTERN}\Z")

_COUNTER_BITS = 74
_lock = threading.Lock()
_last = 0


def new_guid(prefix: str, now: datetime) -> str:
    """A new id such as ``IV1CkyVDq…``, greater than every id that this process made before."""
    global _last
    with _lock:
        value = (int(now.timestamp() * 1000) << _COUNTER_BITS) | secrets.randbits(_COUNTER_BITS)
        if value <= _last:
            # The clock stepped back, or the same millisecond again: count on from the last one, by a
            # random step so that the next id cannot be told from this one.
            value = _last + 1 + secrets.randbits(32)
        _last = value
    return prefix + _of(value)


def _of(value: int) -> str:
    milliseconds, high, low = value >> _COUNTER_BITS, value >> 62 & 0xFFF, value & ((1 << 62) - 1)
    uuid7 = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return base58(uuid7, DIGITS)


def first_guid(prefix: str, at: datetime) -> str:
    """What no id that is made from ``at`` on comes before: a bound for reading the newest off a primary key.

    To the millisecond. Where a clock stepped back, ids of a little earlier may lie behind it too.
    """
    return prefix + _of(int(at.timestamp() * 1000) << _COUNTER_BITS)


def is_guid(text: str) -> bool:
    """Whether a text could be a guid at all; says nothing of whether the record exists."""
    return _GUID.match(text) is not None


def new_key() -> str:
    """A secret of 256 random bits as 44 base58 digits: an API key or a callback key."""
    return base58(secrets.randbits(256), 44)


# Two digits at a time: the division of a long number is what costs.
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]


def base58(number: int, width: int) -> str:
    """``number`` in base58, padded on the left with the digit zero (``1``) to ``width``."""
    pairs = []
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, 58 * 58)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-width:]


def _forget_after_fork() -> None:
    # A child that counted on from its parent's last id could meet its siblings' ids, and a lock that
    # another thread of the parent held would never be released here.
    global _last, _lock
    _last = 0
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
