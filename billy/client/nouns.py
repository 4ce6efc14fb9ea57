"""What can be asked, one class a noun and one method an operation of the API's document.

Every method of a write takes ``idempotency_key``. Without one it makes its own, which covers its own attempts; with
one of yours, stored before the call, the same write can be sent again after your own program died.
``tests/client/test_document.py`` compares methods and parameters with the document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack

from billy.client.listing import Listing
from billy.client.parameters import (
    KEEP,
    Adjustment,
    CustomerFilters,
    Instant,
    InvoiceFilters,
    Item,
    Keep,
    PlanFilters,
    SubscriptionFilters,
    TransactionFilters,
    body_of,
    changed,
    given,
    in_path,
    secret_in_path,
)
from billy.client.records import (
    Callback,
    Company,
    Customer,
    CustomerInvoice,
    Frequency,
    Health,
    Invoice,
    Plan,
    PlanType,
    Readiness,
    Server,
    Subscription,
    Transaction,
    read,
)
from billy.client.transport import Transport

T = TypeVar("T")


class _Noun:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _show(self, kind: type[T], path: str, *, also: int | None = None) -> T:
        answer = self._transport.request("GET", path, also=also)
        return read(kind, answer.body, **answer.details)

    def _send(
        self, kind: type[T], method: str, path: str, body: Mapping[str, Any] | bytes | None, idempotency_key: str | None
    ) -> T:
        sent = body if body is None or isinstance(body, bytes) else body_of(body)
        answer = self._transport.request(method, path, body=sent, idempotency_key=idempotency_key)
        return read(kind, answer.body, **answer.details)

    def _customers(self, path: str, filters: CustomerFilters) -> Listing[Customer]:
        return Listing(self._transport, Customer, path, filters, CustomerFilters)

    def _subscriptions(self, path: str, filters: SubscriptionFilters) -> Listing[Subscription]:
        return Listing(self._transport, Subscription, path, filters, SubscriptionFilters)

    def _invoices(self, path: str, filters: InvoiceFilters) -> Listing[Invoice]:
        return Listing(self._transport, Invoice, path, filters, InvoiceFilters)

    def _transactions(self, path: str, filters: TransactionFilters) -> Listing[Transaction]:
        return Listing(self._transport, Transaction, path, filters, TransactionFilters)


class Companies(_Noun):
    """Companies: a caller's own."""

    def create(
        self,
        *,
        processor_key: str,
        processor: str | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> Company:
        """Register a company, with its key at the payment processor. The answer alone shows its new API key.

        ``processor`` is which of those that the server knows, such as ``stripe``; the server's default without it.
        """
        body = given(processor_key=processor_key, processor=processor, name=name)
        return self._send(Company, "POST", "/v1/companies", body, idempotency_key)

    def get(self, guid: str) -> Company:
        """Your own company."""
        return self._show(Company, f"/v1/companies/{in_path(guid)}")

    def call_back(
        self, guid: str, callback_key: str, *, event: Mapping[str, Any] | bytes, idempotency_key: str | None = None
    ) -> Callback:
        """What a payment processor does when it has news: for tests, in its place."""
        path = f"/v1/companies/{in_path(guid)}/callbacks/{secret_in_path(callback_key)}"
        return self._send(Callback, "POST", path, event, idempotency_key)


class Customers(_Noun):
    """Who is charged, or paid."""

    def create(
        self, *, processor_uri: str | None = None, external_id: str | None = None, idempotency_key: str | None = None
    ) -> Customer:
        """A new customer, and his record at the processor unless ``processor_uri`` names one."""
        body = given(processor_uri=processor_uri, external_id=external_id)
        return self._send(Customer, "POST", "/v1/customers", body, idempotency_key)

    def get(self, guid: str) -> Customer:
        """One customer."""
        return self._show(Customer, f"/v1/customers/{in_path(guid)}")

    def delete(self, guid: str, *, idempotency_key: str | None = None) -> Customer:
        """Nothing is billed to him any more; his records stay."""
        return self._send(Customer, "DELETE", f"/v1/customers/{in_path(guid)}", None, idempotency_key)

    def list(self, **filters: Unpack[CustomerFilters]) -> Listing[Customer]:
        """All customers."""
        return self._customers("/v1/customers", filters)

    def subscriptions(self, guid: str, **filters: Unpack[SubscriptionFilters]) -> Listing[Subscription]:
        """A customer's subscriptions."""
        return self._subscriptions(f"/v1/customers/{in_path(guid)}/subscriptions", filters)

    def invoices(self, guid: str, **filters: Unpack[InvoiceFilters]) -> Listing[Invoice]:
        """A customer's invoices, those of his subscriptions among them."""
        return self._invoices(f"/v1/customers/{in_path(guid)}/invoices", filters)

    def transactions(self, guid: str, **filters: Unpack[TransactionFilters]) -> Listing[Transaction]:
        """A customer's transactions."""
        return self._transactions(f"/v1/customers/{in_path(guid)}/transactions", filters)


class Plans(_Noun):
    """How much, how often, and in which direction."""

    def create(
        self,
        *,
        plan_type: PlanType,
        frequency: Frequency,
        amount: int,
        interval: int | None = None,
        name: str | None = None,
        description: str | None = None,
        external_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Plan:
        """A new plan of ``amount`` cents a period, which is one day, week, month or year, or ``interval`` of them.

        ``debit`` takes the money from customers, ``credit`` pays it out to them.
        """
        body = given(
            plan_type=plan_type,
            frequency=frequency,
            amount=amount,
            interval=interval,
            name=name,
            description=description,
            external_id=external_id,
        )
        return self._send(Plan, "POST", "/v1/plans", body, idempotency_key)

    def get(self, guid: str) -> Plan:
        """One plan."""
        return self._show(Plan, f"/v1/plans/{in_path(guid)}")

    def delete(self, guid: str, *, idempotency_key: str | None = None) -> Plan:
        """Nobody can subscribe to it any more; who has, stays."""
        return self._send(Plan, "DELETE", f"/v1/plans/{in_path(guid)}", None, idempotency_key)

    def list(self, **filters: Unpack[PlanFilters]) -> Listing[Plan]:
        """All plans."""
        return Listing(self._transport, Plan, "/v1/plans", filters, PlanFilters)

    def customers(self, guid: str, **filters: Unpack[CustomerFilters]) -> Listing[Customer]:
        """Who ever subscribed to a plan, each once."""
        return self._customers(f"/v1/plans/{in_path(guid)}/customers", filters)

    def subscriptions(self, guid: str, **filters: Unpack[SubscriptionFilters]) -> Listing[Subscription]:
        """A plan's subscriptions."""
        return self._subscriptions(f"/v1/plans/{in_path(guid)}/subscriptions", filters)

    def invoices(self, guid: str, **filters: Unpack[InvoiceFilters]) -> Listing[Invoice]:
        """A plan's invoices, the latest period first."""
        return self._invoices(f"/v1/plans/{in_path(guid)}/invoices", filters)

    def transactions(self, guid: str, **filters: Unpack[TransactionFilters]) -> Listing[Transaction]:
        """A plan's transactions."""
        return self._transactions(f"/v1/plans/{in_path(guid)}/transactions", filters)


class Subscriptions(_Noun):
    """Customers on plans."""

    def create(
        self,
        *,
        customer_guid: str,
        plan_guid: str,
        funding_instrument_uri: str | None = None,
        amount: int | None = None,
        appears_on_statement_as: str | None = None,
        started_at: Instant | None = None,
        external_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Subscription:
        """Subscribe a customer to a plan. The first invoice is due at ``started_at``: now, without it.

        Each invoice is charged to the instrument; without one, invoices wait for an instrument of their own.
        ``amount`` is in cents a period, instead of the plan's.
        """
        body = given(
            customer_guid=customer_guid,
            plan_guid=plan_guid,
            funding_instrument_uri=funding_instrument_uri,
            amount=amount,
            appears_on_statement_as=appears_on_statement_as,
            started_at=started_at,
            external_id=external_id,
        )
        return self._send(Subscription, "POST", "/v1/subscriptions", body, idempotency_key)

    def get(self, guid: str) -> Subscription:
        """One subscription."""
        return self._show(Subscription, f"/v1/subscriptions/{in_path(guid)}")

    def change(
        self,
        guid: str,
        *,
        funding_instrument_uri: str | None = None,
        amount: int | Keep | None = KEEP,
        appears_on_statement_as: str | Keep | None = KEEP,
        open_invoices: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Subscription:
        """Change what is named, from the next invoice on.

        ``open_invoices`` charges what is unpaid to the instrument too. None means something for ``amount``, the plan's
        amount, and for ``appears_on_statement_as``, no text of your own.
        """
        body = {
            **given(funding_instrument_uri=funding_instrument_uri, open_invoices=open_invoices),
            **changed(amount=amount, appears_on_statement_as=appears_on_statement_as),
        }
        return self._send(Subscription, "PUT", f"/v1/subscriptions/{in_path(guid)}", body, idempotency_key)

    def cancel(
        self, guid: str, *, open_invoices: bool | None = None, idempotency_key: str | None = None
    ) -> Subscription:
        """No more invoices are filed; ``open_invoices`` cancels what is unpaid too."""
        body = given(open_invoices=open_invoices)
        return self._send(Subscription, "POST", f"/v1/subscriptions/{in_path(guid)}/cancel", body, idempotency_key)

    def list(self, **filters: Unpack[SubscriptionFilters]) -> Listing[Subscription]:
        """All subscriptions."""
        return self._subscriptions("/v1/subscriptions", filters)

    def invoices(self, guid: str, **filters: Unpack[InvoiceFilters]) -> Listing[Invoice]:
        """A subscription's invoices, the latest period first."""
        return self._invoices(f"/v1/subscriptions/{in_path(guid)}/invoices", filters)

    def transactions(self, guid: str, **filters: Unpack[TransactionFilters]) -> Listing[Transaction]:
        """A subscription's transactions."""
        return self._transactions(f"/v1/subscriptions/{in_path(guid)}/transactions", filters)


class Invoices(_Noun):
    """What is owed."""

    def create(
        self,
        *,
        customer_guid: str,
        amount: int,
        funding_instrument_uri: str | None = None,
        title: str | None = None,
        external_id: str | None = None,
        appears_on_statement_as: str | None = None,
        items: Sequence[Item] | None = None,
        adjustments: Sequence[Adjustment] | None = None,
        idempotency_key: str | None = None,
    ) -> CustomerInvoice:
        """Invoice a customer ``amount`` cents and the adjustments; with an instrument it is charged at once."""
        body = given(
            customer_guid=customer_guid,
            amount=amount,
            funding_instrument_uri=funding_instrument_uri,
            title=title,
            external_id=external_id,
            appears_on_statement_as=appears_on_statement_as,
            items=items,
            adjustments=adjustments,
        )
        return self._send(CustomerInvoice, "POST", "/v1/invoices", body, idempotency_key)

    def get(self, guid: str) -> Invoice:
        """One invoice."""
        return self._show(Invoice, f"/v1/invoices/{in_path(guid)}")

    def change(self, guid: str, *, funding_instrument_uri: str, idempotency_key: str | None = None) -> Invoice:
        """Charge an unpaid invoice to another instrument, at once."""
        body = given(funding_instrument_uri=funding_instrument_uri)
        return self._send(Invoice, "PUT", f"/v1/invoices/{in_path(guid)}", body, idempotency_key)

    def refund(self, guid: str, *, amount: int, idempotency_key: str | None = None) -> Invoice:
        """Give ``amount`` cents back, at once."""
        body = given(amount=amount)
        return self._send(Invoice, "POST", f"/v1/invoices/{in_path(guid)}/refund", body, idempotency_key)

    def cancel(self, guid: str, *, idempotency_key: str | None = None) -> Invoice:
        """Nobody has to pay it any more."""
        return self._send(Invoice, "POST", f"/v1/invoices/{in_path(guid)}/cancel", None, idempotency_key)

    def list(self, **filters: Unpack[InvoiceFilters]) -> Listing[Invoice]:
        """All invoices."""
        return self._invoices("/v1/invoices", filters)

    def transactions(self, guid: str, **filters: Unpack[TransactionFilters]) -> Listing[Transaction]:
        """An invoice's transactions."""
        return self._transactions(f"/v1/invoices/{in_path(guid)}/transactions", filters)


class Transactions(_Noun):
    """Movements of money."""

    def get(self, guid: str) -> Transaction:
        """One transaction."""
        return self._show(Transaction, f"/v1/transactions/{in_path(guid)}")

    def list(self, **filters: Unpack[TransactionFilters]) -> Listing[Transaction]:
        """All transactions."""
        return self._transactions("/v1/transactions", filters)


class ServerItself(_Noun):
    """The server: which it is, whether it is well, and what it can do. None of them needs a key."""

    def info(self) -> Server:
        """Which server this is; with a key, also when the company's money last moved."""
        return self._show(Server, "/")

    def health(self) -> Health:
        """That it is alive."""
        return self._show(Health, "/health")

    def ready(self) -> Readiness:
        """Whether it can do its work: also a server that cannot answers, by what ``status`` says."""
        return self._show(Readiness, "/health/ready", also=503)

    def openapi(self) -> dict[str, Any]:
        """The document of its API, OpenAPI 3.1."""
        document: dict[str, Any] = self._transport.request("GET", "/v1/openapi.json").body
        return document
