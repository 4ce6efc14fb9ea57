"""Whether the books hold: every invariant of the design as one query that finds what breaks it.

Most of them are constraints of the database, or follow from code that holds a lock. They are asked
again here, in plain SQL and from the other end, because the code that keeps a rule is the wrong
witness for it. ``billy verify`` is for every night, and ends every scenario and torture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from billy.models.base import UtcDateTime
from billy.statements import database_now

STALE_LEASE = timedelta(hours=1)
"""A lease that ended this long ago and was not taken up: no run has come by."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule, and the query for what breaks it: rows of (company_guid, guid, detail)."""

    name: str
    meaning: str
    broken: str


@dataclass(frozen=True, slots=True)
class Violation:
    """One record that breaks a rule."""

    invariant: str
    company_guid: str
    guid: str
    detail: str


_CHARGES_OF_I = "t.company_guid = i.company_guid AND t.invoice_guid = i.guid AND t.transaction_type <> 'refund'"
_KEPT_BY_I = """(
    SELECT COALESCE(SUM(CASE WHEN t.transaction_type = 'refund' THEN -t.amount ELSE t.amount END), 0)
    FROM "transaction" t
    WHERE t.company_guid = i.company_guid AND t.invoice_guid = i.guid AND t.status = 'succeeded'
)"""
_REFUNDED_OF_T = """(
    SELECT COALESCE(SUM(r.amount), 0)
    FROM "transaction" r
    WHERE r.company_guid = t.company_guid AND r.refund_of_guid = t.guid
        AND (r.submit_status IN ('staged', 'retrying') OR r.status IN ('pending', 'succeeded'))
)"""

