"""Submitting transactions: claim, commit, call, record, commit.

The only place where the database and the processor meet. In two columns::

    database                                          processor
    claim: attempt + 1, in doubt, leased    COMMIT
                                                      submit (or look up), no transaction open
    record the answer … if attempt is ours  COMMIT

* A **claim** is a lease written before the call, and ``attempt`` is its fencing token. Scheduler runs and
  requests claim alike, so nothing is submitted by two at once.
* **Doubt** is set by the claim's commit. Only a definite answer clears it, a conclusive look-up, or an
  ``Unavailable`` of the send itself. A claim that finds doubt looks up and never sends; if the processor
  certainly has nothing, the transaction becomes due again and a *new* claim sends it.
* "Not found" is **conclusive** once the last possible send, one call deadline and the settle time are past.
* Where a restored back-up lost some time (``billy.models.recovery``), every key that may have been sent in it is
  looked up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import structlog
from sqlalchemy.orm import Session

from billy import clock
from billy.books import Books, PlainBooks
from billy.db import open_transactions, persist
from billy.errors import InvalidRequest, Misconfigured, OutcomeUnknown, ProcessorError, Refused, Unavailable
from billy.models import Company, Customer, Invoice, Recovery, Transaction
from billy.models.recovery import distrust, lost_keys
from billy.processors.base import (
    Callback,
    Processor,
    ProcessorFactory,
    Receipt,
    ReceiptStatus,
    Submission,
    SubmissionType,
)
from billy.recording import Claim, Outcome, Result, Silence, record
from billy.secrets import Vault
from billy.settings import Settings
from billy.statements import claim_due, database_now

log = structlog.get_logger(__name__)

INVALID_INSTRUMENT = "invalid_funding_instrument"
"""The code of a charge that cannot be sent, since the processor does not let the customer use the instrument."""


class Processors:
    """The adapters, by company. Each call asserts that this thread has no database transaction open."""

    def __init__(self, factory: ProcessorFactory, vault: Vault, further: Iterable[ProcessorFactory] = ()) -> None:
        """``factory`` is for companies that name no processor, ``further`` ones for those that name them."""
        self._vault = vault
        factories = {each.name: each for each in (factory, *further)}
        self.names = tuple(factories)
        """The default's first."""
        self._open = lru_cache(maxsize=1024)(lambda name, key: _Guarded(factories[name](vault.open(key))))

    @classmethod
    def load(cls, settings: Settings, vault: Vault, factory: ProcessorFactory | None = None) -> Processors:
        """All that the ini names; a default ``factory`` made elsewhere is shared with its maker."""
        return cls(factory or settings.make_processor_factory(), vault, settings.make_further_factories())

    def of(self, company: Company) -> Processor:
        """The adapter for a company's processor key; Misconfigured if the ini does not name its processor any more."""
        return self.with_key(company.sealed_processor_key, company.processor)

    def register_callback(self, company: Company) -> str | None:
        """Have the company's processor call it back; what it signs that with, sealed, if it tells."""
        secret = self.of(company).register_callback(company.callback_url(self._vault))
        return None if secret is None else self._vault.seal(secret)

    def read_callback(self, company: Company, body: bytes, headers: Mapping[str, str]) -> Callback | None:
        """What a callback of the company's processor means."""
        sealed = company.sealed_callback_secret
        # An adapter that never told a secret need not take one.
        options = {} if sealed is None else {"secret": self._vault.open(sealed)}
        return self.of(company).read_callback(body, headers, **options)

    def with_key(self, sealed_processor_key: str, name: str | None) -> Processor:
        """The adapter for a stored key of the processor with that name, or of the default one."""
        if name is not None and name not in self.names:
            raise Misconfigured(f"billy.processors does not name {name}, the company's processor")
        processor: Processor = self._open(name or self.names[0], sealed_processor_key)
        return processor


class _Guarded:
    def __init__(self, adapter: Processor) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._adapter, name)

        def call(*args: Any, **options: Any) -> Any:
            # A transaction held during a call holds its locks for as long as the processor likes (D45).
            assert not open_transactions(), f"{name}() of a processor was called inside a database transaction"
            return method(*args, **options)

        return call


