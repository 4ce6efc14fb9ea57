"""Plays steps of a story against real servers, and keeps what was wrong with the answers."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from billy.errors import ConfigurationError
from billy.guid import ALPHABET, DIGITS
from billy.scripts import reference
from billy.scripts.reference import Fields, page_of

try:
    from billy.client import Answer as ClientsAnswer
    from billy.client import ApiError, Client, ConnectionFailed, Listing, UnexpectedAnswer
except ImportError as error:
    raise ConfigurationError(f"the demo is played with Billy's client, which is not installed: {error}") from None

PATIENCE_SECONDS = 30
"""For what the scheduler does; a card that is declined twice is tried again twice in that time."""

_TOLD = ("status", "effective_amount", "invoice_count", "canceled", "deleted", "code", "server")

_TOLD_OF_RECORDS = ("status", "appears_on_statement_as", "meta")
"""Of a record in an envelope, which is how a processor may answer."""

_GUID = re.compile(rf"\b([A-Z]{{2}})[{ALPHABET}]{{{DIGITS}}}\b")

Answer = dict[str, Any]
Act = Callable[[], Any]
"""Calls a method of the client."""
Listed = Callable[[], Listing[Any]]
"""… that lists."""


@dataclass
class Step:
    """One request, and what was wrong with its answer."""

    what: str
    request: str
    outcome: str = ""
    mistakes: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether the answer was as it should be."""
        return not self.mistakes


class StoryEnded(Exception):
    """A step failed, and those that follow would stand on it."""


