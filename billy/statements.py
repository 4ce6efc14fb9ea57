"""The statements that a run lives from: claims, due subscriptions, bulk inserts, and the database's clock.

They stand apart because they are the ones that PostgreSQL and SQLite do differently, and the ones to
tune: everything else goes through the ORM. On PostgreSQL rows are taken with ``FOR UPDATE SKIP LOCKED``,
so any number of runs share the work without waiting; SQLite ignores that clause, and needs none,
because ``BEGIN IMMEDIATE`` lets one writer in at a time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Interval,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, aliased

from billy import clock
from billy.models import (
    Company,
    Customer,
    IdempotencyKey,
    Invoice,
    InvoiceStatus,
    Plan,
    RateLimit,
    SubmitStatus,
    Subscription,
    Transaction,
    TransactionStatus,
    TransactionType,
)
from billy.models.base import Base, Owned, UtcDateTime
from billy.models.subscription import DueSubscription, Filed
from billy.models.transaction import OPEN

LONGEST_SILENCE = timedelta(days=1)
"""However long a transaction has been pending, the next question about it is put off by no more than this."""

CLOCK_STEP = timedelta(minutes=1)
"""A window that ends by more than this too late was begun before the clock was set back: it is over."""

IS_OPEN: ColumnElement[bool] = Transaction.submit_status.in_(
    bindparam("open", OPEN, expanding=True, literal_execute=True)
)
"""Still to be submitted. With literal values: PostgreSQL uses the partial index only if it sees them when it plans."""

IS_PENDING: ColumnElement[bool] = and_(
    Transaction.submit_status == bindparam("done", SubmitStatus.DONE, literal_execute=True),
    Transaction.status == bindparam("pending", TransactionStatus.PENDING, literal_execute=True),
)
"""Accepted by the processor, which has not said yet how it ended. With literal values, too."""

_TRANSACTION = Transaction.__table__.c


def database_clock(session: Session) -> ColumnElement[datetime]:
    """The database's own clock, which all hosts share; leases are measured with it alone.

    An SQLite file has no clock of its own and no second host: there it is this host's.
    """
    if _is_postgresql(session):
        return func.clock_timestamp(type_=UtcDateTime())
    return literal(clock.utc_now(), UtcDateTime())


def database_now(session: Session) -> datetime:
    """What ``database_clock`` shows, as a value."""
    now = session.scalar(select(database_clock(session)))
    assert now is not None
    return now


def claim_due(
    session: Session, now: datetime, *, limit: int, lease: timedelta, deadline: timedelta, only_in_doubt: bool = False
) -> Sequence[Any]:
    """Claim up to ``limit`` open transactions that are due at ``now``; the caller commits, then may act.

    A row is (transaction's columns as found *before* the claim, ``customer_uri``, ``charge_uri``,
    ``sealed_processor_key``, ``processor``, ``parked_count``, ``database_now``). The claim itself is the UPDATE: one
    more attempt, in doubt, leased. A charge is claimed only while its invoice is processing, a refund
    only while it is settled; one in doubt always, since its outcome has to be found out.
    ``only_in_doubt`` leaves all others to somebody else.
    """
    connection, found = session.connection(), {"now": now, "most": limit}
    if _is_postgresql(session):
        claim = _claim_at_once(only_in_doubt)
        return connection.execute(claim, {**found, "lease": lease, "send_within": lease - deadline}).all()
    at = clock.utc_now()
    rows = connection.execute(_due(literal(at, UtcDateTime()), only_in_doubt), found).all()
    claimed = tuple_(_TRANSACTION.company_guid, _TRANSACTION.guid).in_([(row.company_guid, row.guid) for row in rows])
    leased = (literal(until, UtcDateTime()) for until in (at + lease, at + lease - deadline))
    connection.execute(_claim(*leased).where(claimed))
    return rows


@cache
def _claim_at_once(only_in_doubt: bool) -> Executable:
    # One statement, and built once: a run claims all day.
    due = _due(func.clock_timestamp(type_=UtcDateTime()), only_in_doubt).cte("due").prefix_with("MATERIALIZED")
    leased = (due.c.database_now + bindparam(span, type_=Interval) for span in ("lease", "send_within"))
    same = and_(_TRANSACTION.company_guid == due.c.company_guid, _TRANSACTION.guid == due.c.guid)
    return _claim(*leased).where(same).returning(*due.c)


def _claim(leased_until: ColumnElement[datetime], send_until: ColumnElement[datetime]) -> Update:
    return update(Transaction.__table__).values(  # type: ignore[arg-type]  # a Table, not any FromClause
        attempt=_TRANSACTION.attempt + 1,
        # A doubtful one will only be looked up: its last possible send stays what it was.
        last_send_at=case((_TRANSACTION.in_doubt, _TRANSACTION.last_send_at), else_=send_until),
        in_doubt=True,
        leased_until=leased_until,
    )


def _due(at: ColumnElement[datetime], only_in_doubt: bool) -> Select[*tuple[Any, ...]]:
    charge = aliased(Transaction)
    is_refund = Transaction.transaction_type == TransactionType.REFUND
    due = (
        select(
            Transaction.company_guid,
            Transaction.guid,
            Transaction.invoice_guid,
            Transaction.customer_guid,
            Transaction.transaction_type,
            Transaction.amount,
            Transaction.funding_instrument_uri,
            Transaction.appears_on_statement_as,
            Transaction.submission_key,
            Transaction.attempt,
            Transaction.in_doubt,
            Transaction.lost_since,
            Transaction.refusal_count,
            Transaction.last_send_at,
            Transaction.leased_until,
            Transaction.created_at,
            Invoice.scheduled_at,
            Customer.processor_uri.label("customer_uri"),
            charge.processor_uri.label("charge_uri"),
            Company.sealed_processor_key,
            Company.processor,
            Company.parked_count,
            at.label("database_now"),
        )
        .join(Invoice, _same(Invoice, Transaction.company_guid, Transaction.invoice_guid))
        .join(Customer, _same(Customer, Transaction.company_guid, Transaction.customer_guid))
        .join(Company, Company.guid == Transaction.company_guid)
        .outerjoin(charge, _same(charge, Transaction.company_guid, Transaction.refund_of_guid))
        .where(
            IS_OPEN,
            Transaction.next_attempt_at <= bindparam("now"),
            or_(Transaction.leased_until.is_(None), Transaction.leased_until < at),
            or_(Company.parked_until.is_(None), Company.parked_until <= bindparam("now")),
            or_(
                Transaction.in_doubt,
                and_(~is_refund, Invoice.status == InvoiceStatus.PROCESSING),
                and_(is_refund, Invoice.status == InvoiceStatus.SETTLED),
            ),
        )
        # By nothing else: what a run filed is all due at one instant, and the index would not sort it further.
        .order_by(Transaction.next_attempt_at)
        .limit(bindparam("most"))
        .with_for_update(of=Transaction, key_share=True, skip_locked=True)
    )
    return due.where(Transaction.in_doubt) if only_in_doubt else due


def is_lasting_doubt(session: Session, alert: timedelta) -> ColumnElement[bool]:
    """Whether an open transaction's outcome has been unknown for longer than ``alert``: a person has to look."""
    return and_(IS_OPEN, Transaction.in_doubt.is_(True), Transaction.last_send_at < database_now(session) - alert)


