"""What a caller's Idempotency-Key stands for: one request, who is at it, how far it came, what was answered.

Why a table, when external ids and submission keys forbid doubles already? They forbid them for orders and for
charges. A caller whose connection broke wants to ask again without having to know which of the two his request was,
and to get the answer that was lost. ``billy.api.idempotency`` tells how.

``owner`` is a fencing token. All that a request writes carries it, so one that was taken for dead and is not writes
nothing any more, and with it goes what it did in the same transaction.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from billy.models.base import Base, Guid

NOBODY = ""
"""The ``company_guid`` of a key of a registration, which has no company yet."""


class IdempotencyKey(Base):
    """A key that was sent. It has no reference to its company: a registration's key belongs to none."""

    __tablename__ = "idempotency_key"
    __table_args__ = (
        CheckConstraint("(answer_status IS NULL) = (sealed_answer IS NULL)", name="answer_has_status"),
        Index("ix_idempotency_key_expires", "expires_at"),
    )
    _shown = ("company_guid", "key_hash", "record_guid", "answer_status")

    company_guid: Mapped[str] = mapped_column(Guid, primary_key=True)
    """Whose key it is; ``NOBODY`` where there is no company."""
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256, hexadecimal: of the key, and where there is no company of the request too."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request. Under one key there is one request."""
    new_guid: Mapped[str] = mapped_column(String(22))
    """The guid, without its two letters, of the record that the request makes, if it makes one."""
    owner: Mapped[str] = mapped_column(String(32))
    """The HTTP request that is, or was last, at it; another word each time."""
    leased_until: Mapped[datetime | None]
    """Database clock: until then the owner is at it. Empty where nobody is."""
    record_guid: Mapped[str | None] = mapped_column(Guid)
    """What the request did is stored, and this is the record that it answers with; empty before that."""
    answer_status: Mapped[int | None]
    sealed_answer: Mapped[str | None] = mapped_column(Text)
    """The body of the answer, encrypted (``billy.secrets``): a registration's holds the API key."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """From then on the key is as good as new; a run deletes it."""

    @property
    def is_answered(self) -> bool:
        """Whether the request is done, and its answer kept."""
        return self.sealed_answer is not None

    def is_free(self, owner: str, database_now: datetime) -> bool:
        """Whether nobody but ``owner`` is at the request."""
        return self.owner == owner or self.leased_until is None or self.leased_until <= database_now
