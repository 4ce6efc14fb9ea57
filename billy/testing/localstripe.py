"""What stands between Billy and localstripe, a server of Stripe's shape that somebody else wrote.

localstripe 1.15 refuses a few parameters that Stripe takes and Billy rightly sends. The front leaves out those of the
table ``LEFT_OUT`` and no others, and hands on all else as it is, both ways. It answers nothing itself: if localstripe
is away, so is the front.

localstripe is under the GPL, and only ever run as a program of its own: ``billy demo --processor localstripe``.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote_plus

from billy.testing.chaos import Fault
from billy.testing.http_app import Answer, AnswerLost, HttpApp, Request
from billy.testing.listening import Listening

LEFT_OUT: Mapping[tuple[str, str], frozenset[str]] = {
    ("POST", "/v1/payment_intents"): frozenset(
        {
            "automatic_payment_methods[allow_redirects]",
            "automatic_payment_methods[enabled]",
            "description",
            "statement_descriptor_suffix",
        }
    )
}
"""By method and path, the parameters that localstripe refuses as unexpected: the table of ``docs/processors.md``."""

_PATIENCE_SECONDS = 30

_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
"""Headers of one connection: the next has its own."""


class LocalstripeFront(Listening):
    """``with LocalstripeFront.started(behind=url) as front``: Billy talks to ``front.url``."""

    def __init__(self, *, behind: str, host: str = "127.0.0.1", port: int = 0) -> None:
        """localstripe is at ``behind``; port 0 is a free one. OSError if the port is taken."""
        super().__init__()
        self.left_out: set[str] = set()
        """The parameters that were left out so far."""
        self.listen(_Front(self, behind), host, port)


class _Front(HttpApp):
    def __init__(self, front: LocalstripeFront, behind: str) -> None:
        super().__init__(front)
        self._left_out = front.left_out
        self._behind = behind.removeprefix("http://")

    def act(self, request: Request) -> tuple[Answer | None, Fault | None]:
        """Hand on the request, and the answer; None if there is none."""
        unknown = LEFT_OUT.get((request.method, request.path), frozenset())
        body = self._without(unknown, request.body) if unknown else request.body
        # urllib3 would write the target and some headers as it likes them.
        connection = HTTPConnection(self._behind, timeout=_PATIENCE_SECONDS)
        try:
            connection.putrequest(request.method, request.target, skip_accept_encoding=True)
            for name, value in _handed_on(request.headers).items():
                connection.putheader(name, value)
            if "content-length" in request.headers:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            told = _handed_on(answer.headers)
            return Answer(answer.status, answer.read(), told.pop("content-type", ""), told), None
        except (OSError, HTTPException):
            return None, None
        finally:
            connection.close()

    def administer(self, request: Request) -> Answer:
        """There is nothing to administer here: localstripe is asked like for all else."""
        answer, _ = self.act(request)
        if answer is None:
            raise AnswerLost
        return answer

    def failure(self, status: int) -> Answer:
        """To what is no HTTP, which cannot be handed on."""
        return Answer.of(status, {"error": {"type": "invalid_request_error", "message": "This is no HTTP."}})

    def _without(self, unknown: frozenset[str], body: bytes) -> bytes:
        kept = []
        for pair in body.split(b"&"):
            name = unquote_plus(pair.partition(b"=")[0].decode())
            if name in unknown:
                self._left_out.add(name)
            else:
                kept.append(pair)
        return b"&".join(kept)


def _handed_on(headers: Mapping[str, str] | Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in _HOP}


def markdown() -> str:
    """The table, for the documentation."""
    rows = (
        f"| `{method} {path}` | {', '.join(f'`{name}`' for name in sorted(names))} |"
        for (method, path), names in LEFT_OUT.items()
    )
    return "\n".join(["| request | parameters that are left out |", "|---|---|", *rows])


if __name__ == "__main__":
    print(markdown())
