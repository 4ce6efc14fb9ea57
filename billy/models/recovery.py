"""A restored back-up: what was done since it was taken is at the processor, and not in the books.

Whatever may have been sent in the lost time is looked up before it is sent: the transactions that the back-up has
open, and the charges of periods that it does not know to be filed. The latter are made only later, so that they are
doubtful has to be written down: a row here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from billy.models.base import Base, Guid
from billy.models.retry import RetryPolicy
from billy.models.transaction import Transaction

LATER_CHARGES = 2
"""A person may have paid a period with another instrument, and that with another one, after its charge had failed."""

EARLY_TRIES = 3
"""Of each charge: an operator may have had so many tries made at once (``billy retry``), which is lost as well."""


class Recovery(Base):
    """One ``billy recover``; never changed, never deleted. It concerns all companies, so it belongs to none."""

    __tablename__ = "recovery"
    _shown = ("guid", "since", "recovered_at")

    guid: Mapped[str] = mapped_column(Guid, primary_key=True)
    actor: Mapped[str] = mapped_column(String(128))
    """The operating system's user and host."""
    since: Mapped[datetime]
    """Business time: what was done after this instant may be missing in the books."""
    recovered_at: Mapped[datetime]
    """Business time: the charge of a period that began by then is looked up first."""
    last_send_at: Mapped[datetime]
    """Database clock: no send of the lost time starts after this instant."""
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What was found: transactions, and periods still to be filed."""

    @classmethod
    def all(cls, session: Session) -> Sequence[Recovery]:
        """Every one there was: none, in a good life."""
        return session.scalars(select(cls)).all()


def doubt_about(period: datetime | None, recoveries: Iterable[Recovery]) -> dict[str, Any]:
    """The columns of a new charge that may have been sent before, in a time that the books lost; none otherwise.

    ``period`` is when its invoice fell due: only a period's charge has the key that it would have had then.
    """
    lost = [each for each in recoveries if period is not None and period <= each.recovered_at]
    if not lost:
        return {}
    return {
        "in_doubt": True,
        "lost_since": min(each.since for each in lost),
        "last_send_at": max(each.last_send_at for each in lost),
    }


def distrust(charge: Transaction, period: datetime | None, recoveries: Iterable[Recovery]) -> None:
    """The same for a mapped charge."""
    for column, value in doubt_about(period, recoveries).items():
        setattr(charge, column, value)


def lost_keys(key: str, lost: timedelta, policy: RetryPolicy, refusals: int) -> list[str]:
    """The submission keys that may have been sent in a lost time of that length, the one that the books know first.

    Each refusal there made the next key, and a charge of the same period to another instrument has the next number.
    """
    stem, _, number = key.rpartition("-")
    tries = policy.most_tries_within(lost, refusals, early=EARLY_TRIES)
    keys = [f"{stem}-{int(number) + each}" for each in range(tries)]
    owner, _, charge = stem.rpartition("/")
    if owner:
        tries = policy.most_tries_within(lost, 0, early=EARLY_TRIES)
        later = range(int(charge) + 1, int(charge) + 1 + LATER_CHARGES)
        keys += [f"{owner}/{each}-{number}" for each in later for number in range(1, tries + 1)]
    return keys