def claim_pending(session: Session, now: datetime, *, limit: int, pending_after: timedelta) -> Sequence[Any]:
    """Take up to ``limit`` transactions of whose end the processor has not told for ``pending_after``.

    The longest silent first. Asking changes nothing, so there is no lease: whoever takes one puts off the
    next question, by as long as the transaction has been pending, up to ``LONGEST_SILENCE``. A row has what
    its submission is made of, ``processor_uri``, ``sealed_processor_key`` and ``processor``.
    """
    charge = aliased(Transaction)
    statement = (
        select(
            Transaction.company_guid,
            Transaction.guid,
            Transaction.invoice_guid,
            Transaction.transaction_type,
            Transaction.amount,
            Transaction.funding_instrument_uri,
            Transaction.appears_on_statement_as,
            Transaction.submission_key,
            Transaction.processor_uri,
            Transaction.created_at,
            Transaction.updated_at,
            Invoice.scheduled_at,
            Customer.processor_uri.label("customer_uri"),
            charge.processor_uri.label("charge_uri"),
            Company.sealed_processor_key,
            Company.processor,
        )
        .join(Invoice, _same(Invoice, Transaction.company_guid, Transaction.invoice_guid))
        .join(Customer, _same(Customer, Transaction.company_guid, Transaction.customer_guid))
        .join(Company, Company.guid == Transaction.company_guid)
        .outerjoin(charge, _same(charge, Transaction.company_guid, Transaction.refund_of_guid))
        .where(
            IS_PENDING,
            Transaction.next_attempt_at <= now - pending_after,
            or_(Company.parked_until.is_(None), Company.parked_until <= now),
        )
        .order_by(Transaction.next_attempt_at)
        .limit(limit)
        .with_for_update(of=Transaction, key_share=True, skip_locked=True)
    )
    rows = session.execute(statement).all()
    taken = [
        {
            "company_guid": row.company_guid,
            "guid": row.guid,
            "next_attempt_at": now + min(max(now - row.updated_at, timedelta(0)), LONGEST_SILENCE),
        }
        for row in rows
    ]
    update_many(session, Transaction, taken)
    return rows


