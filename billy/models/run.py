"""The scheduler's own diary: one row a run, for ``GET /health/ready``, monitoring and the operator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from billy.models.base import Base, Guid


class BillingRun(Base):
    """One run of ``process-transactions``; it bills all companies, so it belongs to none."""

    __tablename__ = "billing_run"
    __table_args__ = (Index("ix_billing_run_finished", "finished_at"),)
    _shown = ("guid", "started_at", "finished_at")

    guid: Mapped[str] = mapped_column(Guid, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    """Empty while it runs, and for ever if it was killed."""
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """A ``Summary`` by its names, maybe another version's."""


@dataclass(slots=True)
class Summary:
    """What a run did. Each submission counts once among succeeded, pending, failed, retrying and canceled."""

    filed: int = 0
    """Invoices."""
    submitted: int = 0
    """Claims that were acted on."""
    succeeded: int = 0
    pending: int = 0
    failed: int = 0
    """Ended unpaid: refused for good, retries used up, or the processor's record failed."""
    declined: int = 0
    """Refusals among the failed and the retrying."""
    retrying: int = 0
    canceled: int = 0
    parked: int = 0
    """Companies whose processor key was refused."""
    asked: int = 0
    """Transactions that have been pending for long, and that the processor was asked about."""
    repaired: int = 0
    """Those of which it told something new."""
    differing: int = 0
    """What its books and ours disagree about, for a person to look into."""
    expired_keys: int = 0
    """Idempotency keys that were old enough to be forgotten."""
    in_doubt: int = 0
    """Transactions whose outcome has been unknown for longer than ``billy.transaction.doubt_alert``."""
    expired: int = 0
    """Claims whose holder died, or was suspended, and that this run took over when their lease was over."""
    errors: int = 0
    """What should not happen: crashes of an adapter, rows that could not be filed or recorded."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    @property
    def exit_code(self) -> int:
        """0 if nothing needs a person, else 1."""
        return 1 if self.errors or self.parked or self.differing or self.in_doubt else 0
