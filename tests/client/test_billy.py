"""The client against Billy itself, over HTTP: every method, its record compared with the JSON that came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from billy.client import (
    Answer,
    AuthenticationRequired,
    Client,
    Customer,
    CustomerInvoice,
    DuplicateExternalIDError,
    InvalidOperationError,
    InvalidRequest,
    Listing,
    MoneyMoving,
    NotFound,
    SubscriptionInvoice,
    ValidationError,
)
from tests.client.test_document import as_json, methods
from tests.support.site import Site

KEY = "a-processor-key"


@pytest.fixture
def site(app: Any) -> Iterator[Site]:
    """Billy, listening."""
    with Site.open() as site:
        site.app = app.app
        yield site


@pytest.fixture
def answers() -> list[Answer]:
    """What came, as it came."""
    return []


@pytest.fixture
def billy(site: Site, answers: list[Answer], bystander: Any) -> Iterator[Client]:
    """A company's client; not a row of another company may change meanwhile."""
    with Client.register(site.url, processor_key=KEY, watch=answers.append) as billy:
        yield billy


class Compared:
    """Calls methods, and compares each record with the JSON of its answer."""

    def __init__(self, billy: Client, answers: list[Answer]) -> None:
        self.called: set[tuple[str, str]] = set()
        self._methods = methods(billy)
        self._answers = answers

    def __call__(self, noun: str, name: str, /, *arguments: Any, **parameters: Any) -> Any:
        found = self._methods[noun, name](*arguments, **parameters)
        self.called.add((noun, name))
        if isinstance(found, Listing):
            pages = list(found.pages())
            told = [as_json(dataclasses.asdict(page)) for page in pages]
            for mine in told:
                assert mine.pop("total") is None
            assert told == [answer.body for answer in self._answers[-len(pages) :]]
            return [item for page in pages for item in page.items]
        told = as_json(found if isinstance(found, dict) else dataclasses.asdict(found))
        body = self._answers[-1].body
        assert {name: value for name, value in told.items() if value is not None or name in body} == body
        return found


def test_every_method_gives_what_the_server_answers(
    billy: Client, site: Site, answers: list[Answer], sandbox: Any, clock: Any
) -> None:
    call = Compared(billy, answers)
    assert billy.company is not None
    call("companies", "create", processor_key="another-key", name="Another")
    call("companies", "get", billy.company.guid)
    call("server", "info")
    call("server", "health")
    call("server", "ready")
    call("server", "openapi")

    plan = call("plans", "create", plan_type="debit", frequency="monthly", amount=500, name="Hats", interval=2)
    call("plans", "get", plan.guid)
    customer = call("customers", "create", external_id="customer-42")
    call("customers", "get", customer.guid)
    subscription = call(
        "subscriptions",
        "create",
        customer_guid=customer.guid,
        plan_guid=plan.guid,
        funding_instrument_uri="/cards/ok",
        appears_on_statement_as="HATS",
    )
    call("subscriptions", "get", subscription.guid)
    changed = call("subscriptions", "change", subscription.guid, amount=700)
    assert (changed.amount, changed.appears_on_statement_as) == (700, "HATS")
    changed = call("subscriptions", "change", subscription.guid, amount=None, appears_on_statement_as=None)
    assert (changed.amount, changed.effective_amount, changed.appears_on_statement_as) == (None, 500, None)

    items: list[Any] = [{"name": "Hat", "amount": 900, "quantity": 2}, {"name": "Box", "amount": 100}]
    invoice = call(
        "invoices",
        "create",
        customer_guid=customer.guid,
        amount=1000,
        items=items,
        adjustments=[{"amount": -100, "reason": "Coupon"}],
        external_id="order-1",
    )
    assert isinstance(invoice, CustomerInvoice)
    assert (invoice.effective_amount, [item.name for item in invoice.items]) == (900, ["Hat", "Box"])
    assert call("invoices", "change", invoice.guid, funding_instrument_uri="/cards/ok").status == "settled"
    assert call("invoices", "refund", invoice.guid, amount=300).status == "settled"
    call("invoices", "get", invoice.guid)
    unpaid = call("invoices", "create", customer_guid=customer.guid, amount=100)
    assert call("invoices", "cancel", unpaid.guid).status == "canceled"

    debt = call("invoices", "create", customer_guid=customer.guid, amount=800, funding_instrument_uri="/cards/pending")
    [charge] = call("invoices", "transactions", debt.guid)
    [url] = [url for url in sandbox.callbacks(KEY) if billy.company.guid in url]
    callback_key = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    event = sandbox.settle(charge.processor_uri, "succeeded")
    assert call("companies", "call_back", billy.company.guid, callback_key, event=event).code == "ok"
    call("transactions", "get", charge.guid)

    for noun in ("customers", "plans", "subscriptions", "invoices", "transactions"):
        assert call(noun, "list", limit=2)
        assert call(noun, "list", created_at__gte=clock.now - timedelta(days=1), created_at__lt="2999-01-01")
        assert call(noun, "list", created_at__gt=datetime(2999, 1, 1, tzinfo=UTC)) == []
    for noun, record in (("customers", customer), ("plans", plan), ("subscriptions", subscription)):
        for below in ("customers", "subscriptions", "invoices", "transactions"):
            if (noun, below) in methods(billy):
                assert call(noun, below, record.guid), (noun, below)
    [filed] = call("subscriptions", "invoices", subscription.guid)
    assert isinstance(filed, SubscriptionInvoice)
    assert filed.scheduled_at == subscription.started_at

    assert call("subscriptions", "cancel", subscription.guid, open_invoices=True).canceled
    assert call("plans", "delete", plan.guid).deleted
    assert call("customers", "delete", customer.guid).deleted
    assert call.called == set(methods(billy))