def put_off(session: Session, company_guid: str, guid: str, *, until: datetime, pending_after: timedelta) -> None:
    """Let ``claim_pending`` take a transaction from ``until`` on, if it is pending still."""
    session.execute(
        update(Transaction)
        .where(
            Transaction.company_guid == company_guid,
            Transaction.guid == guid,
            Transaction.status == TransactionStatus.PENDING,
        )
        .values(next_attempt_at=until - pending_after),
        execution_options={"synchronize_session": False},
    )


def due_subscriptions(
    session: Session, now: datetime, *, limit: int, excluding: Collection[tuple[str, str]] = ()
) -> list[DueSubscription]:
    """Lock up to ``limit`` subscriptions that have an invoice due at ``now``, the longest due first."""
    statement = (
        select(*DueSubscription.columns())
        .join(Plan, _same(Plan, Subscription.company_guid, Subscription.plan_guid))
        .where(Subscription.canceled_at.is_(None), Subscription.next_invoice_at <= now)
        .order_by(Subscription.next_invoice_at)
        .limit(limit)
        .with_for_update(of=Subscription, key_share=True, skip_locked=True)
    )
    if excluding:
        statement = statement.where(tuple_(Subscription.company_guid, Subscription.guid).not_in(list(excluding)))
    return [DueSubscription(*row) for row in session.execute(statement)]


def insert_filed(session: Session, filed: Sequence[tuple[DueSubscription, Filed]], now: datetime) -> None:
    """Write what was filed for locked subscriptions, and move them on."""
    _insert(session, Invoice, [invoice for _, rows in filed for invoice in rows.invoices])
    _insert(session, Transaction, [transaction for _, rows in filed for transaction in rows.transactions])
    update_many(
        session,
        Subscription,
        [
            {
                "company_guid": due.company_guid,
                "guid": due.guid,
                "invoice_count": rows.invoice_count,
                "next_invoice_at": rows.next_invoice_at,
                "updated_at": now,
            }
            for due, rows in filed
        ],
    )


_KEY = ("company_guid", "guid")


def _insert(session: Session, model: type[Owned], rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    if not _is_postgresql(session):
        session.execute(insert(model), rows)
        return
    # COPY takes a third of the time of one INSERT with many rows, and that a half of the ORM's.
    copied = io.StringIO("".join("\t".join(map(_copied, row.values())) + "\n" for row in rows))
    _copy(session.connection(), f'COPY "{model.__tablename__}" ({", ".join(rows[0])}) FROM STDIN', copied)


def _copy(connection: Connection, statement: str, copied: io.StringIO) -> None:
    driver: Any = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(statement, copied)
    except driver.Error as error:
        # This goes past SQLAlchemy, so the error is given its name here: everyone catches those.
        if connection.dialect.is_disconnect(error, connection.connection, cursor):
            connection.invalidate(error)
            raise OperationalError(statement, None, error, hide_parameters=True, connection_invalidated=True) from error
        raise DBAPIError.instance(statement, None, error, driver.Error, hide_parameters=True) from error


def update_many(session: Session, model: type[Owned], rows: Sequence[dict[str, Any]]) -> None:
    """Set columns of many records, which the caller has locked, by one statement.

    A row is ``company_guid``, ``guid`` and the new values; all have the same columns.
    """
    if not rows:
        return
    if not _is_postgresql(session):
        session.execute(update(model), rows)
        return
    columns, dialect = model.__table__.c, session.get_bind().dialect
    names = list(rows[0])
    types = {name: "text" if name in _KEY else columns[name].type.compile(dialect) for name in names}
    arrays = ", ".join(f"CAST(:{name} AS {types[name]}[])" for name in names)
    changes = ", ".join(f"{name} = changed.{name}" for name in names if name not in _KEY)
    result: Any = session.execute(
        text(
            f'UPDATE "{model.__tablename__}" AS present SET {changes}'  # noqa: S608  # the names of our own columns
            f" FROM unnest({arrays}) AS changed ({', '.join(names)})"
            " WHERE present.company_guid = changed.company_guid AND present.guid = changed.guid"
        ),
        {name: [_plain(row[name]) for row in rows] for name in names},
    )
    assert result.rowcount == len(rows), (
        f"of {len(rows)} locked rows of {model.__tablename__} {result.rowcount} are left"
    )


def count_up(connection: Connection, bucket: str, period: timedelta) -> tuple[int, timedelta]:
    """Count one more event in a bucket, by one statement: how many its window has, and for how long that lasts.

    A fixed-window counter; the window begins with a bucket's first event. So at most twice as many as are allowed
    get through in any ``period``, when a window's end and the next one's beginning are busy.
    """
    is_postgresql = connection.dialect.name == "postgresql"

    def in_future(span: timedelta) -> ColumnElement[datetime]:
        if is_postgresql:
            return func.statement_timestamp(type_=UtcDateTime()) + literal(span, Interval())
        return literal(clock.utc_now() + span, UtcDateTime())

    goes_on = and_(RateLimit.until > in_future(timedelta(0)), RateLimit.until <= in_future(period + CLOCK_STEP))
    new = (postgresql.insert if is_postgresql else sqlite.insert)(RateLimit).values(
        bucket=bucket, count=1, until=in_future(period)
    )
    counted = new.on_conflict_do_update(
        index_elements=[RateLimit.bucket],
        set_={
            "count": case((goes_on, RateLimit.count + 1), else_=1),
            "until": case((goes_on, RateLimit.until), else_=new.excluded.until),
        },
    ).returning(RateLimit.count, RateLimit.until, in_future(timedelta(0)))
    count, until, now = connection.execute(counted).one()
    return count, until - now


def forget_counts(session: Session) -> None:
    """Delete the windows that are over; one that is being counted in at this moment is left for the next time."""
    over = select(RateLimit.bucket).where(RateLimit.until <= database_clock(session)).with_for_update(skip_locked=True)
    statement = delete(RateLimit).where(RateLimit.bucket.in_(over))
    session.execute(statement, execution_options={"synchronize_session": False})


def insert_unless_there(session: Session, model: type[Base], values: dict[str, Any]) -> bool:
    """Insert a row; False, and nothing is changed, if there is one with its primary key.

    One that another transaction has not committed yet is waited for.
    """
    insert = postgresql.insert if _is_postgresql(session) else sqlite.insert
    done: Any = session.execute(insert(model).values(values).on_conflict_do_nothing())
    return bool(done.rowcount)


def delete_expired_keys(session: Session, now: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` idempotency keys that have expired by ``now``, of all companies; how many it were."""
    key = (IdempotencyKey.company_guid, IdempotencyKey.key_hash)
    expired = (
        select(*key)
        .where(IdempotencyKey.expires_at <= now)
        .order_by(IdempotencyKey.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    done: Any = session.execute(
        delete(IdempotencyKey).where(tuple_(*key).in_(expired)), execution_options={"synchronize_session": False}
    )
    return int(done.rowcount)


_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(value: Any) -> str:
    """A value in the text format of COPY."""
    if value is None:
        return "\\N"
    if type(value) is str and value.isalnum():  # a guid: most of what is copied, and nothing in it to escape
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text_of_it = json.dumps(value) if isinstance(value, list) else str(value)
    return text_of_it.translate(_COPY_ESCAPES)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _same(model: Any, company_guid: Any, guid: Any) -> ColumnElement[bool]:
    return and_(model.company_guid == company_guid, model.guid == guid)