class Player:
    """Has a memory: each request is a step, and an answer that is not right ends the story."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @property
    def mistakes(self) -> list[str]:
        """Everything that was wrong, with the step that found it."""
        return [f"{step.what}: {mistake}" for step in self.steps for mistake in step.mistakes]

    def expect(self, condition: bool, otherwise: str) -> None:
        """Hold it against the latest step if something is not so."""
        if not condition:
            self.steps[-1].mistakes.append(otherwise)

    def _judge(
        self, status: int, answer: Answer, *, fields: Fields, answers: int, expected: Mapping[str, Any]
    ) -> Answer:
        step = self.steps[-1]
        step.outcome = _shortened(f"{status} {_summary(answer)}")
        if status == answers:
            step.mistakes += reference.mistakes(answer, fields)
            self._compare(answer, expected)
        else:
            self.expect(False, f"answered {status} instead of {answers}: {answer}")
        self._end_if_wrong()
        return answer

    def _compare(self, answer: Answer, expected: Mapping[str, Any]) -> None:
        for name, value in expected.items():
            self.expect(answer.get(name) == value, f"{name} is {answer.get(name)!r} instead of {value!r}")

    def _end_if_wrong(self) -> None:
        if self.steps[-1].mistakes:
            raise StoryEnded


class HttpPlayer(Player):
    """Whoever has to do with the payment processor: plain HTTP."""

    def __init__(self, url: str, steps: list[Step]) -> None:
        """Its steps are added to ``steps``: it is one story."""
        self.steps = steps
        self.api_key: str | None = None
        self._url = url

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        sent: Mapping[str, Any] | bytes | None = None,
        *,
        fields: Fields,
        answers: int = 200,
        **expected: Any,
    ) -> Answer:
        """One request. Its answer has all ``fields``, and ``expected`` ones with their values."""
        self.steps.append(Step(what, _shortened(f"{method} {path}")))
        status, answer = self.send(method, path, sent)
        return self._judge(status, answer, fields=fields, answers=answers, expected=expected)

    def send(self, method: str, path: str, sent: Mapping[str, Any] | bytes | None = None) -> tuple[int, Answer]:
        """One request that is no step."""
        headers = {"Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.api_key}:".encode()).decode()
        body: bytes | None = None
        if isinstance(sent, bytes):
            body, headers["Content-Type"] = sent, "application/json"
        elif sent is not None:
            body = urllib.parse.urlencode(sent).encode()
        # The operator gave the URL.
        request = urllib.request.Request(self._url + path, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:  # noqa: S310
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())


class BillyPlayer(Player):
    """The company's own program: it uses Billy's client, and has a look at the JSON behind each record.

    The client sends nothing again here: an answer that is only right the second time is a mistake.
    """

    def __init__(self, url: str, *, run_scheduler: Callable[[], None]) -> None:
        """``run_scheduler`` is called until it has done what a step waits for."""
        super().__init__()
        self._url = url
        self._run_scheduler = run_scheduler
        self._heard: list[ClientsAnswer] = []
        self.billy = self._client(None)

    def sign_in(self, api_key: str) -> None:
        """From here on, with this key."""
        self.billy.close()
        self.billy = self._client(api_key)

    def play(self, story: Callable[[], None]) -> None:
        """Play a story to its end, or until a step fails on which others depend."""
        try:
            story()
        except StoryEnded:
            pass
        except (OSError, ConnectionFailed) as error:
            self.expect(False, f"the server does not answer: {error}")
        finally:
            self.billy.close()

    def ask(self, what: str, act: Act, *, fields: Fields, answers: int = 200, **expected: Any) -> Answer:
        """One call of the client. Its answer has all ``fields``, and ``expected`` ones with their values."""
        step = Step(what, "")
        self.steps.append(step)
        heard, unreadable = self._hear(act)
        step.request = _shortened(f"{heard.method} {heard.path}")
        answer = self._judge(heard.status, heard.body or {}, fields=fields, answers=answers, expected=expected)
        self.expect(unreadable is None, f"the client cannot read it: {unreadable}")
        self._end_if_wrong()
        return answer

    def ask_for_list(self, what: str, listing: Listed, fields: Fields, *, count: int, **expected: Any) -> list[Answer]:
        """The first page of a list of ``count`` items, which all have the ``expected`` values; newest first."""
        page = self.ask(what, listing, fields=page_of(fields), offset=0, limit=20)
        items: list[Answer] = page["items"]
        self.expect(len(items) == count, f"{len(items)} items instead of {count}")
        for item in items:
            self._compare(item, expected)
        self._end_if_wrong()
        return items

    def make(self, what: str, noun: Any, fields: Fields, sent: Mapping[str, Any], **expected: Any) -> Answer:
        """Create a record that answers what was sent, and get it again."""
        made = self.ask(what, lambda: noun.create(**sent), fields=fields, **sent, **expected)
        return self.ask("is found again", lambda: noun.get(made["guid"]), fields=fields, **made)

    def wait_for(self, what: str, act: Act, fields: Fields, **expected: Any) -> Answer:
        """A record, once the scheduler has brought it to the ``expected`` values."""
        self._run_until(act, lambda answer: _matches(answer, expected))
        return self.ask(what, act, fields=fields, **expected)

    def wait_for_item(self, what: str, listing: Listed, fields: Fields, **expected: Any) -> Answer:
        """The only item of a list, once the scheduler has brought it to the ``expected`` values."""
        self._run_until(listing, lambda page: any(_matches(item, expected) for item in page.get("items", ())))
        return self.ask_for_list(what, listing, fields, count=1, **expected)[0]

    def _client(self, api_key: str | None) -> Client:
        return Client(self._url, api_key, timeout=PATIENCE_SECONDS, retries=0, watch=self._heard.append)

    def _hear(self, act: Act) -> tuple[ClientsAnswer, UnexpectedAnswer | None]:
        """What the server answered, and what the client could not make of it."""
        unreadable = None
        try:
            found = act()
            if isinstance(found, Listing):
                next(found.pages())
        except ApiError:
            pass  # its answer is judged like every other
        except UnexpectedAnswer as error:
            unreadable = error
        return self._heard[-1], unreadable

    def _run_until(self, act: Act, done: Callable[[Answer], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not done(self._hear(act)[0].body or {}) and time.monotonic() < give_up:
            self._run_scheduler()


def _matches(answer: Answer, values: Mapping[str, Any]) -> bool:
    return all(answer.get(name) == value for name, value in values.items())


def _json(body: bytes) -> Answer:
    try:
        answer = json.loads(body)
    except ValueError:
        return {"not JSON": body[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"not an object": answer}


def _summary(answer: Answer) -> str:
    if "items" in answer and "limit" in answer:
        statuses = [item.get("status") or item.get("submit_status") for item in answer["items"]]
        counts = Counter(status for status in statuses if status)
        records = f"{len(statuses)} record{'' if len(statuses) == 1 else 's'}"
        return ": ".join([records, *([", ".join(f"{n} {status}" for status, n in counts.items())] if counts else [])])
    if "error_message" in answer:
        texts = [f"{name}: {text}" for name, texts in answer.get("errors", {}).items() for text in texts]
        return "; ".join(texts) or str(answer["error_message"])
    envelopes = [value for value in answer.values() if isinstance(value, list) and "links" in answer]
    if len(envelopes) == 1 and len(envelopes[0]) == 1:
        return _told(envelopes[0][0], _TOLD_OF_RECORDS)
    return _told(answer, _TOLD)


def _told(answer: Answer, names: tuple[str, ...]) -> str:
    told = {name: answer[name] for name in names if answer.get(name) not in (None, False, {})}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in told.items())


def _shortened(text: str) -> str:
    # A guid fills a terminal's line and tells nobody anything.
    return _GUID.sub(r"\1…", text)
