"""The scheduler's own diary: one row a run, for ``GET /health`` and the operator."""

from __future__ import annotations

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
    """Filed, succeeded, pending … as in the summary line."""
