"""Stripe, by its official SDK (``pip install 'billy[stripe]'``).

A debit is an off-session PaymentIntent that is confirmed as it is made, a refund a Refund of it, a credit a
Transfer to a connected account. What each answer means:

=============================================  ================================================================
Stripe                                         this adapter
=============================================  ================================================================
``succeeded``                                  ``Receipt(SUCCEEDED)``
``processing``: a bank takes its days          ``Receipt(PENDING)``
402; ``requires_payment_method`` of a card     ``Refused``, soft or hard as ``stripe_codes`` says; canceled
``requires_action``: he has to authenticate    ``Refused(hard)``; canceled
``requires_payment_method`` of a bank's debit  ``Receipt(FAILED)``: the bank's later no; canceled
``canceled``                                   what it was canceled for, as above
400, 404 with an error                         ``Refused``, soft or hard as ``stripe_codes`` says
401, 403                                       ``Misconfigured``
429                                            ``Unavailable`` for as long as it says
not reached, or not reached whole              ``Unavailable`` (``billy.processors.http`` draws the line)
409, a key with other values, 5xx, silence     ``OutcomeUnknown`` for what moves money, else ``Unavailable``
=============================================  ================================================================

The submission key is Stripe's idempotency key, which lives for a day. So it is no more than a second lock: whoever
is in doubt looks the key up, in the ``metadata`` of what the customer's list holds. Search is not used: it lags.

**A payment that was refused is canceled**, since a PaymentIntent lives on: somebody who has its client secret, or
the dashboard, could have it succeed a week later, beside the retry that paid. ``submit`` does so as it learns of the
refusal. If it dies before that, Stripe's event about the failure, which it delivers for days, has
``read_callback`` do it. ``look_up`` does not: it must change nothing, and an event tells of what it finds, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import structlog
from pydantic import BaseModel, Field

from billy.errors import (
    InvalidCallbackPayload,
    InvalidCustomer,
    InvalidFundingInstrument,
    InvalidURIFormat,
    Misconfigured,
    OutcomeUnknown,
    ProcessorError,
    Refused,
    Unavailable,
)
from billy.processors.answers import Lost, text_of
from billy.processors.base import (
    Callback,
    DisputeStatus,
    Receipt,
    ReceiptStatus,
    Record,
    Submission,
    SubmissionType,
)
from billy.processors.http import Deadline
from billy.processors.service import URL, Service, ServiceOptions, answers_lost_as, only_asking
from billy.processors.stripe_events import EVENTS, check_signature, instant_of, read_event, subject_of
from billy.processors.stripe_records import ENDED_BY_US, RECORDS, amount_of, dispute_of, outcome_of, receipt_of
from billy.processors.stripe_wire import (
    API_VERSION,
    Resource,
    Transport,
    ask,
    error_of,
    id_of,
    known,
    listed,
    metadata_of,
    stripe,
    to_id,
)

log = structlog.get_logger(__name__)

TRANSACTION_GUID = "billy.transaction_guid"
SUBMISSION_KEY = "billy.submission_key"
CUSTOMER_GUID = "billy.customer_guid"

CLOCKS_DIFFER = timedelta(hours=1)
"""By less than this, ours and Stripe's. A look-up reads a page of records more for it at most."""


class StripeOptions(ServiceOptions):
    """The options ``billy.stripe.…``."""

    base_url: str = Field(
        default="https://api.stripe.com", pattern=URL, description="Where the service is; http only for a simulator."
    )
    read_timeout: float = Field(
        default=20.0, gt=0, description=ServiceOptions.model_fields["read_timeout"].description
    )
    currency: str = Field(
        default="usd", pattern=r"^[a-z]{3}$", description="The currency of all amounts, whose hundredth is a cent."
    )
    statement_suffix_length: int = Field(
        default=10,
        ge=0,
        le=18,
        description="Characters of appears_on_statement_as that are kept: 20 less those of the account's own prefix.",
    )


class Stripe(Service):
    """Stripe, over its own SDK."""

    name: ClassVar[str] = "stripe"
    options: ClassVar[type[BaseModel]] = StripeOptions

    def __init__(self, options: StripeOptions, *, call_deadline: float) -> None:
        super().__init__(options, call_deadline=call_deadline)
        self.transport = Transport(self.http)

    def __call__(self, processor_key: str) -> StripeProcessor:
        """The adapter for one company."""
        return StripeProcessor(self, processor_key)


