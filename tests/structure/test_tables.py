"""Every row belongs to a company, and every key begins with it, so no row can point at another company's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, MetaData, String, Table, UniqueConstraint

from billy.models import Base

BELONG_TO_NONE = {
    "company": "it is what the others belong to",
    "billing_run": "one run bills all companies",
    "rate_limit": "who is refused has often no company",
    "recovery": "a restored back-up is everybody's",
}

REACH_ACROSS_COMPANIES = {
    "ix_subscription_due": "the scheduler files what is due of all companies, in the order of time",
    "ix_transaction_open": "the scheduler submits what is due of all companies, in the order of time",
    "ix_idempotency_key_expires": "the scheduler deletes the expired keys of all companies",
    "ix_transaction_pending": "the scheduler asks about what is pending of all companies, the longest silent first",
    "uq_api_key_key_hash": "the key is what finds the company",
}


def violations(metadata: MetaData) -> Iterator[str]:
    """Keys, references and indexes that do not begin with the company."""
    for table in metadata.sorted_tables:
        if table.name in BELONG_TO_NONE:
            continue
        keys = [table.primary_key, *table.foreign_key_constraints, *table.indexes]
        keys += [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
        for key in keys:
            columns = [column.name for column in key.columns]
            if key.name not in REACH_ACROSS_COMPANIES and columns[:1] != ["company_guid"]:
                yield f"{table.name}: {key.name} begins with {columns[:1]}"
            if isinstance(key, ForeignKeyConstraint):
                aim = key.elements[0].target_fullname
                if aim not in ("company.guid", f"{key.referred_table.name}.company_guid"):
                    yield f"{table.name}: {key.name} compares company_guid with {aim}"
                if key.ondelete != "RESTRICT":
                    yield f"{table.name}: {key.name} does not restrict deletes"


def test_every_key_begins_with_the_company() -> None:
    assert list(violations(Base.metadata)) == []


def test_the_exceptions_exist() -> None:
    indexes = {index.name for table in Base.metadata.sorted_tables for index in table.indexes}
    constraints = {item.name for table in Base.metadata.sorted_tables for item in table.constraints}
    assert set(REACH_ACROSS_COMPANIES) <= indexes | constraints
    assert set(BELONG_TO_NONE) <= set(Base.metadata.tables)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([Index("ix_coupon_code", "code")], id="an index"),
        pytest.param([UniqueConstraint("code", name="uq_coupon_code")], id="a unique constraint"),
        pytest.param(
            [ForeignKeyConstraint(["plan_guid"], ["plan.guid"], ondelete="RESTRICT")], id="a reference without it"
        ),
        pytest.param(
            [ForeignKeyConstraint(["company_guid", "plan_guid"], ["plan.company_guid", "plan.guid"])],
            id="a reference that does not restrict deletes",
        ),
    ],
)
def test_a_key_that_forgets_the_company_is_seen(extra: list) -> None:
    metadata = MetaData()
    Table("plan", metadata, Column("company_guid", String, primary_key=True), Column("guid", String, primary_key=True))
    coupon = [Column("company_guid", String, primary_key=True), Column("guid", String, primary_key=True)]
    Table("coupon", metadata, *coupon, Column("plan_guid", String), Column("code", Integer), *extra)
    assert len(list(violations(metadata))) >= 1


def test_a_primary_key_without_the_company_is_seen() -> None:
    metadata = MetaData()
    Table("coupon", metadata, Column("guid", String, primary_key=True))
    assert len(list(violations(metadata))) == 1