INVARIANTS = (
    Invariant(
        "one_invoice_a_period",
        "A subscription has one invoice for each period.",
        """
        SELECT company_guid, MIN(guid), 'filed ' || COUNT(*) || ' times'
        FROM invoice
        WHERE subscription_guid IS NOT NULL
        GROUP BY company_guid, subscription_guid, scheduled_at
        HAVING COUNT(*) > 1
        """,
    ),
    Invariant(
        "invoices_are_counted",
        "A subscription's invoice_count is the number of its invoices.",
        """
        SELECT s.company_guid, s.guid, 'counts ' || s.invoice_count
        FROM subscription s
        WHERE s.invoice_count <> (
            SELECT COUNT(*) FROM invoice i WHERE i.company_guid = s.company_guid AND i.subscription_guid = s.guid
        )
        """,
    ),
    Invariant(
        "failures_are_counted",
        "A transaction's failure_count is the number of its failures.",
        """
        SELECT t.company_guid, t.guid, 'counts ' || t.failure_count
        FROM "transaction" t
        WHERE t.failure_count <> (
            SELECT COUNT(*) FROM transaction_failure f
            WHERE f.company_guid = t.company_guid AND f.transaction_guid = t.guid
        )
        """,
    ),
    Invariant(
        "settled_means_paid",
        "A settled invoice has a charge that succeeded, or nothing was due.",
        f"""
        SELECT i.company_guid, i.guid, 'no charge succeeded'
        FROM invoice i
        WHERE i.status = 'settled' AND i.amount + i.total_adjustment_amount > 0
            AND NOT EXISTS (SELECT 1 FROM "transaction" t WHERE {_CHARGES_OF_I} AND t.status = 'succeeded')
        """,
    ),
    Invariant(
        "paid_means_settled",
        "An invoice with a charge that succeeded is settled.",
        f"""
        SELECT i.company_guid, i.guid, 'is ' || i.status
        FROM invoice i
        WHERE i.status <> 'settled'
            AND EXISTS (SELECT 1 FROM "transaction" t WHERE {_CHARGES_OF_I} AND t.status = 'succeeded')
        """,
    ),
    Invariant(
        "processing_means_one_charge_alive",
        "An invoice is processing exactly while one charge is open or pending, and never more are. "
        "(A settled one may still have one whose outcome nobody knows yet.)",
        f"""
        SELECT i.company_guid, i.guid, 'is ' || i.status || ' with ' || COUNT(t.guid) || ' alive'
        FROM invoice i
        LEFT JOIN "transaction" t ON {_CHARGES_OF_I} AND t.duplicate_of_guid IS NULL
            AND (t.submit_status IN ('staged', 'retrying') OR t.status = 'pending')
        GROUP BY i.company_guid, i.guid, i.status
        HAVING COUNT(t.guid) > 1
            OR (i.status = 'processing' AND COUNT(t.guid) <> 1)
            OR (i.status IN ('staged', 'failed', 'canceled') AND COUNT(t.guid) > 0)
        """,
    ),
    Invariant(
        "charges_are_of_the_effective_amount",
        "A charge is of the invoice's effective amount.",
        f"""
        SELECT t.company_guid, t.guid, 'charges ' || t.amount
        FROM "transaction" t
        JOIN invoice i ON {_CHARGES_OF_I}
        WHERE t.amount <> i.amount + i.total_adjustment_amount
        """,
    ),
    Invariant(
        "refunds_stay_within_their_charge",
        "Refunds that succeeded or still may are no more than the charge that they give back.",
        f"""
        SELECT t.company_guid, t.guid, {_REFUNDED_OF_T} || ' of ' || t.amount
        FROM "transaction" t
        WHERE t.transaction_type <> 'refund' AND {_REFUNDED_OF_T} > t.amount
        """,
    ),
    Invariant(
        "refunds_are_of_the_same_invoice",
        "A refund gives back a charge of its own invoice.",
        """
        SELECT r.company_guid, r.guid, 'gives back ' || t.guid
        FROM "transaction" r
        JOIN "transaction" t ON t.company_guid = r.company_guid AND t.guid = r.refund_of_guid
        WHERE t.invoice_guid <> r.invoice_guid OR t.transaction_type = 'refund'
        """,
    ),
    Invariant(
        "nobody_overpaid",
        "No invoice keeps more than was due. A person refunds what is too much.",
        f"""
        SELECT i.company_guid, i.guid, 'keeps ' || {_KEPT_BY_I}
        FROM invoice i
        WHERE {_KEPT_BY_I} > i.amount + i.total_adjustment_amount
        """,
    ),
    Invariant(
        "overpaid_is_shown",
        "An invoice says overpaid exactly if it is.",
        f"""
        SELECT i.company_guid, i.guid, 'keeps ' || {_KEPT_BY_I}
        FROM invoice i
        WHERE i.overpaid <> ({_KEPT_BY_I} > i.amount + i.total_adjustment_amount)
        """,
    ),
    Invariant(
        "no_dispute_is_lost",
        "No dispute was lost. Where one was, the charge's money is the customer's again, and a person decides what "
        "he still owes.",
        """
        SELECT company_guid, transaction_guid, 'lost on ' || updated_at
        FROM dispute
        WHERE state = 'lost'
        """,
    ),
    Invariant(
        "done_means_the_processor_has_it",
        "A transaction has a processor_uri and a status exactly if it is done.",
        """
        SELECT company_guid, guid, submit_status || ' at ' || COALESCE(processor_uri, 'nowhere')
        FROM "transaction"
        WHERE (submit_status = 'done') <> (processor_uri IS NOT NULL)
            OR (submit_status = 'done') <> (status IS NOT NULL)
        """,
    ),
    Invariant(
        "closed_means_certain",
        "Only an open transaction is leased or in doubt.",
        """
        SELECT company_guid, guid, 'is ' || submit_status
        FROM "transaction"
        WHERE submit_status NOT IN ('staged', 'retrying') AND (in_doubt OR leased_until IS NOT NULL)
        """,
    ),
    Invariant(
        "no_record_twice",
        "A record of the processor stands in the books once.",
        """
        SELECT company_guid, MIN(guid), processor_uri
        FROM "transaction"
        WHERE processor_uri IS NOT NULL
        GROUP BY company_guid, processor_uri
        HAVING COUNT(*) > 1
        """,
    ),
    Invariant(
        "deleted_customers_are_left_alone",
        "A deleted customer has no live subscription, and no open charge but one in doubt.",
        """
        SELECT c.company_guid, c.guid, 'is deleted'
        FROM customer c
        WHERE c.deleted AND (
            EXISTS (
                SELECT 1 FROM subscription s
                WHERE s.company_guid = c.company_guid AND s.customer_guid = c.guid AND s.canceled_at IS NULL
            ) OR EXISTS (
                SELECT 1 FROM "transaction" t
                WHERE t.company_guid = c.company_guid AND t.customer_guid = c.guid AND t.transaction_type <> 'refund'
                    AND t.submit_status IN ('staged', 'retrying') AND NOT t.in_doubt
            )
        )
        """,
    ),
    Invariant(
        "leases_are_taken_up",
        "A lease that ended is taken up by the next run: an old one means that none came by.",
        """
        SELECT company_guid, guid, 'leased until ' || leased_until
        FROM "transaction"
        WHERE submit_status IN ('staged', 'retrying') AND leased_until < :stale
        """,
    ),
)


def violations(session: Session) -> Iterator[Violation]:
    """Everything in the database that breaks an invariant; nothing is changed."""
    stale = bindparam("stale", database_now(session) - STALE_LEASE, UtcDateTime())
    for invariant in INVARIANTS:
        statement = text(invariant.broken)
        if ":stale" in invariant.broken:
            statement = statement.bindparams(stale)
        for company_guid, guid, detail in session.execute(statement):
            yield Violation(invariant.name, company_guid, guid, str(detail))
