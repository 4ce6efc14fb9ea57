"""Balanced Payments, revision 1.1 of its API.

The service closed in 2015 and its client library runs on Python 2 alone, so the protocol is spoken here;
``billy.testing.balanced_simulator`` answers it. What each answer means:

=======================================  ================================================================
Balanced                                 this adapter
=======================================  ================================================================
201, ``succeeded`` or ``pending``        ``Receipt`` of that status
201, ``failed``                          ``Receipt(FAILED)``: it made a record of a bank's later no
400, 402, 404, 409 with an error         ``Refused``, soft or hard as ``balanced_codes`` says
401, 403                                 ``Misconfigured``
429                                      ``Unavailable`` for as long as it says
not reached, or not reached whole        ``Unavailable`` (``billy.processors.http`` draws the line)
anything else: silence, 5xx, a redirect  ``OutcomeUnknown`` for what moves money, else ``Unavailable``
=======================================  ================================================================

Balanced has no idempotency keys. Everything that is made carries ``billy.transaction_guid`` and
``billy.submission_key`` in its ``meta``, and whoever is in doubt looks that key up. How requests and answers
look is in ``billy.processors.balanced_wire``.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from typing import Any, ClassVar

import structlog
from pydantic import BaseModel, Field

from billy.errors import (
    InvalidCallbackPayload,
    InvalidCustomer,
    InvalidFundingInstrument,
    InvalidURIFormat,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from billy.processors.answers import Lost, json_of, text_of
from billy.processors.balanced_codes import REFUSALS
from billy.processors.balanced_wire import (
    URI,
    Call,
    Resource,
    age,
    links_of,
    meta_of,
    meta_values,
    only,
    path_of,
    to_path,
)
from billy.processors.base import Callback, Receipt, ReceiptStatus, Record, Submission, SubmissionType
from billy.processors.http import Deadline
from billy.processors.service import URL, Service, ServiceOptions, answers_lost_as, only_asking

log = structlog.get_logger(__name__)

JSON = "application/vnd.api+json;revision=1.1"

TRANSACTION_GUID = "billy.transaction_guid"
SUBMISSION_KEY = "billy.submission_key"
CUSTOMER_GUID = "billy.customer_guid"


def _user_agent() -> str:
    try:
        return f"billy/{metadata.version('billy')}"
    except metadata.PackageNotFoundError:
        return "billy"


class BalancedOptions(ServiceOptions):
    """The options ``billy.balanced.…``."""

    base_url: str = Field(
        default="https://api.balancedpayments.com",
        pattern=URL,
        description="Where the service is; http only for a simulator.",
    )
    user_agent: str = Field(
        default_factory=_user_agent, pattern=r"^[ -~]{1,200}$", description="How Billy names itself."
    )


class Balanced(Service):
    """Balanced Payments."""

    name: ClassVar[str] = "balanced"
    options: ClassVar[type[BaseModel]] = BalancedOptions

    def __init__(self, options: BalancedOptions, *, call_deadline: float) -> None:
        super().__init__(options, call_deadline=call_deadline)
        self._creating = [threading.Lock() for _ in range(64)]

    def __call__(self, processor_key: str) -> BalancedProcessor:
        """The adapter for one company."""
        return BalancedProcessor(self, processor_key)

    def creating(self, processor_key: str, customer_guid: str) -> threading.Lock:
        """The lock under which a customer is looked for and made. Others may share it."""
        return self._creating[hash((processor_key, customer_guid)) % len(self._creating)]


class BalancedProcessor:
    """The adapter for one company; see ``billy.processors.base.Processor``."""

    def __init__(self, balanced: Balanced, processor_key: str) -> None:
        self._balanced = balanced
        self._key = processor_key
        # The key is the user's name, and the password is empty.
        basic = base64.b64encode(f"{processor_key}:".encode()).decode("ascii")
        self._headers = {
            "Accept": JSON,
            "Authorization": f"Basic {basic}",
            "User-Agent": balanced.settings.user_agent,
        }

    def __repr__(self) -> str:
        return f"<BalancedProcessor of {self._balanced!r}>"

    # -- customers and instruments -------------------------------------------------------------------

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        """The URI of the customer's record; unless this is the first try, it is looked for before it is made."""
        with self._call() as call:
            if is_first_try:
                return _make_customer(call, customer_guid)
            # Two threads that both looked and found nothing would make two.
            lock = self._balanced.creating(self._key, customer_guid)
            if not lock.acquire(timeout=call.deadline.left()):
                raise Unavailable("Another thread has been asking Balanced for the same customer for too long")
            try:
                made = call.find("customers", {CUSTOMER_GUID: customer_guid})
                return path_of(made[0], "customers") if made else _make_customer(call, customer_guid)
            finally:
                lock.release()

    def validate_customer(self, uri: str) -> None:
        """Raise InvalidURIFormat or InvalidCustomer unless ``uri`` is a customer of this key."""
        path = to_path(uri, "customers")
        with self._asking() as call:
            if call.get(path) is None:
                raise InvalidCustomer(f"Balanced has no customer {uri}")

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        """Raise unless the customer can be debited, or credited, with ``uri``; from then on it is the customer's."""
        path, customer = to_path(uri, *INSTRUMENTS), to_path(customer_uri, "customers")
        can = f"can_{purpose}"
        with self._call() as call:
            try:
                instrument = call.get(path)
                if instrument is None:
                    raise InvalidFundingInstrument(f"Balanced has no funding instrument {uri}")
                if instrument.get(can) is False:
                    raise InvalidFundingInstrument(f"{uri} takes no {purpose}: Balanced says that {can} is false")
                owner = links_of(instrument).get("customer")
                if owner is None:
                    call.put(path, {"links": {"customer": customer}})
                elif owner != customer.rpartition("/")[2]:
                    raise InvalidFundingInstrument(f"{uri} is another customer's at Balanced, and that for good")
            except Refused as refused:
                # No such customer, or the first use of a card that a browser tokenised: only now it is checked.
                raise InvalidFundingInstrument(f"Balanced refuses {uri}: {refused}") from refused

    # -- money ---------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> Receipt:
        """Move the money, in one request."""
        path, body = _request_for(submission)
        with self._call(lost=OutcomeUnknown) as call:
            return _receipt(call.post(path, body), _kind(submission))

    def look_up(self, submission: Submission) -> Receipt | None:
        """The record of the submission's key: the oldest that did not fail, else the oldest.

        Raises Refused, like the submission whose answer was lost, if a refusal is what left that record.
        """
        kind = _kind(submission)
        with self._asking() as call:
            made = self._made(call, submission)
            receipts = [_receipt(each, kind) for each in made]
        alive = [receipt for receipt in receipts if receipt.status is not ReceiptStatus.FAILED]
        if len(alive) > 1:
            uris = [receipt.processor_uri for receipt in alive]
            log.error("charge_doubled", transaction=submission.transaction_guid, processor_uris=uris)
        if alive or not receipts:
            return next(iter(alive), None)
        if _was_refused(made[0], submission):
            raise Refused(receipts[0].message or "", code=receipts[0].code, hard=REFUSALS.is_hard(receipts[0].code))
        return receipts[0]

    def find_records(self, submission: Submission, processor_uri: str | None) -> Sequence[Record]:
        """The records of the submission's key, oldest first, and the one at ``processor_uri``."""
        kind = _kind(submission)
        known = None if processor_uri is None else URI.match(processor_uri)
        with self._asking() as call:
            found = self._made(call, submission)
            if known is not None and known["kind"] == kind and all(each.get("id") != known["id"] for each in found):
                found += [each for each in [call.get(f"/{kind}/{known['id']}")] if each is not None]
            return [Record(_receipt(each, kind), _amount(each)) for each in sorted(found, key=age)]

    @staticmethod
    def _made(call: Call, submission: Submission) -> list[Resource]:
        # Unless it is asked for by its status, the service's lists leave out what failed.
        statuses = {"status[in]": "pending,succeeded,failed"}
        return call.find(_kind(submission), {SUBMISSION_KEY: submission.key}, statuses)

    # -- callbacks -----------------------------------------------------------------------------------

    def register_callback(self, url: str) -> None:
        """Have Balanced POST its events to ``url``; that it does so already is just as well."""
        try:
            with self._call() as call:
                call.post("/callbacks", {"url": url})
        except Refused as refused:
            if refused.code != "duplicate-webhook-url":
                # Its own text may quote the URL, which is a secret.
                raise Refused("Balanced refuses the callback's URL", code=refused.code, number=refused.number) from None

    def read_callback(self, body: bytes, headers: Mapping[str, str], *, secret: str | None = None) -> Callback | None:
        """What a callback means. Of its body only the event's id is used; all else is asked for anew."""
        event_id = _event_id(body)
        with self._asking() as call:
            event = call.get(f"/events/{event_id}")
            if event is None:
                raise InvalidCallbackPayload("Balanced has no such event of this company")
            path = _path_of_entity(event)
            # The event's entity is how things stood then.
            resource = None if path is None else call.get(path)
            if path is None or resource is None:
                return None
            transaction_guid = meta_of(resource).get(TRANSACTION_GUID, "")
            if _GUID.match(transaction_guid) is None:
                return None
            receipt = _receipt(resource, path.split("/")[1])
            return Callback(event_id, transaction_guid, _instant(event.get("occurred_at")), receipt)

    @contextmanager
    def _call(self, lost: type[Unavailable] | type[OutcomeUnknown] = Unavailable) -> Iterator[Call]:
        """One call of the protocol. What is ``lost`` matters only where money moves."""
        with answers_lost_as(lost):
            yield Call(self._balanced.http, self._headers, Deadline(self._balanced.call_deadline))

    @contextmanager
    def _asking(self) -> Iterator[Call]:
        """A call that changes nothing: whatever stands in its way, it can be made again."""
        with only_asking("Balanced"), self._call() as call:
            yield call


