"""Who may register a company: everyone, who has the server's token, or nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from billy.models import Company
from tests.support.client import basic

REGISTRATION = {"processor_key": "a-processor-key"}
TOKEN = "a-token.of_this~server/made+by-somebody="
WITH_TOKEN = {"billy.registration": "token", "billy.registration_token": TOKEN}


@pytest.fixture
def companies(sessions):
    """How many there are."""

    def count() -> int:
        with sessions() as session:
            return session.scalar(select(func.count()).select_from(Company))

    return count


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_by_default_everyone_may_whatever_they_present(api, bystander):
    api.anonymous.post("/v1/companies", REGISTRATION)
    for header in (basic("wrong"), "Bearer wrong", "nonsense"):
        api.anonymous.post("/v1/companies", REGISTRATION, headers={"Authorization": header})


@pytest.mark.ini({"billy.registration": "closed"})
def test_where_it_is_closed_nobody_may_and_is_told_who_can(api, bystander, companies):
    for headers in ({}, bearer(TOKEN), {"Authorization": basic(bystander.api_key)}):
        for sent in (REGISTRATION, {}):
            answer = api.anonymous.post("/v1/companies", sent, headers=headers, status=403).json
            assert answer["error_class"] == "RegistrationClosed"
            assert "billy create-company" in answer["error_message"]
    assert companies() == 1
    api.client(bystander.api_key).get("/v1/plans")


@pytest.mark.ini(WITH_TOKEN)
def test_where_it_takes_a_token_who_has_it_registers(api, bystander, companies):
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = api.anonymous.post("/v1/companies", REGISTRATION, headers={"Authorization": f"{scheme} {TOKEN}"})
        assert TOKEN not in answer.text
        api.client(answer.json["api_key"]).get("/v1/plans")
    assert companies() == 4


@pytest.mark.ini(WITH_TOKEN)
def test_nobody_else_does(api, bystander, companies):
    for header in (
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}=",
        f"Bearer {TOKEN.swapcase()}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Token {TOKEN}",
        TOKEN,
        "Bearer ключ".encode().decode("latin-1"),
        basic(TOKEN),
        basic(bystander.api_key),
        f"Bearer {bystander.api_key}",
    ):
        for sent in (REGISTRATION, {}):
            answer = api.anonymous.post("/v1/companies", sent, headers={"Authorization": header}, status=401)
            assert answer.json["error_class"] == "RegistrationTokenRequired"
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Billy"'
    api.anonymous.post("/v1/companies", {**REGISTRATION, "registration_token": TOKEN}, status=401)
    assert companies() == 1


@pytest.mark.ini(WITH_TOKEN)
def test_the_token_opens_nothing_else(api, bystander):
    for headers in (bearer(TOKEN), {"Authorization": basic(TOKEN)}):
        api.anonymous.get("/v1/plans", headers=headers, status=401)
        api.anonymous.get(f"/v1/companies/{bystander.company.guid}", headers=headers, status=401)


@pytest.mark.ini({**WITH_TOKEN, "billy.limit.failures_per_address": "3/1m", "billy.limit.registrations": "2/1h"})
def test_wrong_tokens_are_limited_and_the_right_one_is_by_the_number_of_companies_only(api, bystander, companies):
    for number in range(3):
        api.anonymous.post("/v1/companies", REGISTRATION, headers=bearer(f"guess-{number}"), status=401)
    api.anonymous.post("/v1/companies", REGISTRATION, headers=bearer("guess-4"), status=429)
    for _ in range(2):
        api.anonymous.post("/v1/companies", REGISTRATION, headers=bearer(TOKEN))
    api.anonymous.post("/v1/companies", REGISTRATION, headers=bearer(TOKEN), status=429)
    assert companies() == 3