class Submitter:
    """Claims, performs and records submissions; shared by threads and requests."""

    def __init__(self, settings: Settings, processors: Processors) -> None:
        self.processors = processors
        self._settings = settings
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Send nothing more: claims not yet sent are given back."""
        self._stopping.set()

    # -- claim ---------------------------------------------------------------------------------------

    def claim_due(self, session: Session, now: datetime, limit: int, *, only_in_doubt: bool = False) -> list[Claim]:
        """Claim what is due. The claims count from the caller's commit on, not before."""
        began = time.monotonic()
        rows = claim_due(
            session,
            now,
            limit=limit,
            lease=self._settings.lease,
            deadline=self._settings.call_deadline,
            only_in_doubt=only_in_doubt,
        )
        return [self._claim(row, began) for row in rows]

    def _claim(self, row: Any, began: float) -> Claim:
        settings = self._settings
        return Claim(
            company_guid=row.company_guid,
            customer_guid=row.customer_guid,
            attempt=row.attempt + 1,
            was_in_doubt=row.in_doubt,
            was_abandoned=row.leased_until is not None,
            is_conclusive=row.in_doubt and self._is_settled(row.last_send_at, row.database_now),
            send_before=began + (settings.lease - settings.call_deadline).total_seconds(),
            sealed_processor_key=row.sealed_processor_key,
            processor=row.processor,
            parked_count=row.parked_count,
            lost_keys=self._lost_keys(row),
            submission=submission_of(
                row, customer_uri=row.customer_uri, charge_uri=row.charge_uri, period=row.scheduled_at
            ),
        )

    def _is_settled(self, last_send_at: datetime | None, now: datetime) -> bool:
        """Whether a look-up at ``now`` sees whatever was sent by then."""
        settings = self._settings
        return last_send_at is None or now >= last_send_at + settings.call_deadline + settings.settle_time

    def _lost_keys(self, source: Any) -> Sequence[str]:
        if source.lost_since is None:
            return ()
        lost = source.last_send_at - source.lost_since
        return lost_keys(source.submission_key, lost, self._settings.retry_policy, source.refusal_count)

    def _claim_new(
        self,
        session: Session,
        transaction: Transaction,
        recoveries: Sequence[Recovery],
        *,
        send_before: float,
        now: datetime,
    ) -> Claim:
        # Claimed in the very INSERT, so no run can slip in between the request's commit and its call (D16).
        transaction.attempt = 1
        transaction.in_doubt = True
        transaction.leased_until = now + self._settings.lease
        transaction.last_send_at = now + self._settings.lease - self._settings.call_deadline
        period = None
        if recoveries and transaction.is_charge and transaction.subscription_guid is not None:
            period = session.get_one(Invoice, (transaction.company_guid, transaction.invoice_guid)).scheduled_at
            distrust(transaction, period, recoveries)
        was_in_doubt = transaction.lost_since is not None
        session.add(transaction)
        company = session.get_one(Company, transaction.company_guid)
        customer = session.get_one(Customer, (transaction.company_guid, transaction.customer_guid))
        charge_uri = None
        if transaction.refund_of_guid is not None:
            charge = session.get_one(Transaction, (transaction.company_guid, transaction.refund_of_guid))
            charge_uri = charge.processor_uri
        return Claim(
            company_guid=transaction.company_guid,
            customer_guid=transaction.customer_guid,
            attempt=transaction.attempt,
            was_in_doubt=was_in_doubt,
            was_abandoned=False,
            is_conclusive=was_in_doubt and self._is_settled(transaction.last_send_at, now),
            send_before=send_before,
            sealed_processor_key=company.sealed_processor_key,
            processor=company.processor,
            parked_count=company.parked_count,
            lost_keys=self._lost_keys(transaction),
            submission=submission_of(
                transaction, customer_uri=customer.processor_uri, charge_uri=charge_uri, period=period
            ),
        )

    # -- call ----------------------------------------------------------------------------------------

    def perform(self, claim: Claim) -> Outcome:
        """Send a claimed submission, or look it up. Needs no database; never raises."""
        customer_uri = None
        try:
            processor = self.processors.with_key(claim.sealed_processor_key, claim.processor)
            submission = claim.submission
            if submission.customer_uri is None and submission.type is not SubmissionType.REFUND:
                submission = self._with_customer(processor, claim)
                customer_uri = submission.customer_uri
            if claim.lost_keys:
                key, answer = self._look_up_lost(processor, claim, submission)
                return Outcome(claim, answer, customer_uri, key)
            if claim.was_in_doubt:
                return Outcome(claim, processor.look_up(submission) or Silence.NOT_FOUND, customer_uri)
            if self._stopping.is_set() or time.monotonic() >= claim.send_before:
                return Outcome(claim, Silence.NOT_SENT, customer_uri)
            return Outcome(claim, processor.submit(submission), customer_uri)
        except ProcessorError as error:
            return Outcome(claim, error, customer_uri)
        except Exception as error:  # an adapter's bug must not stop the others; it is reported as what it is
            log.exception("submission_crashed", company=claim.company_guid, transaction=claim.transaction_guid)
            return Outcome(claim, error, customer_uri)

    def _look_up_lost(
        self, processor: Processor, claim: Claim, submission: Submission
    ) -> tuple[str, Receipt | Refused | Silence]:
        """What the lost time left at the processor, and under which key.

        Money under any of them is the transaction's. Only then does it matter how the last of its own keys ended:
        that of another charge of the same period says nothing of this one.
        """
        own, _, _ = submission.key.rpartition("-")
        last: tuple[str, Receipt | Refused | Silence] = (submission.key, Silence.NOT_FOUND)
        for key in claim.lost_keys:
            if self._stopping.is_set() or time.monotonic() >= claim.send_before:
                return submission.key, Silence.NOT_SENT  # they are many: a request, or a lease, has an end
            asked = replace(submission, key=key)
            answer: Receipt | Refused | None
            try:
                answer = processor.look_up(asked)
            except Refused as refused:
                answer = refused
            if isinstance(answer, Receipt) and answer.status is not ReceiptStatus.FAILED:
                _check_amount(processor, asked, answer)
                return key, answer
            if answer is not None and key.rpartition("-")[0] == own:
                last = (key, answer)
        return last if claim.is_conclusive else (submission.key, Silence.NOT_FOUND)

    @staticmethod
    def _with_customer(processor: Processor, claim: Claim) -> Submission:
        """The submission of a customer whom the processor could not be asked for when he was created."""
        submission = claim.submission
        try:
            customer_uri = processor.create_customer(claim.customer_guid)
            if not claim.was_in_doubt:
                purpose, instrument = submission.type, submission.funding_instrument_uri or ""
                processor.validate_funding_instrument(instrument, purpose, customer_uri)
        except OutcomeUnknown as error:
            # No money is in question: asked again with the same guid, the processor has the same record.
            raise Unavailable(str(error)) from error
        except Refused as error:
            if claim.was_in_doubt:
                raise Unavailable(str(error)) from error  # of the customer, not of the submission
            raise
        except InvalidRequest as error:
            raise Refused(str(error), code=INVALID_INSTRUMENT, hard=True) from error
        return replace(submission, customer_uri=customer_uri)

    # -- record --------------------------------------------------------------------------------------

    def record(
        self, session: Session, outcomes: Sequence[Outcome], now: datetime, books: type[Books] = PlainBooks
    ) -> list[Result]:
        """Write what became of claims, in the order of ``outcomes``; the caller commits.

        ``PlainBooks`` leaves mapped objects that the session has as they were; ``Books`` changes them.
        """
        return record(books, session, outcomes, now, self._settings.retry_policy)

    def submit_now(self, session: Session, transactions: Sequence[Transaction], *, started: float) -> list[Result]:
        """Submit a request's new transactions at once; ``started`` is ``time.monotonic()`` at its beginning.

        Commits twice: the claimed intent, then what became of it. What the processor does never raises: a
        transaction that could not be finished is left for the scheduler, open. Answers what became of each.
        """
        send_before = started + (self._settings.request_deadline - self._settings.call_deadline).total_seconds()
        with session.no_autoflush:  # the claim goes into the INSERT
            now = database_now(session)
            recoveries = Recovery.all(session)
            claims = [
                self._claim_new(session, transaction, recoveries, send_before=send_before, now=now)
                for transaction in transactions
            ]
        session.commit()  # from here on a crash leaves a claim in doubt, which a run looks up
        outcomes = [self.perform(claim) for claim in claims]
        return persist(session, lambda: self.record(session, outcomes, clock.utc_now(), Books))


