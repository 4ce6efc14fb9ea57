"""Each company's own processor, the secret that its callbacks are signed with, and disputes.

A company without a processor uses the server's default, as all did before. The code before ignores what is new here.
The way down loses the secrets, which a processor tells once, and the disputes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def guid(name: str) -> sa.Column:
    return sa.Column(name, sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), nullable=False)


def upgrade() -> None:
    # SQLite would add them to the text of the table's last line, which no comparison with the models reads.
    rebuild = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("company", recreate=rebuild) as batch:
        batch.add_column(sa.Column("processor", sa.String(64), nullable=True))
        batch.add_column(sa.Column("sealed_callback_secret", sa.String(1024), nullable=True))
    op.create_table(
        "dispute",
        guid("company_guid"),
        guid("guid"),
        guid("transaction_guid"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("company_guid", "guid", name=op.f("pk_dispute")),
        sa.ForeignKeyConstraint(
            ["company_guid", "transaction_guid"],
            ["transaction.company_guid", "transaction.guid"],
            name=op.f("fk_dispute_company_guid_transaction_guid"),
            ondelete="RESTRICT",
        ),
        sa.UniqueConstraint(
            "company_guid", "transaction_guid", name=op.f("uq_dispute_company_guid_transaction_guid")
        ),
        sa.CheckConstraint("state IN ('inquiry', 'open', 'won', 'lost')", name=op.f("ck_dispute_state")),
    )


def downgrade() -> None:
    op.drop_table("dispute")
    with op.batch_alter_table("company") as batch:
        batch.drop_column("sealed_callback_secret")
        batch.drop_column("processor")
