"""Balanced's protocol, revision 1.1: requests within one deadline, envelopes, errors and URIs.

What it means for Billy is told in ``billy.processors.balanced``. Nothing that an answer or a stored URI says is
ever followed: a path is put together from the kind and the id found in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from billy.errors import InvalidURIFormat, Misconfigured, Refused, Unavailable
from billy.processors.answers import Lost, json_of, retry_after, text_of
from billy.processors.balanced_codes import REFUSALS
from billy.processors.http import AnswerLost, Deadline, HttpClient, NotSent

META_LENGTH = 255

PAGE = 25
"""Records asked for at a time; the largest that Balanced allows is not known."""

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """The requests of one call of the protocol, which share its deadline."""

    http: HttpClient
    headers: Mapping[str, str]
    deadline: Deadline

    def get(self, path: str) -> Resource | None:
        """A resource by its path, or None if the service knows none of that id."""
        try:
            return only(self._ask("GET", path), path.split("/")[1])
        except Refused as refused:
            if refused.number == 404:
                return None
            raise

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Change a resource."""
        self._ask("PUT", path, body)

    def post(self, path: str, body: Mapping[str, Any]) -> Resource:
        """Make a resource in a collection."""
        return only(self._ask("POST", path, body), path.rpartition("/")[2])

    def find(self, kind: str, meta: Mapping[str, str], query: Mapping[str, str] | None = None) -> list[Resource]:
        """All resources with such ``meta``, oldest first."""
        wanted = meta_values(meta)
        filters = {f"meta.{name}": value for name, value in wanted.items()} | dict(query or {})
        found: list[Resource] = []
        offset, is_last = 0, False
        while not is_last:
            page = self._ask("GET", f"/{kind}?{urlencode({**filters, 'limit': PAGE, 'offset': offset})}")
            items = _items(page, kind)
            # What becomes of a filter that the service does not know is not documented: it may be ignored.
            found += [each for each in items if wanted.items() <= meta_of(each).items()]
            offset += len(items)
            shown = page.get("meta")
            is_last = not items or not isinstance(shown, dict) or not shown.get("next")
        return sorted(found, key=age)

    def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else orjson.dumps(body)
        headers = {**self.headers, **({} if content is None else {"Content-Type": "application/json"})}
        try:
            answer = self.http.request(method, target, headers=headers, body=content, deadline=self.deadline)
        except NotSent as error:
            raise Unavailable(f"Balanced cannot be reached: {error}") from error
        except AnswerLost as error:
            raise Lost(f"Balanced's answer was lost: {error}") from error
        status = answer.status
        if status in (401, 403):
            raise Misconfigured(f"Balanced answers {status} to the company's key")
        if status == 429:
            raise Unavailable("Balanced asks to slow down", retry_after=retry_after(answer.headers))
        told = json_of(answer.body)
        if status in (200, 201) and told is not None:
            return told
        if status in (400, 402, 404, 409) and (refused := _refusal(told, status)) is not None:
            raise refused
        raise Lost(f"Balanced answers {status}", retry_after=retry_after(answer.headers))


# --- URIs ---

_PREFIXES = {
    "customers": ("CU", "AC"),
    "cards": ("CC",),
    "bank_accounts": ("BA",),
    "debits": ("WD",),
    "credits": ("CR",),
    "refunds": ("RF",),
}
# Revision 1.0 put a marketplace before it, and a customer, who was an account then. Both revisions answer to 1.1.
URI = re.compile(
    r"(/v1)?(/marketplaces/(TEST-)?MP[0-9A-Za-z]{1,32})?(/(customers|accounts)/(CU|AC)[0-9A-Za-z]{1,32})?"
    r"/(?P<kind>[a-z_]{1,32})/(?P<id>[A-Z]{2}[0-9A-Za-z]{16,32})\Z"
)
_BARE_ID = re.compile(r"[A-Z]{2}[0-9A-Za-z]{16,32}\Z")


def to_path(uri: str, *kinds: str) -> str:
    """The path of revision 1.1 for a URI in either spelling; InvalidURIFormat unless it is of one of the kinds."""
    match = URI.match(uri)
    if match is not None:
        kind = "customers" if match["kind"] == "accounts" else match["kind"]
        if kind in kinds and match["id"].startswith(_PREFIXES[kind]):
            return f"/{kind}/{match['id']}"
    if _BARE_ID.match(uri):
        raise InvalidURIFormat(f"{uri} is an id; Billy takes the whole URI, as Balanced tells it: /{kinds[0]}/{uri}")
    examples = " or ".join(f"/{kind}/{_PREFIXES[kind][0]}…" for kind in kinds)
    raise InvalidURIFormat(f"{uri!r} is not a URI of Balanced such as {examples}")


# --- envelopes ---


def meta_values(values: Mapping[str, str]) -> dict[str, str]:
    """``meta`` as it may be sent: values have a limit."""
    return {name: value[:META_LENGTH] for name, value in values.items()}


def _refusal(told: Mapping[str, Any] | None, status: int) -> Refused | None:
    errors = (told or {}).get("errors")
    error = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(error, dict) or not (code := text_of(error.get("category_code"), 64)):
        return None  # not the service's own words: a proxy's perhaps
    message = text_of(error.get("description"), 500) or code
    return Refused(message, code=code, number=status, hard=REFUSALS.is_hard(code))


def _items(envelope: Mapping[str, Any], kind: str) -> list[Resource]:
    items = envelope.get(kind, [])  # until 2014 an empty page did not name its kind
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise Lost(f"Balanced's answer holds no list of {kind}")
    return items


def only(envelope: Mapping[str, Any], kind: str) -> Resource:
    """The one resource of an envelope."""
    items = _items(envelope, kind)
    if len(items) != 1:
        raise Lost(f"Balanced's answer holds {len(items)} {kind} instead of one")
    return items[0]


def path_of(resource: Resource, kind: str) -> str:
    """Where the service says that its record is."""
    try:
        return to_path(str(resource.get("href")), kind)
    except InvalidURIFormat as error:
        raise Lost("Balanced's answer does not say where its record is") from error


def age(resource: Resource) -> tuple[str, str]:
    """Sorts the oldest first."""
    return str(resource.get("created_at")), str(resource.get("id"))


def links_of(resource: Resource) -> Mapping[str, Any]:
    """What a resource is linked to: ids, or None."""
    links = resource.get("links")
    return links if isinstance(links, dict) else {}


def meta_of(resource: Resource) -> dict[str, str]:
    """What whoever made a resource wrote on it."""
    meta = resource.get("meta")
    return {name: value for name, value in meta.items() if isinstance(value, str)} if isinstance(meta, dict) else {}