def _check_amount(processor: Processor, submission: Submission, receipt: Receipt) -> None:
    """OutcomeUnknown if what a lost time left is of another amount: that the amount was changed is lost as well."""
    for found in processor.find_records(submission, receipt.processor_uri):
        if found.receipt.processor_uri == receipt.processor_uri and found.amount != submission.amount:
            raise OutcomeUnknown(
                f"The processor has {receipt.processor_uri} of {found.amount} cents under the key {submission.key}, "
                f"where the books say {submission.amount}: a person has to resolve this"
            )


def submission_of(
    source: Any, *, customer_uri: str | None, charge_uri: str | None, period: datetime | None = None
) -> Submission:
    """From a transaction, or a row with its columns: to the letter what every retry of it says.

    ``period`` is when its invoice fell due. The transaction may be younger, and its key may not: after a restored
    back-up a period is filed again under the key that it had.
    """
    return Submission(
        type=SubmissionType(source.transaction_type.value),
        key=source.submission_key,
        transaction_guid=source.guid,
        invoice_guid=source.invoice_guid,
        customer_uri=customer_uri,
        amount=source.amount,
        funding_instrument_uri=source.funding_instrument_uri,
        charge_uri=charge_uri,
        appears_on_statement_as=source.appears_on_statement_as,
        not_before=source.created_at if period is None else min(source.created_at, period),
    )
