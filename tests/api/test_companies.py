"""/v1/companies"""

from __future__ import annotations

from datetime import timedelta

import pytest

from billy.errors import Misconfigured, Unavailable
from billy.models import Company
from tests.api.shapes import COMPANY, mistakes
from tests.api.steps import MISSING, refusals
from tests.support.client import basic

REGISTRATION = {"processor_key": "a-processor-key"}


def test_registering_needs_no_key_and_answers_every_documented_field(api, bystander):
    answer = api.anonymous.post("/v1/companies", REGISTRATION)
    assert answer.status_int == 200
    assert mistakes(COMPANY, answer.json) == {}


def test_the_new_key_opens_the_new_company(api, bystander):
    record = api.anonymous.post("/v1/companies", json={**REGISTRATION, "name": "Ölmühle"}).json
    assert record["name"] == "Ölmühle"
    assert api.client(record["api_key"]).get(f"/v1/companies/{record['guid']}").json == record


def test_a_company_without_a_name_has_none(api, bystander):
    assert api.anonymous.post("/v1/companies", {**REGISTRATION, "name": ""}).json["name"] is None


def test_a_company_that_named_no_processor_has_the_servers_default(api, bystander, session):
    record = api.anonymous.post("/v1/companies", REGISTRATION).json
    assert record["processor"] == "sandbox"
    company = session.get_one(Company, record["guid"])
    company.processor = None  # as those have it that registered before there was more than one
    session.commit()
    assert api.client(record["api_key"]).get(f"/v1/companies/{record['guid']}").json["processor"] == "sandbox"


def test_two_registrations_are_two_companies_with_different_keys(api, bystander):
    first, second = api.company(), api.company()
    assert first.guid != second.guid
    assert first.api_key != second.api_key


def test_a_wrong_api_key_does_not_keep_anyone_from_registering(api, bystander):
    api.client("wrong").post("/v1/companies", REGISTRATION)


def test_wrong_parameters_of_a_registration_are_named(api, bystander):
    wrong = [
        ("processor_key", MISSING, "This field is required."),
        ("processor_key", "", "This field is required."),
        ("processor_key", "  ", "This field is required."),
        ("processor_key", "k" * 256, "Field cannot be longer than 255 characters."),
        ("processor_key", "a\0b", "Field holds a character that cannot be stored"),
        ("name", "n" * 129, "Field cannot be longer than 128 characters."),
        ("name", "a\0b", "Field holds a character that cannot be stored"),
    ]
    assert refusals(api.anonymous, "POST", "/v1/companies", REGISTRATION, wrong) == wrong
    wrong_json = [
        *wrong,
        ("processor_key", None, "This field is required."),
        ("processor_key", 5, "Not a valid string value"),
        ("name", ["x"], "Not a valid string value"),
        ("name", "\ud800", "Field holds a character that cannot be stored"),
    ]
    assert refusals(api.anonymous, "POST", "/v1/companies", REGISTRATION, wrong_json, as_json=True) == wrong_json


@pytest.mark.parametrize("named", [{}, {"processor": "sandbox"}, {"processor": ""}])
def test_a_company_has_the_processor_that_it_names_or_the_default(api, session, named, bystander):
    record = api.anonymous.post("/v1/companies", {**REGISTRATION, **named}).json
    assert session.get_one(Company, record["guid"]).processor == "sandbox"


@pytest.mark.ini({"billy.processors": "balanced"})
def test_a_processor_that_is_unknown_or_not_enabled_is_named(api, bystander):
    text = "Must be one of sandbox, balanced"
    wrong = [("processor", "stripe", text), ("processor", "Sandbox", text), ("processor", "nobody", text)]
    assert refusals(api.anonymous, "POST", "/v1/companies", REGISTRATION, wrong) == wrong


def test_the_longest_processor_key_and_name_are_taken(api, sandbox, bystander):
    record = api.anonymous.post("/v1/companies", {"processor_key": "k" * 255, "name": "n" * 128}).json
    assert record["name"] == "n" * 128
    assert len(sandbox.callbacks("k" * 255)) == 1


def test_a_company_is_shown_with_the_key_that_was_presented_and_no_other_secret(company):
    answer = company.get(f"/v1/companies/{company.guid}")
    assert mistakes(COMPANY, answer.json) == {}
    assert answer.json["api_key"] == company.api_key
    assert "a-processor-key" not in answer.text


@pytest.mark.ini({"billy.company.display_callback_key": "true"})
def test_the_callback_key_is_shown_where_the_settings_say_so(api, callback_path, bystander):
    company = api.company()
    assert mistakes(COMPANY, company.record) == {}
    assert company.record["callback_key"]
    assert company.record["callback_key"] in callback_path(company)
    assert company.get(f"/v1/companies/{company.guid}").json == company.record


def test_another_company_is_not_found_like_one_that_does_not_exist(company, bystander):
    answers = [
        company.get(f"/v1/companies/{guid}", status=404).json for guid in (bystander.company.guid, "CP" + "1" * 22)
    ]
    assert {answer["error_class"] for answer in answers} == {"NotFound"}
    assert answers[0]["error_message"] == f"No such company {bystander.company.guid}"


def test_the_processor_is_told_where_to_call_back(api, sandbox, bystander):
    company = api.company(processor_key="told")
    [url] = sandbox.callbacks("told")
    assert url.startswith(f"http://localhost/v1/companies/{company.guid}/callbacks/")
    assert url.endswith("/")


@pytest.mark.ini({"billy.callback_base_url": "https://billy.example.com/base/"})
def test_the_processor_calls_back_where_the_settings_say(api, sandbox, bystander):
    company = api.company(processor_key="told")
    [url] = sandbox.callbacks("told")
    assert url.startswith(f"https://billy.example.com/base/v1/companies/{company.guid}/callbacks/")


@pytest.mark.parametrize("host", ["evil.example/path?", "a b", "x" * 300])
def test_a_host_that_is_none_is_refused_and_no_company_is_made(api, sandbox, host, bystander):
    answer = api.anonymous.post("/v1/companies", REGISTRATION, headers={"Host": host}, status=400)
    assert answer.json["error_class"] == "InvalidRequest"
    assert sandbox.callbacks("a-processor-key") == []


@pytest.mark.parametrize("fault", [Unavailable("away"), Misconfigured("refused")])
def test_a_company_registers_while_the_processor_is_away_and_a_run_makes_up_for_it(
    api, bill, clock, fault, sandbox, bystander
):
    sandbox.fault = fault
    company = api.company(processor_key="later")
    assert sandbox.callbacks("later") == []
    sandbox.fault = None
    clock.move(hours=1)
    bill()
    [url] = sandbox.callbacks("later")
    assert company.guid in url


def test_the_password_of_a_key_does_not_matter(company):
    headers = {"Authorization": basic(company.api_key, "whatever")}
    assert company.get(f"/v1/companies/{company.guid}", headers=headers).json == company.record


def test_a_registration_is_stamped_with_its_time(api, clock, bystander):
    clock.move(days=1, microseconds=629_000)
    record = api.company().record
    assert record["created_at"] == record["updated_at"] == clock.now.isoformat() == "2026-01-16T12:00:00.629000+00:00"
    clock.now -= timedelta(microseconds=629_000)
    assert api.company().record["created_at"] == "2026-01-16T12:00:00+00:00", "no fraction where there is none"
