"""Initial schema.

Every table but ``company`` and ``billing_run`` has a primary key that begins with the company, and refers
to others together with it, so no row can point at another company's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def guid(name: str, *, nullable: bool = False) -> sa.Column:
    """Guids sort by bytes, so that the primary key serves the lists newest first."""
    kind = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=nullable)


def text(name: str, length: int, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=nullable)


def choice(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(16), nullable=nullable)


def instant(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def cents(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def flag(name: str) -> sa.Column:
    return sa.Column(name, sa.Boolean(), nullable=False)


def primary_key(table: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("company_guid", "guid", name=op.f(f"pk_{table}"))


def to_company(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_company_guid")
    return sa.ForeignKeyConstraint(["company_guid"], ["company.guid"], name=name, ondelete="RESTRICT")


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["company_guid", column],
        [f"{target}.company_guid", f"{target}.guid"],
        name=op.f(f"fk_{table}_company_guid_{column}"),
        ondelete="RESTRICT",
    )


def unique(name: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(name))


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(name))


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def upgrade() -> None:
    op.create_table(
        "company",
        guid("guid"),
        text("name", 128, nullable=True),
        text("sealed_processor_key", 1024),
        text("sealed_callback_key", 1024),
        text("callback_base_url", 512, nullable=True),
        instant("callback_registered_at", nullable=True),
        instant("parked_until", nullable=True),
        number("parked_count"),
        instant("created_at"),
        instant("updated_at"),
        sa.PrimaryKeyConstraint("guid", name=op.f("pk_company")),
    )
    op.create_table(
        "api_key",
        guid("company_guid"),
        guid("guid"),
        text("key_hash", 64),
        instant("expires_at", nullable=True),
        instant("created_at"),
        primary_key("api_key"),
        to_company("api_key"),
        unique("uq_api_key_key_hash", "key_hash"),
    )
    op.create_table(
        "audit_entry",
        guid("company_guid"),
        guid("guid"),
        text("actor", 128),
        text("action", 64),
        guid("subject_guid"),
        sa.Column("detail", sa.Text(), nullable=False),
        instant("created_at"),
        primary_key("audit_entry"),
        to_company("audit_entry"),
    )
    op.create_index("ix_audit_entry_subject", "audit_entry", ["company_guid", "subject_guid", "guid"])

    op.create_table(
        "customer",
        guid("company_guid"),
        guid("guid"),
        text("processor_uri", 128, nullable=True),
        text("external_id", 128, nullable=True),
        flag("deleted"),
        instant("updated_at"),
        instant("created_at"),
        primary_key("customer"),
        to_company("customer"),
        unique("uq_customer_company_guid_external_id", "company_guid", "external_id"),
    )
    op.create_table(
        "plan",
        guid("company_guid"),
        guid("guid"),
        choice("plan_type"),
        choice("frequency"),
        number("interval"),
        cents("amount"),
        text("name", 128, nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        text("external_id", 128, nullable=True),
        flag("deleted"),
        instant("updated_at"),
        instant("created_at"),
        primary_key("plan"),
        to_company("plan"),
        unique("uq_plan_company_guid_external_id", "company_guid", "external_id"),
        check("ck_plan_amount_not_negative", "amount >= 0"),
        check("ck_plan_interval_positive", "interval >= 1"),
        check("ck_plan_plan_type", "plan_type IN ('debit', 'credit')"),
        check("ck_plan_frequency", "frequency IN ('daily', 'weekly', 'monthly', 'yearly')"),
    )
    op.create_table(
        "subscription",
        guid("company_guid"),
        guid("guid"),
        guid("customer_guid"),
        guid("plan_guid"),
        cents("amount", nullable=True),
        text("funding_instrument_uri", 128, nullable=True),
        text("appears_on_statement_as", 18, nullable=True),
        text("external_id", 128, nullable=True),
        instant("started_at"),
        instant("next_invoice_at"),
        number("invoice_count"),
        instant("canceled_at", nullable=True),
        instant("updated_at"),
        instant("created_at"),
        primary_key("subscription"),
        reference("subscription", "customer_guid", "customer"),
        reference("subscription", "plan_guid", "plan"),
        unique("uq_subscription_company_guid_external_id", "company_guid", "external_id"),
        check("ck_subscription_amount_not_negative", "amount >= 0"),
        check("ck_subscription_invoice_count_not_negative", "invoice_count >= 0"),
    )
    op.create_index("ix_subscription_customer", "subscription", ["company_guid", "customer_guid", "guid"])
    op.create_index("ix_subscription_plan", "subscription", ["company_guid", "plan_guid", "guid"])
    op.create_index("ix_subscription_plan_customer", "subscription", ["company_guid", "plan_guid", "customer_guid"])
    partial_index("ix_subscription_due", "subscription", ["next_invoice_at"], "canceled_at IS NULL")

    op.create_table(
        "invoice",
        guid("company_guid"),
        guid("guid"),
        choice("invoice_type"),
        guid("customer_guid"),
        guid("subscription_guid", nullable=True),
        guid("plan_guid", nullable=True),
        instant("scheduled_at", nullable=True),
        choice("transaction_type"),
        choice("status"),
        cents("amount"),
        cents("total_adjustment_amount"),
        flag("overpaid"),
        text("title", 128, nullable=True),
        text("external_id", 128, nullable=True),
        text("appears_on_statement_as", 18, nullable=True),
        text("funding_instrument_uri", 128, nullable=True),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("adjustments", sa.JSON(), nullable=False),
        instant("updated_at"),
        instant("created_at"),
        primary_key("invoice"),
        reference("invoice", "customer_guid", "customer"),
        reference("invoice", "subscription_guid", "subscription"),
        reference("invoice", "plan_guid", "plan"),
        # Never two invoices for one period, nor for one order.
        unique(
            "uq_invoice_company_guid_subscription_guid_scheduled_at",
            *("company_guid", "subscription_guid", "scheduled_at"),
        ),
        unique(
            "uq_invoice_company_guid_customer_guid_external_id",
            *("company_guid", "customer_guid", "external_id"),
        ),
        check("ck_invoice_amount_not_negative", "amount >= 0"),
        check("ck_invoice_effective_amount_not_negative", "amount + total_adjustment_amount >= 0"),
        check(
            "ck_invoice_subscription_invoice_has_schedule",
            "(invoice_type = 'subscription') = (subscription_guid IS NOT NULL)"
            " AND (subscription_guid IS NULL) = (scheduled_at IS NULL)"
            " AND (subscription_guid IS NULL) = (plan_guid IS NULL)",
        ),
        check("ck_invoice_invoice_type", "invoice_type IN ('subscription', 'customer')"),
        check("ck_invoice_transaction_type", "transaction_type IN ('debit', 'credit', 'refund')"),
        check("ck_invoice_status", "status IN ('staged', 'processing', 'settled', 'failed', 'canceled')"),
    )
    op.create_index("ix_invoice_customer", "invoice", ["company_guid", "customer_guid", "guid"])
    op.create_index("ix_invoice_external_id", "invoice", ["company_guid", "external_id"])
    op.create_index("ix_invoice_plan", "invoice", ["company_guid", "plan_guid", "scheduled_at", "guid"])

    op.create_table(
        "transaction",
        guid("company_guid"),
        guid("guid"),
        guid("invoice_guid"),
        guid("customer_guid"),
        guid("subscription_guid", nullable=True),
        guid("plan_guid", nullable=True),
        guid("refund_of_guid", nullable=True),
        guid("duplicate_of_guid", nullable=True),
        choice("transaction_type"),
        cents("amount"),
        choice("submit_status"),
        choice("status", nullable=True),
        text("funding_instrument_uri", 128, nullable=True),
        text("processor_uri", 128, nullable=True),
        text("appears_on_statement_as", 18, nullable=True),
        number("failure_count"),
        instant("updated_at"),
        text("submission_key", 128),
        number("attempt"),
        flag("in_doubt"),
        instant("last_send_at", nullable=True),
        instant("leased_until", nullable=True),
        instant("next_attempt_at"),
        number("refusal_count"),
        instant("created_at"),
        primary_key("transaction"),
        reference("transaction", "invoice_guid", "invoice"),
        reference("transaction", "customer_guid", "customer"),
        reference("transaction", "subscription_guid", "subscription"),
        reference("transaction", "plan_guid", "plan"),
        reference("transaction", "refund_of_guid", "transaction"),
        reference("transaction", "duplicate_of_guid", "transaction"),
        check("ck_transaction_amount_positive", "amount > 0"),
        check(
            "ck_transaction_refund_names_its_charge",
            "(transaction_type = 'refund') = (refund_of_guid IS NOT NULL)",
        ),
        check(
            "ck_transaction_counts_not_negative",
            "failure_count >= 0 AND refusal_count >= 0 AND attempt >= 0",
        ),
        check("ck_transaction_transaction_type", "transaction_type IN ('debit', 'credit', 'refund')"),
        check(
            "ck_transaction_submit_status",
            "submit_status IN ('staged', 'retrying', 'done', 'failed', 'canceled')",
        ),
        check("ck_transaction_status", "status IN ('pending', 'succeeded', 'failed')"),
    )
    op.create_index("ix_transaction_invoice", "transaction", ["company_guid", "invoice_guid", "guid"])
    op.create_index("ix_transaction_customer", "transaction", ["company_guid", "customer_guid", "guid"])
    op.create_index("ix_transaction_subscription", "transaction", ["company_guid", "subscription_guid", "guid"])
    op.create_index("ix_transaction_plan", "transaction", ["company_guid", "plan_guid", "guid"])
    op.create_index("ix_transaction_processor_uri", "transaction", ["company_guid", "processor_uri"])
    partial_index(
        "ix_transaction_open", "transaction", ["next_attempt_at"], "submit_status IN ('staged', 'retrying')"
    )
    # Never two charges alive on one invoice.
    partial_index(
        "uq_transaction_charge_alive",
        "transaction",
        ["company_guid", "invoice_guid"],
        "transaction_type <> 'refund' AND duplicate_of_guid IS NULL"
        " AND (submit_status IN ('staged', 'retrying') OR (submit_status = 'done' AND status = 'pending'))",
        unique=True,
    )

    op.create_table(
        "transaction_failure",
        guid("company_guid"),
        guid("guid"),
        guid("transaction_guid"),
        sa.Column("error_message", sa.Text(), nullable=True),
        number("error_number", nullable=True),
        text("error_code", 64, nullable=True),
        number("count"),
        instant("updated_at"),
        instant("created_at"),
        primary_key("transaction_failure"),
        reference("transaction_failure", "transaction_guid", "transaction"),
    )
    op.create_index(
        "ix_transaction_failure_transaction", "transaction_failure", ["company_guid", "transaction_guid", "guid"]
    )
    op.create_table(
        "transaction_event",
        guid("company_guid"),
        guid("guid"),
        guid("transaction_guid"),
        text("processor_id", 128),
        choice("status"),
        instant("occurred_at"),
        instant("created_at"),
        primary_key("transaction_event"),
        reference("transaction_event", "transaction_guid", "transaction"),
        # Never one event of the processor applied twice.
        unique(
            "uq_transaction_event_company_guid_transaction_guid_processor_id",
            *("company_guid", "transaction_guid", "processor_id"),
        ),
        check("ck_transaction_event_status", "status IN ('pending', 'succeeded', 'failed')"),
    )

    op.create_table(
        "billing_run",
        guid("guid"),
        text("host", 255),
        instant("started_at"),
        instant("finished_at", nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("guid", name=op.f("pk_billing_run")),
    )
    op.create_index("ix_billing_run_finished", "billing_run", ["finished_at"])


def downgrade() -> None:
    for table in (
        "billing_run",
        "transaction_event",
        "transaction_failure",
        "transaction",
        "invoice",
        "subscription",
        "plan",
        "customer",
        "audit_entry",
        "api_key",
        "company",
    ):
        op.drop_table(table)
