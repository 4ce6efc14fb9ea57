"""Idempotency keys: what was answered to a request, to be answered again.

The code before does not know the table. The way down forgets all keys: a request that is repeated then is done again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def guid(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "idempotency_key",
        guid("company_guid"),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("new_guid", sa.String(22), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        guid("record_guid", nullable=True),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        sa.Column("sealed_answer", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("company_guid", "key_hash", name=op.f("pk_idempotency_key")),
        sa.CheckConstraint(
            "(answer_status IS NULL) = (sealed_answer IS NULL)", name=op.f("ck_idempotency_key_answer_has_status")
        ),
    )
    op.create_index("ix_idempotency_key_expires", "idempotency_key", ["expires_at"])


def downgrade() -> None:
    op.drop_table("idempotency_key")