# --- what is sent ---

INSTRUMENTS = ("cards", "bank_accounts")
MOVEMENTS = ("debits", "credits", "refunds")

# Service and documents agree on these; the backslash, on which they do not, is left out.
_NOT_ON_STATEMENTS = re.compile(r"[^A-Za-z0-9 .<>(){}\[\]+&!$;%_?:#@~='\"^`|-]")


def _kind(submission: Submission) -> str:
    """The collection that a submission's record is in."""
    return f"{submission.type}s"


def _request_for(submission: Submission) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "amount": submission.amount,
        "description": submission.description,
        "meta": meta_values({TRANSACTION_GUID: submission.transaction_guid, SUBMISSION_KEY: submission.key}),
    }
    try:
        if submission.type is SubmissionType.REFUND:
            path = to_path(submission.charge_uri or "", "debits")
        else:
            path = to_path(submission.funding_instrument_uri or "", *INSTRUMENTS)
    except InvalidURIFormat as error:
        # Nothing was sent, and nothing ever can be: the URI will not change.
        raise Refused(str(error), code="invalid-uri", hard=True) from error
    if text := _statement(submission, path):
        body["appears_on_statement_as"] = text
    return f"{path}/{_kind(submission)}", body


def _statement(submission: Submission, path: str) -> str:
    most = 18
    if submission.type is SubmissionType.CREDIT:
        most = 12 if path.startswith("/cards/") else 14
    return _NOT_ON_STATEMENTS.sub("", submission.appears_on_statement_as or "")[:most].strip()




