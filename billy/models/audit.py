"""What people did by hand on the command line: who, when, to what."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from billy.guid import new_guid
from billy.models.base import Guid, Owned, to_company


class AuditEntry(Owned):
    """One act of an operator; never changed, never deleted."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        to_company(),
        Index("ix_audit_entry_subject", "company_guid", "subject_guid", "guid"),
    )
    _shown = ("company_guid", "guid", "actor", "action", "subject_guid")

    actor: Mapped[str] = mapped_column(String(128))
    """The operating system's user and host."""
    action: Mapped[str] = mapped_column(String(64))
    """The command, such as ``resolve``."""
    subject_guid: Mapped[str] = mapped_column(Guid)
    """The record it was done to."""
    detail: Mapped[str] = mapped_column(Text)

    @classmethod
    def of(
        cls, now: datetime, *, company_guid: str, actor: str, action: str, subject_guid: str, detail: str
    ) -> AuditEntry:
        """A new entry; ``detail`` holds no secret."""
        return cls(
            company_guid=company_guid,
            guid=new_guid("AU", now),
            actor=actor,
            action=action,
            subject_guid=subject_guid,
            detail=detail,
            created_at=now,
        )
