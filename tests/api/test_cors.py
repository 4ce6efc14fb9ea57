"""Browsers: which origins may call, and what they are told before they do."""

from __future__ import annotations

import pytest

ORIGINS = "https://shop.example http://localhost:8000"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


def cors_headers(answer):
    return {name for name in answer.headers if name.lower().startswith("access-control-")}


@pytest.mark.ini({"api.allowed_origins": ORIGINS})
def test_an_allowed_origin_may_read_answers_and_errors(api, company):
    for origin in ORIGINS.split():
        for client, status in ((company, 200), (api.anonymous, 401)):
            answer = client.get("/v1/plans", headers={"Origin": origin}, status=status)
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.ini({"api.allowed_origins": ORIGINS})
def test_a_preflight_is_answered_without_a_key(api, bystander):
    for path in ("/v1/plans", "/v1/invoices/IV1/refund", "/v1/companies"):
        headers = {"Origin": "https://shop.example", **PREFLIGHT}
        answer = api.anonymous.request("OPTIONS", path, headers=headers, status=204)
        assert answer.body == b""
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert {"GET", "POST", "PUT", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
        allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")}
        assert {"authorization", "content-type"} <= allowed
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.ini({"api.allowed_origins": ORIGINS})
def test_any_other_origin_may_not(company, api):
    others = [
        "https://evil.example",
        "https://shop.example.evil.example",
        "https://shop.example:8443",
        "http://shop.example",
        "https://SHOP.example",
        "http://localhost",
        "http://localhost:80000",
        "null",
        "",
        "https://shop.example http://localhost:8000",
    ]
    for origin in others:
        answer = company.get("/v1/plans", headers={"Origin": origin})
        assert cors_headers(answer) == set()
        preflight = api.anonymous.request("OPTIONS", "/v1/plans", headers={"Origin": origin, **PREFLIGHT}, status=405)
        assert cors_headers(preflight) == set()


@pytest.mark.ini({"api.allowed_origins": ORIGINS})
def test_caches_are_told_that_answers_differ_by_origin(company):
    for headers in ({"Origin": "https://shop.example"}, {"Origin": "https://evil.example"}, {}):
        assert "Origin" in company.get("/v1/plans", headers=headers).headers["Vary"]


@pytest.mark.ini({"api.allowed_origins": ORIGINS})
def test_options_without_a_preflight_is_a_method_like_any_other(api):
    answer = api.anonymous.request("OPTIONS", "/v1/plans", headers={"Origin": "https://shop.example"}, status=405)
    assert answer.headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "setting",
    [
        "none",
        pytest.param("empty", marks=pytest.mark.ini({"api.allowed_origins": ""})),
        pytest.param("blank lines", marks=pytest.mark.ini({"api.allowed_origins": "\n  \n"})),
    ],
)
def test_by_default_no_origin_is_allowed(api, setting):
    for origin in ("https://shop.example", "null", ""):
        assert cors_headers(api.anonymous.get("/", headers={"Origin": origin})) == set()