def _make_customer(call: Call, customer_guid: str) -> str:
    return path_of(call.post("/customers", {"meta": meta_values({CUSTOMER_GUID: customer_guid})}), "customers")


# --- what is answered ---

_GUID = re.compile(r"[0-9A-Za-z]{1,64}\Z")
_EVENT_ID = re.compile(r"EV[0-9A-Za-z]{16,40}\Z")

_STATUSES = {
    "pending": ReceiptStatus.PENDING,
    "succeeded": ReceiptStatus.SUCCEEDED,
    "failed": ReceiptStatus.FAILED,
    # Words of revision 1.0.
    "paid": ReceiptStatus.SUCCEEDED,
    "reversed": ReceiptStatus.FAILED,
}


def _receipt(resource: Resource, kind: str) -> Receipt:
    uri = path_of(resource, kind)
    status = _STATUSES.get(str(resource.get("status")), ReceiptStatus.PENDING)
    if status is not ReceiptStatus.FAILED:
        return Receipt(uri, status)
    message = text_of(resource.get("failure_reason"), 500) or "The record failed, and Balanced does not say why"
    return Receipt(uri, status, message, text_of(resource.get("failure_reason_code"), 64) or "failed")


def _was_refused(resource: Resource, submission: Submission) -> bool:
    # A card's failed record is what a refusal left; a bank account's may be a debit that the bank returned.
    is_card = (submission.funding_instrument_uri or "").rpartition("/")[2].startswith("CC")
    return is_card and bool(resource.get("failure_reason_code"))


def _amount(resource: Resource) -> int:
    amount = resource.get("amount")
    if not isinstance(amount, int):
        raise Lost("Balanced's record has no amount")
    return amount


def _event_id(body: bytes) -> str:
    """The id of a callback's event, in the envelope of revision 1.1 or flat as in 1.0."""
    told = json_of(body) or {}
    if isinstance(events := told.get("events"), list):
        told = events[0] if len(events) == 1 and isinstance(events[0], dict) else {}
    event_id = told.get("id")
    if not isinstance(event_id, str) or _EVENT_ID.match(event_id) is None:
        raise InvalidCallbackPayload('A callback of Balanced names its event, {"events": [{"id": "EV…"}]}')
    return event_id


def _path_of_entity(event: Resource) -> str | None:
    """Where the record is that an event is about; None if it is nothing that Billy made."""
    entity = event.get("entity")
    entity = entity if isinstance(entity, dict) else {}
    kind = next((name for name in entity if name != "links"), "")
    if kind not in (*MOVEMENTS, "reversals"):
        return None
    snapshot = only(entity, kind)
    if TRANSACTION_GUID not in meta_of(snapshot):
        return None
    if kind == "reversals":
        # Money that a credit had sent came back: news about the credit.
        credit = links_of(snapshot).get("credit")
        return None if credit is None else path_of({"href": f"/credits/{credit}"}, "credits")
    return path_of(snapshot, kind)


def _instant(value: object) -> datetime:
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        raise Lost("Balanced's event does not say when it occurred") from None
    if instant.tzinfo is None:
        raise Lost("Balanced's event does not say when it occurred")
    return instant
