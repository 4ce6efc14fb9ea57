"""Recoveries: what a restored back-up may lack is written down.

The code before leaves the new column empty and does not know the new table, so it must not run between a restore and
the end of the doubts. The way down forgets the recoveries, and which submission keys of a doubtful transaction have
to be looked up.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recovery",
        sa.Column("guid", sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recovered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_send_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("guid", name=op.f("pk_recovery")),
    )
    # SQLite would add it to the text of the table's last line, which no comparison with the models reads.
    rebuild = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("transaction", recreate=rebuild) as batch:
        batch.add_column(sa.Column("lost_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("transaction") as batch:
        batch.drop_column("lost_since")
    op.drop_table("recovery")
