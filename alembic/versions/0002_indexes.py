"""Indexes: the pending transactions, and two filters of lists.

Every run asks the processor about those that have been pending for long, and an idle run must not read the
whole table for that; nor must a list whose filter few records match.

They are built with the tables locked against writes. Building them concurrently would end the transaction, and
with it the lock that keeps a second upgrade out.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IS_PENDING = sa.text("submit_status = 'done' AND status = 'pending'")


def upgrade() -> None:
    op.create_index(
        "ix_transaction_pending",
        "transaction",
        ["next_attempt_at"],
        postgresql_where=IS_PENDING,
        sqlite_where=IS_PENDING,
    )
    op.create_index("ix_customer_processor_uri", "customer", ["company_guid", "processor_uri", "guid"])
    op.create_index("ix_invoice_type", "invoice", ["company_guid", "invoice_type", "guid"])


def downgrade() -> None:
    op.drop_index("ix_invoice_type", "invoice")
    op.drop_index("ix_customer_processor_uri", "customer")
    op.drop_index("ix_transaction_pending", "transaction")
