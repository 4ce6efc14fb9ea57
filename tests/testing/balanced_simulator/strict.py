"""What the vendor's own client demands of every answer, or else gives up or silently loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES = {
    *("accounts", "api_keys", "bank_account_verifications", "bank_accounts", "callbacks", "card_holds", "cards"),
    *("credits", "customers", "debits", "disputes", "event_callbacks", "event_callback_logs", "events"),
    *("external_accounts", "marketplaces", "orders", "refunds", "reversals", "settlements", "transactions"),
}
BESIDE = {"links", "meta", "errors"}
ERROR_KEYS = {"status", "status_code", "category_type", "category_code", "description", "request_id"}
TERSE = (401, 405)
ID = re.compile(r"(TEST-MP|[A-Z]{2})[0-9A-Za-z]{16,32}\Z")
HREF = re.compile(r"(/[a-z_]+/[0-9A-Za-z-]+)+\Z")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
REQUEST_ID = re.compile(r"OHM[0-9a-f]{32}\Z")


def breaches(status: int, headers: Mapping[str, str], body: bytes, json: Any) -> list[str]:
    """What the client would not bear."""
    if status == 204:
        return ["204 with a Content-Type"] * ("Content-Type" in headers) + ["204 with a body"] * bool(body)
    found = []
    if headers.get("Content-Type") != "application/json":
        found.append(f"Content-Type is {headers.get('Content-Type')!r}")
    if status >= 400:
        found += _error_breaches(status, json)
    if status < 400 or "links" in json:
        found += _envelope_breaches(json)
    return found


def _error_breaches(status: int, json: dict[str, Any]) -> Iterator[str]:
    if not isinstance(json.get("errors"), list) or len(json["errors"]) != 1:
        yield "errors is no list of one"
        return
    [error] = json["errors"]
    expected = ERROR_KEYS if status in TERSE else ERROR_KEYS | {"additional", "extras"}
    if error.keys() != expected:
        yield f"the keys of an error are {sorted(error)}"
    if error.get("status_code") != status:
        yield f"{error.get('status_code')} in a {status}"
    if not REQUEST_ID.match(error.get("request_id", "")):
        yield "no request id"
    if not error.get("description", "").endswith(f" Your request id is {error.get('request_id')}."):
        yield "the description does not end with the request id"


def _envelope_breaches(json: dict[str, Any]) -> Iterator[str]:
    links = json.get("links")
    if not isinstance(links, dict):
        yield "an envelope without links"
        links = {}
    types = json.keys() - BESIDE
    for name in types:
        if name not in TYPES:
            yield f"{name} is no known type"
        for item in json[name]:
            yield from _item_breaches(name, item, links)
    for name in links:
        if name.count(".") != 1 or name.partition(".")[0] not in types:
            yield f"the link {name} leads nowhere"
    if "meta" in json:
        meta = json["meta"]
        if not isinstance(meta.get("total"), int):
            yield "a page without a total"
        if meta.get("next", "") is not None and not str(meta.get("next", "")).startswith("/"):
            yield f"next is {meta.get('next')!r}"
        if not any(json[name] for name in types) and links:
            yield "an empty page with links"


def _item_breaches(type: str, item: dict[str, Any], links: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(item.get("links"), dict):
        yield f"one of {type} without links"
        return
    if not (ID.match(item["id"]) and HREF.match(item["href"])):
        yield f"{item['id']} at {item['href']}"
    for name, value in item["links"].items():
        if value is not None and not ID.match(value):
            yield f"the item's link {name} is {value!r}"
    for name, value in item.items():
        if name.endswith("_at") and value is not None and not INSTANT.match(value):
            yield f"{name} is {value!r}"
    for name, template in links.items():
        for owner, field in re.findall(r"{(\w+)\.(\w+)}", template):
            if owner == type and field != "self" and field not in item["links"] and field not in item:
                yield f"{name} needs {field}, which {item['id']} has not"
    if "entity" in item:
        yield from _envelope_breaches(item["entity"])
