"""What every answer tells browsers and caches."""

from __future__ import annotations

import pytest

from tests.api.steps import new_plan

ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def each_once(answer) -> dict[str, str]:
    names = [name.lower() for name in answer.headers if name.lower() != "set-cookie"]
    assert len(names) == len(set(names)), f"twice: {sorted(names)}"
    return {name: answer.headers[name] for name in ALWAYS}


@pytest.mark.ini({"api.allowed_origins": "https://shop.example"})
def test_answers_and_errors_are_for_no_cache_no_frame_and_no_guess_of_their_type(api, company, monkeypatch):
    plan = new_plan(company)["guid"]
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answers = [
        company.get(f"/v1/plans/{plan}"),
        company.get(f"/v1/plans/{plan}", headers={"Origin": "https://shop.example"}),
        company.request("HEAD", "/v1/plans"),
        company.post("/v1/customers"),
        company.post("/v1/plans", status=400),
        company.post("/v1/plans", body=b"x" * 2_000_000, headers={"Content-Type": "application/json"}, status=413),
        company.post("/v1/plans", body=b"x", headers={"Content-Type": "image/png"}, status=415),
        company.get("/v1/nothing", status=404),
        company.get("/%ff", status=404),
        company.request("PATCH", "/v1/plans", status=405),
        api.anonymous.get("/v1/plans", status=401),
        api.anonymous.get("/"),
        api.anonymous.get("/health"),
        api.anonymous.request("OPTIONS", "/v1/plans", headers=preflight, status=204),
    ]
    monkeypatch.setattr("billy.models.company.hash_key", None)
    answers.append(company.get("/v1/plans", status=500))
    for answer in answers:
        assert each_once(answer) == ALWAYS
        assert answer.headers["X-Request-Id"]


def test_the_page_and_the_document_keep_a_policy_of_their_own_and_are_asked_for_again(api, bystander):
    for path in ("/docs", "/docs/explorer.js", "/v1/openapi.json"):
        answer = api.anonymous.get(path)
        told = each_once(answer)
        assert told["Cache-Control"] == "no-cache"
        assert told["X-Content-Type-Options"] == "nosniff"
        assert told["Referrer-Policy"] == "no-referrer"
        again = api.anonymous.get(path, headers={"If-None-Match": answer.headers["ETag"]}, status=304)
        each_once(again)
    assert "script-src 'self'" in api.anonymous.get("/docs").headers["Content-Security-Policy"]


def test_no_answer_promises_https_for_a_name_that_is_not_ours(company):
    answer = company.get("/v1/plans", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers
