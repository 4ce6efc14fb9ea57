"""localstripe, somebody else's server of Stripe's shape, as a process of its own; and what it does not know."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import urllib3

from billy.processors.http import Answer, Deadline, HttpClient
from billy.processors.stripe import Stripe, StripeOptions

PATIENCE_SECONDS = 20

UNKNOWN = (
    "automatic_payment_methods[enabled]",
    "automatic_payment_methods[allow_redirects]",
    "description",
    "statement_descriptor_suffix",
)
"""Parameters of a payment that Stripe takes, and localstripe (1.15) refuses as unexpected."""


class Forgetful(HttpClient):
    """Leaves out what localstripe does not know, and keeps what was left out."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url, connect_timeout=3, read_timeout=5, pool_size=4)
        self.left_out: set[str] = set()

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> Answer:
        if method == "POST" and target == "/v1/payment_intents" and body is not None:
            pairs = parse_qsl(body.decode())
            self.left_out |= {name for name, _ in pairs if name in UNKNOWN}
            body = urlencode([(name, value) for name, value in pairs if name not in UNKNOWN]).encode()
        return super().request(method, target, headers=headers, body=body, deadline=deadline)


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Its URL; the test is skipped where it is not installed."""
    program = shutil.which("localstripe", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("localstripe is not installed: pip install 'billy[test]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (directory / "localstripe.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--port", str(port), "--from-scratch"], cwd=directory, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url)
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _wait_for(url: str) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib3.request("GET", url, retries=False, timeout=1)
            return
        except urllib3.exceptions.HTTPError:
            assert time.monotonic() < give_up, "localstripe does not answer"
            time.sleep(0.05)


def forgetful_stripe(url: str) -> tuple[Stripe, Forgetful]:
    """The adapter's factory, over such connections."""
    stripe = Stripe(StripeOptions(base_url=url), call_deadline=5)
    stripe.http.close()
    stripe.http = stripe.transport._http = Forgetful(url)
    return stripe, stripe.http


def ask(url: str, method: str, path: str, key: str, **values: Any) -> dict[str, Any]:
    """What a company's own program asks."""
    headers = {**urllib3.make_headers(basic_auth=f"{key}:"), "Content-Type": "application/x-www-form-urlencoded"}
    answer = urllib3.request(method, url + path, body=urlencode(values) or None, headers=headers)
    assert answer.status == 200, answer.data
    told: dict[str, Any] = answer.json()
    return told
