"""What is counted to be refused above a rate: registrations and failed authentications (``billy.api.limits``)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from billy.models.base import Base


class RateLimit(Base):
    """A fixed-window counter. It belongs to no company: most of those who are counted have none."""

    __tablename__ = "rate_limit"
    __table_args__ = (CheckConstraint("count > 0", name="count_positive"),)
    _shown = ("bucket", "count", "until")

    bucket: Mapped[str] = mapped_column(String(128), primary_key=True)
    """What is counted, and of whom: an address, or the hash of a key that opens nothing."""
    count: Mapped[int]
    """How often since the window began, with the first; what was refused is counted too."""
    until: Mapped[datetime]
    """When the window ends, by the database's clock. The row means nothing from then on."""