class StripeProcessor:
    """The adapter for one company; see ``billy.processors.base.Processor``."""

    def __init__(self, factory: Stripe, processor_key: str) -> None:
        self._stripe = factory
        # What no key could be cannot be sent in a header; Billy finds that out when it calls.
        self._has_key = _KEY.match(processor_key) is not None
        self._api = stripe.StripeClient(
            processor_key if self._has_key else "none",
            stripe_version=API_VERSION,
            base_addresses={"api": factory.settings.base_url.rstrip("/")},
            http_client=factory.transport,
            max_network_retries=0,
        ).v1

    def __repr__(self) -> str:
        return f"<StripeProcessor of {self._stripe!r}>"

    # -- customers and instruments -------------------------------------------------------------------

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        """The id of the customer's record. Asked again within a day, Stripe answers with the same one.

        Later it makes another. That is no harm: nothing has been done with the one that nobody heard of.
        """
        values = {"metadata": {CUSTOMER_GUID: customer_guid}}
        with self._call():
            made = ask(self._api.customers.create, values, {"idempotency_key": f"customer-{customer_guid}"})
            return id_of(made, "cus")

    def validate_customer(self, uri: str) -> None:
        """Raise InvalidURIFormat or InvalidCustomer unless ``uri`` is a customer of this key."""
        customer = to_id(uri, "cus")
        with self._asking():
            if not self._has_customer(customer):
                raise InvalidCustomer(f"Stripe has no customer {uri}")

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        """Raise unless the customer can be debited, or credited, with ``uri``; a payment method is his from then on."""
        customer = to_id(customer_uri, "cus")
        if purpose is SubmissionType.CREDIT:
            self._validate_destination(uri, customer)
            return
        method = _instrument(uri, "pm", "be debited: that takes a payment method, pm_…")
        with self._call():
            told = known(self._api.payment_methods.retrieve, method)
            if told is None:
                raise InvalidFundingInstrument(f"Stripe has no payment method {uri}")
            if (owner := told.get("customer")) is None:
                try:
                    ask(self._api.payment_methods.attach, method, {"customer": customer})
                except Refused as refused:
                    raise InvalidFundingInstrument(f"Stripe refuses {uri}: {refused}") from refused
            elif owner != customer:
                raise InvalidFundingInstrument(f"{uri} is another customer's at Stripe")

    def _validate_destination(self, uri: str, customer: str) -> None:
        account = _instrument(uri, "acct", "be credited: Stripe pays out to connected accounts alone, acct_…")
        with self._asking():
            if known(self._api.accounts.retrieve, account) is None:
                raise InvalidFundingInstrument(f"Stripe has no connected account {uri}")
            if not self._has_customer(customer):
                raise InvalidFundingInstrument(f"Stripe has no customer {customer} to credit")

    def _has_customer(self, customer: str) -> bool:
        told = known(self._api.customers.retrieve, customer)
        return told is not None and not told.get("deleted")

    # -- money ---------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> Receipt:
        """Move the money, in one request; one more cancels a payment that was refused."""
        try:
            with self._call(lost=OutcomeUnknown):
                if submission.type is SubmissionType.REFUND:
                    return self._refund(submission)
                if submission.type is SubmissionType.CREDIT:
                    return self._credit(submission)
                return self._debit(submission)
        except InvalidURIFormat as error:
            # Nothing was sent, and nothing ever can be: the URI will not change.
            raise Refused(str(error), code="invalid_uri", hard=True) from error

    def _debit(self, submission: Submission) -> Receipt:
        settings = self._stripe.settings
        values = {
            "amount": submission.amount,
            "currency": settings.currency,
            "customer": to_id(submission.customer_uri or "", "cus"),
            "payment_method": to_id(submission.funding_instrument_uri or "", "pm"),
            # Whatever the account takes, but nothing that would send the customer, who is not here, somewhere.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "off_session": True,
            "confirm": True,
            "description": submission.description,
            "metadata": _origin(submission),
        }
        if suffix := statement_suffix(submission.appears_on_statement_as, settings.statement_suffix_length):
            values["statement_descriptor_suffix"] = suffix
        intent: Any = None
        try:
            intent = ask(self._api.payment_intents.create, values, {"idempotency_key": submission.key})
            return outcome_of(intent)
        except Refused as refused:
            self._end(intent or error_of(refused.__cause__).get("payment_intent"))
            raise

    def _credit(self, submission: Submission) -> Receipt:
        values = {
            "amount": submission.amount,
            "currency": self._stripe.settings.currency,
            "destination": to_id(submission.funding_instrument_uri or "", "acct"),
            "description": submission.description,
            "metadata": _origin(submission),
        }
        return receipt_of(ask(self._api.transfers.create, values, {"idempotency_key": submission.key}))

    def _refund(self, submission: Submission) -> Receipt:
        values = {
            "amount": submission.amount,
            "payment_intent": to_id(submission.charge_uri or "", "pi"),
            "metadata": _origin(submission),
        }
        return receipt_of(ask(self._api.refunds.create, values, {"idempotency_key": submission.key}))

    def _end(self, intent: Any) -> None:
        """Cancel a payment that failed, so that nobody has it succeed later; what it came to stands already."""
        if isinstance(intent, dict) and intent.get("status") in ENDED_BY_US:
            try:
                ask(self._api.payment_intents.cancel, id_of(intent, "pi"))
            except (ProcessorError, Lost) as error:
                # The event about the failure will have it done.
                log.warning("payment_not_canceled", payment_intent=intent.get("id"), error=type(error).__name__)

    # -- looking up ----------------------------------------------------------------------------------

    def look_up(self, submission: Submission) -> Receipt | None:
        """The record of the submission's key: the oldest that did not fail, else the oldest.

        Raises Refused, like the submission whose answer was lost, if a refusal is what left that record.
        """
        with self._asking():
            made = self._made(submission)
            receipts = [receipt_of(each) for each in made]
        alive = [receipt for receipt in receipts if receipt.status is not ReceiptStatus.FAILED]
        if len(alive) > 1:
            uris = [receipt.processor_uri for receipt in alive]
            log.error("charge_doubled", transaction=submission.transaction_guid, processor_uris=uris)
        if alive or not made:
            return next(iter(alive), None)
        return outcome_of(made[0])

    def find_records(self, submission: Submission, processor_uri: str | None) -> Sequence[Record]:
        """The records of the submission's key, oldest first, and the one at ``processor_uri``."""
        with self._asking():
            made = self._made(submission)
            if processor_uri is not None and all(each.get("id") != processor_uri for each in made):
                made = [*self._at(processor_uri, submission.type), *made]
            return [Record(receipt_of(each), amount_of(each)) for each in made]

    def _made(self, submission: Submission) -> list[Resource]:
        """Every record of a submission's key, oldest first."""
        try:
            records = self._listed(submission)
        except InvalidURIFormat:
            return []  # so it was never sent
        except Refused as refused:
            if refused.code == "resource_missing":
                return []  # no such customer, account or charge of this key
            raise
        return [each for each in records if metadata_of(each).get(SUBMISSION_KEY) == submission.key]

    def _listed(self, submission: Submission) -> list[Resource]:
        if submission.type is SubmissionType.REFUND:
            return listed(self._api.refunds.list, {"payment_intent": to_id(submission.charge_uri or "", "pi")})
        since: dict[str, Any] = {}
        if submission.not_before is not None:
            since["created"] = {"gte": int((submission.not_before - CLOCKS_DIFFER).timestamp())}
        if submission.type is SubmissionType.CREDIT:
            account = to_id(submission.funding_instrument_uri or "", "acct")
            return listed(self._api.transfers.list, {"destination": account, **since})
        customer = to_id(submission.customer_uri or "", "cus")
        return listed(self._api.payment_intents.list, {"customer": customer, **since})

    def _at(self, uri: str, kind: SubmissionType) -> list[Resource]:
        retrieve = {
            SubmissionType.DEBIT: self._api.payment_intents.retrieve,
            SubmissionType.CREDIT: self._api.transfers.retrieve,
            SubmissionType.REFUND: self._api.refunds.retrieve,
        }[kind]
        try:
            told = known(retrieve, to_id(uri, *RECORDS[kind]))
        except InvalidURIFormat:
            return []  # another processor's
        return [] if told is None else [told]

    # -- callbacks -----------------------------------------------------------------------------------

    def register_callback(self, url: str) -> str | None:
        """Have Stripe POST the events of ``EVENTS`` to ``url``; the secret that they will be signed with.

        Stripe tells it once. Of an endpoint that is there already it does not: None. Without it events are
        verified by asking Stripe for them.
        """
        try:
            with self._call():
                endpoints = listed(self._api.webhook_endpoints.list, {})
                if any(each.get("url") == url for each in endpoints):
                    return None
                values = {"url": url, "enabled_events": list(EVENTS), "api_version": API_VERSION}
                # The URL is a secret, and a key is written to Stripe's own logs.
                key = f"callback-{hashlib.sha256(url.encode()).hexdigest()}"
                made = ask(self._api.webhook_endpoints.create, values, {"idempotency_key": key})
        except Refused as refused:
            # Its own text may quote the URL.
            raise Refused("Stripe refuses the callback's URL", code=refused.code, number=refused.number) from None
        return text_of(made.get("secret"), 255) or None

    def read_callback(self, body: bytes, headers: Mapping[str, str], *, secret: str | None = None) -> Callback | None:
        """What a callback means. It is believed if it is signed, else if Stripe knows the event; no more than its ids.

        A payment that failed is canceled, for the submission that was to do it may have died.
        """
        event_id, told = read_event(body)
        if secret is not None:
            check_signature(body, headers, secret)
        with self._asking():
            event = told if secret is not None else known(self._api.events.retrieve, event_id)
            if event is None:
                raise InvalidCallbackPayload("Stripe has no such event of this company")
            subject = subject_of(event)
            resource = self._concerned(subject)
            transaction_guid = "" if resource is None else metadata_of(resource).get(TRANSACTION_GUID, "")
            if resource is None or _GUID.match(transaction_guid) is None:
                return None
            dispute = self._dispute(subject) if subject.get("object") == "dispute" else None
            receipt = receipt_of(resource)
            if resource.get("object") == "payment_intent":
                self._end(resource)
            return Callback(event_id, transaction_guid, instant_of(event), receipt, dispute)

    def _concerned(self, subject: Resource) -> Resource | None:
        """Billy's payment or refund that an event's object is, or is about, as it stands now."""
        kind = subject.get("object")
        if kind == "payment_intent":
            return known(self._api.payment_intents.retrieve, id_of(subject, "pi"))
        if kind == "refund":
            return known(self._api.refunds.retrieve, id_of(subject, *RECORDS[SubmissionType.REFUND]))
        intent = subject.get("payment_intent")
        if not isinstance(intent, str):
            return None  # not made by Billy, which makes payment intents alone
        if kind == "dispute":
            return known(self._api.payment_intents.retrieve, to_id(intent, "pi"))
        if kind == "charge":
            # It was refunded, by the newest of its refunds.
            refunds = listed(self._api.refunds.list, {"payment_intent": to_id(intent, "pi")})
            return next((each for each in reversed(refunds) if TRANSACTION_GUID in metadata_of(each)), None)
        return None

    def _dispute(self, subject: Resource) -> DisputeStatus:
        told = known(self._api.disputes.retrieve, id_of(subject, "dp", "du"))
        return dispute_of(told or subject)

    # -- calls ---------------------------------------------------------------------------------------

    @contextmanager
    def _call(self, lost: type[Unavailable] | type[OutcomeUnknown] = Unavailable) -> Iterator[None]:
        """One call of the protocol. What is ``lost`` matters only where money moves."""
        if not self._has_key:
            raise Misconfigured("The company's key is not one of Stripe")
        with answers_lost_as(lost), self._stripe.transport.within(Deadline(self._stripe.call_deadline)):
            yield

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """A call that moves nothing: whatever stands in its way, it can be made again."""
        with only_asking("Stripe"), self._call():
            yield


# --- what is sent ---

_GUID = re.compile(r"[0-9A-Za-z]{1,64}\Z")
_KEY = re.compile(r"[!-~]{1,255}\Z")

_NOT_ON_STATEMENTS = re.compile(r"[^ -~]|[<>\\'\"*]")


def statement_suffix(text: str | None, most: int) -> str:
    """What Stripe takes to stand on a card's statement behind the account's own prefix; empty if nothing is left."""
    cleaned = _NOT_ON_STATEMENTS.sub("", text or "")[:most].strip()
    return cleaned if re.search("[A-Za-z]", cleaned) else ""


def _instrument(uri: str, prefix: str, can: str) -> str:
    """The id of an instrument; InvalidURIFormat for what is none, InvalidFundingInstrument for the other kind."""
    instrument = to_id(uri, "pm", "acct")
    if not instrument.startswith(f"{prefix}_"):
        raise InvalidFundingInstrument(f"{uri} cannot {can}")
    return instrument


def _origin(submission: Submission) -> dict[str, str]:
    return {TRANSACTION_GUID: submission.transaction_guid, SUBMISSION_KEY: submission.key}
