"""localstripe, somebody else's server of Stripe's shape, as a process of its own, and the front before it."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from billy.scripts.processes import Processes, start_localstripe
from billy.testing.localstripe import LocalstripeFront

IS_INSTALLED = importlib.util.find_spec("localstripe") is not None


@contextmanager
def running() -> Iterator[tuple[str, LocalstripeFront]]:
    """Its URL, and the front; the test is skipped where it is not installed."""
    if not IS_INSTALLED:
        pytest.skip("localstripe is not installed: pip install 'billy[test]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with Processes() as processes:
        start_localstripe(processes, url)
        with LocalstripeFront.started(behind=url) as front:
            yield url, front


def ask(url: str, method: str, path: str, key: str, **values: Any) -> dict[str, Any]:
    """What a company's own program asks."""
    headers = {**urllib3.make_headers(basic_auth=f"{key}:"), "Content-Type": "application/x-www-form-urlencoded"}
    answer = urllib3.request(method, url + path, body=urlencode(values) or None, headers=headers)
    assert answer.status == 200, answer.data
    told: dict[str, Any] = answer.json()
    return told
