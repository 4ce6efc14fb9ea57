"""/v1/invoices"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from billy.errors import Unavailable
from tests.api.shapes import INVOICE, TRANSACTION, mistakes
from tests.api.steps import (
    MISSING,
    invoice_now,
    invoices_of,
    new_customer,
    new_invoice,
    new_plan,
    refusals,
    subscribe,
    transactions_of,
)

STATEMENT_ERROR = "Field can only hold printable ASCII characters, but no asterisk, comma or slash"
PUT_ERROR = (
    "Invalid operation, you can only update funding_instrument_uri when the invoice status is one of "
    "STAGED, PROCESSING and FAILED"
)
CANCEL_ERROR = "An invoice can only be canceled when its status is one of STAGED, PROCESSING and FAILED"

# A card, and the status in which it leaves an invoice.
OUTCOMES = {
    "/cards/ok": "settled",
    "/cards/pending": "processing",
    "/cards/fails": "failed",
    "/cards/declined": "processing",
    "/cards/stolen": "failed",
    "/cards/unreachable": "processing",
    "/cards/revoked-key": "processing",
    "/cards/lost-before-charge": "processing",
    "/cards/lost-after-charge": "processing",
    "/cards/bug": "processing",
}


@pytest.fixture
def good(company):
    """The required parameters."""
    return {"customer_guid": new_customer(company)["guid"], "amount": 1000}


def path_of(invoice):
    return f"/v1/invoices/{invoice['guid']}"


# -- create ------------------------------------------------------------------------------------------


def test_an_invoice_answers_every_documented_field(company, good, clock):
    invoice = company.post("/v1/invoices", good).json
    assert mistakes(INVOICE, invoice) == {}
    assert {name: invoice[name] for name in good} == good
    assert (invoice["invoice_type"], invoice["transaction_type"], invoice["status"]) == ("customer", "debit", "staged")
    assert (invoice["total_adjustment_amount"], invoice["effective_amount"], invoice["overpaid"]) == (0, 1000, False)
    assert (invoice["items"], invoice["adjustments"]) == ([], [])
    nothing = ("title", "external_id", "appears_on_statement_as", "funding_instrument_uri")
    assert {name: invoice[name] for name in nothing} == dict.fromkeys(nothing)
    assert invoice["created_at"] == invoice["updated_at"] == clock.now.isoformat()
    assert company.get(path_of(invoice)).json == invoice
    assert transactions_of(company, invoice) == []


def test_an_invoice_keeps_everything_that_a_form_said_of_it(company, good):
    said = {"title": "Décembre", "external_id": "order-1", "appears_on_statement_as": "Hosting #1"}
    lines = {
        "item_name1": "Hosting Service A",
        "item_amount1": "1000",
        "item_type1": "service",
        "item_quantity1": "2",
        "item_volume1": "3",
        "item_unit1": "hours",
        "item_name2": "Gift",
        "item_amount2": "-5",
        "adjustment_amount1": "-100",
        "adjustment_reason1": "Coupon",
        "adjustment_amount2": "25",
    }
    invoice = company.post("/v1/invoices", {**good, **said, **lines}).json
    assert mistakes(INVOICE, invoice) == {}
    assert {name: invoice[name] for name in said} == said
    assert invoice["items"] == [
        {"name": "Hosting Service A", "amount": 1000, "type": "service", "quantity": 2, "volume": 3, "unit": "hours"},
        {"name": "Gift", "amount": -5, "type": None, "quantity": None, "volume": None, "unit": None},
    ]
    assert invoice["adjustments"] == [{"amount": -100, "reason": "Coupon"}, {"amount": 25, "reason": None}]
    assert (invoice["amount"], invoice["total_adjustment_amount"], invoice["effective_amount"]) == (1000, -75, 925)
    assert company.get(path_of(invoice)).json == invoice


def test_json_says_the_same_with_lists(company, good):
    items = [
        {"name": "A", "amount": 3, "type": "t", "quantity": 0, "volume": 1, "unit": "u"},
        {"name": "B", "amount": 0, "type": None, "quantity": None, "volume": None, "unit": None},
    ]
    adjustments = [{"amount": -1, "reason": "r"}, {"amount": 2, "reason": None}]
    sent = {**good, "title": "T", "external_id": "x", "items": items, "adjustments": adjustments}
    invoice = company.post("/v1/invoices", json=sent).json
    assert mistakes(INVOICE, invoice) == {}
    assert {name: invoice[name] for name in sent} == sent
    assert invoice["effective_amount"] == 1001


def test_lines_of_a_form_are_sorted_by_their_numbers(company, good):
    names = {"item_name10": "ten", "item_name9": "nine", "item_name-1": "-1", "item_name 2": "two", "item_name0": "0"}
    amounts = {name.replace("name", "amount"): 1 for name in names}
    invoice = company.post("/v1/invoices", {**good, **names, **amounts}).json
    assert [item["name"] for item in invoice["items"]] == ["-1", "0", "two", "nine", "ten"]


@pytest.mark.parametrize(("card", "status"), OUTCOMES.items())
def test_with_an_instrument_it_is_charged_in_the_request_whatever_the_processor_does(company, good, card, status):
    invoice = company.post("/v1/invoices", {**good, "funding_instrument_uri": card}).json
    assert mistakes(INVOICE, invoice) == {}
    assert (invoice["status"], invoice["funding_instrument_uri"]) == (status, card)
    assert company.get(path_of(invoice)).json == invoice
    [transaction] = transactions_of(company, invoice)
    assert mistakes(TRANSACTION, transaction) == {}
    assert (transaction["invoice_guid"], transaction["amount"]) == (invoice["guid"], 1000)


def test_the_effective_amount_is_charged_with_the_statement(company, sandbox):
    invoice = new_invoice(
        company, card="/cards/ok", appears_on_statement_as="Shop", adjustment_amount1=-300, adjustment_reason1="Coupon"
    )
    [transaction] = transactions_of(company, invoice)
    assert (transaction["amount"], transaction["appears_on_statement_as"]) == (700, "Shop")
    [charge] = sandbox.charges()
    assert (charge.amount, charge.appears_on_statement_as, charge.uri) == (700, "Shop", transaction["processor_uri"])


def test_a_customer_may_owe_less_than_a_plan_must_cost(company):
    for amount in (1, 49):
        assert new_invoice(company, amount=amount, card="/cards/ok")["status"] == "settled"


@pytest.mark.parametrize("params", [{"amount": 0}, {"amount": 500, "adjustment_amount1": -500}])
def test_where_nothing_is_due_the_invoice_is_settled_without_a_charge(company, sandbox, params):
    invoice = new_invoice(company, card="/cards/ok", **params)
    assert (invoice["status"], invoice["effective_amount"]) == ("settled", 0)
    assert transactions_of(company, invoice) == []
    assert sandbox.sends() == []


COMMON = [
    ("customer_guid", MISSING, "This field is required."),
    ("customer_guid", "CU" + "1" * 22, f"No such Customer record CU{'1' * 22}"),
    ("amount", MISSING, "This field is required."),
    ("amount", -1, "Number must be at least 0."),
    ("amount", 100_000_000_000, "Number must be at most 99999999999."),
    ("title", "t" * 129, "Field cannot be longer than 128 characters."),
    ("external_id", "x" * 129, "Field cannot be longer than 128 characters."),
    ("external_id", "\0", "Field holds a character that cannot be stored"),
    ("funding_instrument_uri", "/" * 129, "Field cannot be longer than 128 characters."),
    ("appears_on_statement_as", "s" * 19, "Field cannot be longer than 18 characters."),
    ("appears_on_statement_as", "ä", STATEMENT_ERROR),
]


def test_wrong_parameters_of_an_invoice_are_named(company, good, bystander):
    another_companys = bystander.customer.guid
    wrong = [
        *COMMON,
        ("customer_guid", another_companys, f"No such Customer record {another_companys}"),
        ("amount", "1.50", "Not a valid integer value"),
        ("amount", "", "This field is required."),
    ]
    assert refusals(company, "POST", "/v1/invoices", good, wrong) == wrong
    wrong_json = [
        *COMMON,
        ("amount", "1000", "Not a valid integer value"),
        ("amount", True, "Not a valid integer value"),
        ("title", {}, "Not a valid string value"),
        ("items", "x", "Not a valid list"),
        ("adjustments", {"amount": 1}, "Not a valid list"),
        ("items", [{"name": "x", "amount": 1}] * 1001, "There cannot be more than 1000 of them."),
    ]
    assert refusals(company, "POST", "/v1/invoices", good, wrong_json, as_json=True) == wrong_json
    assert company.get("/v1/invoices").json["items"] == []


def test_a_wrong_line_of_a_form_is_named_as_it_was_spelled(company, good):
    wrong = [
        ({"item_name1": "x"}, "item_amount1", "This field is required."),
        ({"item_amount7": 1}, "item_name7", "This field is required."),
        ({"items_amount7": 1}, "items_name7", "This field is required."),
        ({"item_name1": "", "item_amount1": 1}, "item_name1", "This field is required."),
        ({"item_name1": "x", "item_amount1": "abc"}, "item_amount1", "Not a valid integer value"),
        ({"item_name1": "n" * 129, "item_amount1": 1}, "item_name1", "Field cannot be longer than 128 characters."),
        ({"item_name1": "x", "item_amount1": 1, "item_quantity1": -1}, "item_quantity1", "Number must be at least 0."),
        ({"item_name1": "x", "item_amount1": 1, "item_quanity1": "q"}, "item_quanity1", "Not a valid integer value"),
        (
            {"item_name1": "x", "item_amount1": 1, "item_volume1": 2**31},
            "item_volume1",
            "Number must be at most 2147483647.",
        ),
        (
            {"item_name1": "x", "item_amount1": 1, "item_unit1": "u" * 65},
            "item_unit1",
            "Field cannot be longer than 64 characters.",
        ),
        ({"adjustment_reason3": "why"}, "adjustment_amount3", "This field is required."),
        ({"adjustment_amount1": "-"}, "adjustment_amount1", "Not a valid integer value"),
        ({"adjustment_amount1": 10**12}, "adjustment_amount1", "Number must be at most 99999999999."),
        (
            {"adjustment_amount1": 1, "adjustment_reason1": "r" * 129},
            "adjustment_reason1",
            "Field cannot be longer than 128 characters.",
        ),
    ]
    for lines, named, text in wrong:
        answer = company.post("/v1/invoices", {**good, **lines}, status=400).json
        assert answer["errors"] == {named: [text]}
    assert company.get("/v1/invoices").json["items"] == []


def test_a_name_that_looks_like_a_line_and_is_none_is_refused_rather_than_dropped(company, good):
    lookalikes = "item_name item_color1 items[0][name] adjustment_percent1 adjustment_amount adjustments_amountX"
    for name in lookalikes.split():
        answer = company.post("/v1/invoices", {**good, name: "-5"}, status=400).json
        assert list(answer["errors"]) == [name]


def test_two_spellings_of_one_line_that_differ_are_refused(company, good):
    lines = {"adjustment_amount1": -100, "adjustments_amount1": -200}
    answer = company.post("/v1/invoices", {**good, **lines}, status=400).json
    assert list(answer["errors"]) == ["adjustments_amount1"]
    same = company.post("/v1/invoices", {**good, "adjustment_amount1": -100, "adjustments_amount01": "-100"}).json
    assert same["total_adjustment_amount"] == -100, "the same twice is said once"


def test_a_wrong_line_of_json_is_named_by_its_place(company, good):
    wrong = [
        ({"items": [{"amount": 1}]}, "items.0.name"),
        ({"items": [{"name": "x", "amount": 1}, {"name": "x", "amount": "1"}]}, "items.1.amount"),
        ({"items": [{"name": "x", "amount": 1, "color": "red"}]}, "items.0.color"),
        ({"items": [{"name": "x", "amount": 1, "quantity": 1, "quanity": 2}]}, "items.0.quanity"),
        ({"items": [5]}, "items.0"),
        ({"adjustments": [{"reason": "x"}]}, "adjustments.0.amount"),
        ({"adjustments": [{"amount": -1.5}]}, "adjustments.0.amount"),
        ({"adjustment_amount1": -100}, "adjustment_amount1"),
        ({"item_name1": "x"}, "item_name1"),
    ]
    for lines, named in wrong:
        answer = company.post("/v1/invoices", json={**good, **lines}, status=400).json
        assert list(answer["errors"]) == [named]
    assert company.get("/v1/invoices").json["items"] == []


def test_a_deleted_customer_is_invoiced_no_more(company, good):
    company.delete(f"/v1/customers/{good['customer_guid']}")
    answer = company.post("/v1/invoices", good, status=400).json
    assert answer["errors"] == {"customer_guid": ["Cannot create an invoice for a deleted customer"]}


def test_a_customer_who_is_deleted_while_the_processor_is_asked_is_not_charged(company, good, monkeypatch, sandbox):
    from billy.processors.sandbox import SandboxProcessor

    def delete_meanwhile(self, uri, purpose, customer_uri):
        company.delete(f"/v1/customers/{good['customer_guid']}")

    monkeypatch.setattr(SandboxProcessor, "validate_funding_instrument", delete_meanwhile)
    company.post("/v1/invoices", {**good, "funding_instrument_uri": "/cards/ok"}, status=400)
    assert company.get("/v1/invoices").json["items"] == sandbox.sends() == []


@pytest.mark.parametrize(
    ("card", "error_class"), [("/cards/not-found", "InvalidFundingInstrument"), ("CCbare", "InvalidURIFormat")]
)
def test_an_instrument_that_the_processor_does_not_take_is_refused_and_nothing_saved(company, good, card, error_class):
    answer = company.post("/v1/invoices", {**good, "funding_instrument_uri": card}, status=400).json
    assert answer["error_class"] == error_class
    assert company.get("/v1/invoices").json["items"] == []


def test_an_instrument_that_cannot_be_checked_now_is_503_and_nothing_saved(company, good, sandbox):
    sandbox.fault = Unavailable("away")
    answer = company.post("/v1/invoices", {**good, "funding_instrument_uri": "/cards/ok"}, status=503)
    assert int(answer.headers["Retry-After"]) > 0
    assert company.get("/v1/invoices").json["items"] == []


def test_an_external_id_names_one_invoice_of_a_customer(company, good, bystander, sandbox):
    first = company.post("/v1/invoices", {**good, "external_id": "order-1"}).json
    again = {**good, "external_id": "order-1", "funding_instrument_uri": "/cards/ok"}
    answer = company.post("/v1/invoices", again, status=409).json
    assert answer["error_class"] == "DuplicateExternalIDError"
    assert answer["error_message"] == f"Invoice {good['customer_guid']} with external_id order-1 already exists"
    assert company.get("/v1/invoices").json["items"] == [first]
    assert sandbox.sends() == []
    new_invoice(company, external_id="order-1")  # another customer's is another order
    company.post("/v1/invoices", {**good, "external_id": "the-bystander's-order"})
    company.post("/v1/invoices", {**good, "external_id": ""})
    company.post("/v1/invoices", {**good, "external_id": ""})


def test_of_two_orders_at_once_with_one_external_id_one_is_made_and_charged(company, good, sandbox):
    order = {**good, "external_id": "order-1", "funding_instrument_uri": "/cards/ok"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: company.post("/v1/invoices", order, status="*").status_int, range(4)))
    assert Counter(answers) == {200: 1, 409: 3}
    assert len(company.get("/v1/invoices").json["items"]) == len(sandbox.charges()) == 1


# -- a new instrument --------------------------------------------------------------------------------


@pytest.mark.parametrize("send", ["params", "json"])
@pytest.mark.parametrize("old", [None, "/cards/declined", "/cards/unreachable", "/cards/stolen", "/cards/fails"])
def test_an_unpaid_invoice_is_charged_to_its_new_instrument_at_once(company, old, send, clock, sandbox):
    invoice = new_invoice(company, card=old)
    clock.move(minutes=1)
    sent = {"funding_instrument_uri": "/cards/new"}
    paid = company.request("PUT", path_of(invoice), **{send: sent}).json
    assert mistakes(INVOICE, paid) == {}
    assert paid == {**invoice, **sent, "status": "settled", "updated_at": clock.now.isoformat()}
    assert company.get(path_of(invoice)).json == paid
    *earlier, charge = transactions_of(company, invoice)
    assert (charge["funding_instrument_uri"], charge["status"]) == ("/cards/new", "succeeded")
    assert {each["submit_status"] for each in earlier} <= {"canceled", "failed", "done"}
    assert [each.instrument for each in sandbox.charges() if each.status != "failed"] == ["/cards/new"]


@pytest.mark.parametrize("card", [card for card in OUTCOMES if card != "/cards/bug"])
def test_a_new_instrument_leaves_the_invoice_as_the_processor_answers(company, card):
    invoice = new_invoice(company)
    changed = company.put(path_of(invoice), {"funding_instrument_uri": card}).json
    assert changed["status"] == OUTCOMES[card]


@pytest.mark.parametrize("end", ["settled", "canceled"])
def test_a_settled_or_canceled_invoice_takes_no_new_instrument(company, end, sandbox):
    invoice = new_invoice(company, card="/cards/ok" if end == "settled" else None)
    if end == "canceled":
        company.post(f"{path_of(invoice)}/cancel")
    before = invoice_now(company, invoice)
    assert before["status"] == end
    sent = len(sandbox.sends())
    answer = company.put(path_of(invoice), {"funding_instrument_uri": "/cards/new"}, status=400).json
    assert (answer["error_class"], answer["error_message"]) == ("InvalidOperationError", PUT_ERROR)
    assert invoice_now(company, invoice) == before
    assert len(sandbox.sends()) == sent


@pytest.mark.parametrize("card", ["/cards/pending", "/cards/lost-after-charge", "/cards/bug"])
def test_while_the_old_instrument_may_still_pay_a_new_one_is_409(company, card, sandbox):
    invoice = new_invoice(company, card=card)
    sent = len(sandbox.sends())
    answer = company.put(path_of(invoice), {"funding_instrument_uri": "/cards/new"}, status=409).json
    assert answer["error_class"] == "InvalidOperationError"
    assert transactions_of(company, invoice)[0]["guid"] in answer["error_message"]
    assert invoice_now(company, invoice) == invoice
    assert len(sandbox.sends()) == sent


def test_an_invoice_of_nothing_takes_any_instrument_and_charges_nothing(company, sandbox):
    invoice = new_invoice(company, amount=0)
    changed = company.put(path_of(invoice), {"funding_instrument_uri": "/cards/new"}).json
    assert (changed["status"], changed["funding_instrument_uri"]) == ("settled", "/cards/new")
    assert transactions_of(company, invoice) == sandbox.sends() == []


def test_wrong_parameters_of_a_new_instrument_are_named(company):
    invoice = new_invoice(company)
    wrong = [
        ("funding_instrument_uri", MISSING, "This field is required."),
        ("funding_instrument_uri", "", "This field is required."),
        ("funding_instrument_uri", " ", "This field is required."),
        ("funding_instrument_uri", "/" * 129, "Field cannot be longer than 128 characters."),
    ]
    good = {"funding_instrument_uri": "/cards/ok"}
    assert refusals(company, "PUT", path_of(invoice), good, wrong) == wrong
    wrong_json = [*wrong, ("funding_instrument_uri", None, "This field is required.")]
    assert refusals(company, "PUT", path_of(invoice), good, wrong_json, as_json=True) == wrong_json
    assert invoice_now(company, invoice) == invoice


# -- refund ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", ["params", "json"])
def test_a_refund_is_sent_at_once_and_the_invoice_stays_settled(company, send, clock, sandbox):
    invoice = new_invoice(company, card="/cards/ok", appears_on_statement_as="Shop")
    clock.move(minutes=1)
    refunded = company.request("POST", f"{path_of(invoice)}/refund", **{send: {"amount": 300}}).json
    assert mistakes(INVOICE, refunded) == {}
    assert refunded == {**invoice, "updated_at": clock.now.isoformat()}
    charge, refund = transactions_of(company, invoice)
    assert mistakes(TRANSACTION, refund) == {}
    assert (refund["transaction_type"], refund["amount"], refund["status"]) == ("refund", 300, "succeeded")
    assert (refund["funding_instrument_uri"], refund["appears_on_statement_as"]) == (None, None)
    [record] = [each for each in sandbox.records() if each.type == "refund"]
    assert (record.amount, record.charge_uri, record.uri) == (300, charge["processor_uri"], refund["processor_uri"])


def test_refunds_never_exceed_what_was_charged(company, sandbox):
    invoice = new_invoice(company, card="/cards/ok", adjustment_amount1=-100)
    path = f"{path_of(invoice)}/refund"
    answer = company.post(path, {"amount": 901}, status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert answer["error_message"] == "Refund total amount 0 + 901 will exceed invoice effective amount 900"
    company.post(path, {"amount": 600})
    answer = company.post(path, {"amount": 301}, status=400).json
    assert answer["error_message"] == "Refund total amount 600 + 301 will exceed invoice effective amount 900"
    company.post(path, {"amount": 300})
    company.post(path, {"amount": 1}, status=400)
    assert [each.amount for each in sandbox.records() if each.type == "refund"] == [600, 300]


@pytest.mark.parametrize("card", ["/cards/refund-pending", "/cards/refund-declined", "/cards/refund-lost-after-charge"])
def test_a_refund_that_may_still_succeed_counts(company, card):
    invoice = new_invoice(company, card=card)
    company.post(f"{path_of(invoice)}/refund", {"amount": 600})
    company.post(f"{path_of(invoice)}/refund", {"amount": 401}, status=400)
    company.post(f"{path_of(invoice)}/refund", {"amount": 400})
    assert invoice_now(company, invoice)["status"] == "settled"


@pytest.mark.parametrize("card", [None, "/cards/pending", "/cards/declined", "/cards/stolen"])
def test_only_a_settled_invoice_is_refunded(company, card, sandbox):
    invoice = new_invoice(company, card=card)
    sent = len(sandbox.sends())
    answer = company.post(f"{path_of(invoice)}/refund", {"amount": 100}, status=400).json
    assert (answer["error_class"], answer["error_message"]) == (
        "InvalidOperationError",
        "You can only refund a settled invoice",
    )
    assert invoice_now(company, invoice) == invoice
    assert len(sandbox.sends()) == sent


def test_wrong_parameters_of_a_refund_are_named(company, sandbox):
    invoice = new_invoice(company, card="/cards/ok")
    wrong = [
        ("amount", MISSING, "This field is required."),
        ("amount", "", "This field is required."),
        ("amount", 0, "Number must be at least 1."),
        ("amount", -1, "Number must be at least 1."),
        ("amount", 10**11, "Number must be at most 99999999999."),
    ]
    path = f"{path_of(invoice)}/refund"
    wrong_form = [*wrong, *(("amount", junk, "Not a valid integer value") for junk in ("all", "1.0"))]
    assert refusals(company, "POST", path, {"amount": 1}, wrong_form) == wrong_form
    assert refusals(company, "POST", path, {"amount": 1}, wrong, as_json=True) == wrong
    assert [each for each in sandbox.records() if each.type == "refund"] == []


# -- cancel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [None, "/cards/declined", "/cards/unreachable", "/cards/stolen", "/cards/fails"])
def test_an_unpaid_invoice_is_canceled_with_its_open_charge(company, card, clock, bill, sandbox):
    invoice = new_invoice(company, card=card)
    clock.move(minutes=1)
    canceled = company.post(f"{path_of(invoice)}/cancel").json
    assert mistakes(INVOICE, canceled) == {}
    assert canceled == {**invoice, "status": "canceled", "updated_at": clock.now.isoformat()}
    assert {each["submit_status"] for each in transactions_of(company, invoice)} <= {"canceled", "failed", "done"}
    sent = len(sandbox.sends())
    clock.move(days=30)
    bill()
    assert len(sandbox.sends()) == sent, "a canceled invoice is charged no more"
    assert invoice_now(company, invoice) == canceled


@pytest.mark.parametrize("end", ["settled", "canceled"])
def test_a_settled_or_canceled_invoice_cannot_be_canceled(company, end):
    invoice = new_invoice(company, card="/cards/ok" if end == "settled" else None)
    if end == "canceled":
        company.post(f"{path_of(invoice)}/cancel")
    before = invoice_now(company, invoice)
    answer = company.post(f"{path_of(invoice)}/cancel", status=400).json
    assert (answer["error_class"], answer["error_message"]) == ("InvalidOperationError", CANCEL_ERROR)
    assert invoice_now(company, invoice) == before


@pytest.mark.parametrize("card", ["/cards/pending", "/cards/lost-after-charge", "/cards/bug"])
def test_an_invoice_whose_money_may_be_moving_cannot_be_canceled_now(company, card):
    invoice = new_invoice(company, card=card)
    before = transactions_of(company, invoice)
    answer = company.post(f"{path_of(invoice)}/cancel", status=409).json
    assert answer["error_class"] == "InvalidOperationError"
    assert before[0]["guid"] in answer["error_message"]
    assert (invoice_now(company, invoice), transactions_of(company, invoice)) == (invoice, before)


# -- the invoices of subscriptions -------------------------------------------------------------------


def test_the_invoices_of_subscriptions_are_changed_refunded_and_canceled_alike(company):
    unpaid, paid = subscribe(company, card=None), subscribe(company)
    [invoice] = invoices_of(company, unpaid)
    assert company.put(path_of(invoice), {"funding_instrument_uri": "/cards/ok"}).json["status"] == "settled"
    [invoice] = invoices_of(company, paid)
    company.post(f"{path_of(invoice)}/refund", {"amount": 1000})
    assert [each["transaction_type"] for each in transactions_of(company, paid)] == ["debit", "refund"]
    [invoice] = invoices_of(company, subscribe(company, card=None))
    assert company.post(f"{path_of(invoice)}/cancel").json["status"] == "canceled"


def test_a_pay_out_is_not_refunded(company):
    subscription = subscribe(company, plan=new_plan(company, plan_type="credit"), card="/bank_accounts/ok")
    [invoice] = invoices_of(company, subscription)
    answer = company.post(f"{path_of(invoice)}/refund", {"amount": 1}, status=400).json
    assert answer["error_class"] == "InvalidOperationError"
    assert len(transactions_of(company, invoice)) == 1