def test_a_list_is_gone_through_to_its_end_and_counted(billy: Client, answers: list[Answer], clock: Any) -> None:
    made = []
    for number in range(7):
        made.append(billy.customers.create(external_id=f"customer-{number}"))
        clock.move(minutes=1)
    listing = billy.customers.list(limit=3)
    assert list(listing) == made[::-1]
    assert len([answer for answer in answers if answer.method == "GET"]) == 3
    assert listing.count() == 7
    assert listing.first() == made[-1]
    span = billy.customers.list(created_at__gte=made[2].created_at, created_at__lt=made[5].created_at, limit=1)
    assert list(span) == made[4:1:-1]
    assert list(billy.customers.list(external_id="customer-3")) == [made[3]]
    assert list(billy.customers.list(after=made[2].guid)) == made[1::-1]
    assert list(billy.customers.list(offset=5, limit=1)) == made[1::-1]
    assert list(billy.customers.list(deleted=True)) == []


def test_a_record_that_is_made_meanwhile_moves_no_page(billy: Client) -> None:
    made = [billy.customers.create() for _ in range(4)]
    found: list[Customer] = []
    for customer in billy.customers.list(limit=2):
        found.append(customer)
        billy.customers.create()
    assert found == made[::-1]


def test_errors_are_told_by_their_class(billy: Client, site: Site, bystander: Any) -> None:
    with pytest.raises(ValidationError) as wrong:
        billy.plans.create(plan_type="debit", frequency="monthly", amount=12)
    assert wrong.value.errors == {"amount": ["Number must be at least 50."]}
    assert wrong.value.status == 400
    assert wrong.value.request_id
    with pytest.raises(NotFound):
        billy.customers.get(bystander.customer.guid)
    with pytest.raises(NotFound):
        billy.customers.delete(bystander.customer.guid)
    with Client(site.url, "no-such-key") as stranger, pytest.raises(AuthenticationRequired):
        stranger.plans.list().first()
    with Client(site.url) as anonymous, pytest.raises(AuthenticationRequired):
        anonymous.customers.create()

    customer = billy.customers.create(external_id="customer-42")
    with pytest.raises(DuplicateExternalIDError) as taken:
        billy.customers.create(external_id="customer-42")
    assert taken.value.status == 409
    invoice = billy.invoices.create(customer_guid=customer.guid, amount=800, funding_instrument_uri="/cards/pending")
    with pytest.raises(MoneyMoving) as moving:
        billy.invoices.cancel(invoice.guid)
    assert (moving.value.attempts, moving.value.error_class) == (1, "InvalidOperationError")
    with pytest.raises(InvalidOperationError) as refused:
        billy.invoices.refund(invoice.guid, amount=1)
    assert type(refused.value) is InvalidOperationError
    with pytest.raises(InvalidRequest):
        billy.request("PATCH", "/v1/plans")


def test_writes_without_a_key_of_ones_own_are_not_taken_for_each_other(billy: Client) -> None:
    first, second = (billy.customers.create() for _ in range(2))
    assert first.guid != second.guid
    assert billy.customers.list().count() == 2


@pytest.fixture
def lose_answers(site: Site) -> Callable[[], None]:
    """The next request is done, and its answer lost."""

    def lose() -> None:
        whole = site.app

        def losing(environ: Any, start_response: Any) -> Any:
            site.app = whole
            b"".join(whole(environ, lambda *arguments: None))
            start_response("502 Bad Gateway", [("Content-Type", "text/html"), ("Content-Length", "0")])
            return [b""]

        site.app = losing

    return lose


def test_a_charge_whose_answer_is_lost_is_charged_once(
    billy: Client, answers: list[Answer], lose_answers: Any, document: Any
) -> None:
    if "Idempotency-Key" not in str(document):
        pytest.skip("this server knows no idempotency keys")
    customer = billy.customers.create()
    lose_answers()
    invoice = billy.invoices.create(customer_guid=customer.guid, amount=800, funding_instrument_uri="/cards/ok")
    assert (answers[-1].attempts, answers[-1].replayed) == (2, True)
    assert [each.guid for each in billy.invoices.list()] == [invoice.guid]
    assert billy.transactions.list(status="succeeded").count() == 1
