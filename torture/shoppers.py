"""Programs of companies: they call the API for a while, from several threads, and ask again where they must."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from torture.acts import client, insist
from torture.world import World

THREADS = 3


def order(world: World, seconds: float, seed: float) -> None:
    """Orders, each sent again under its ``external_id`` until it is accepted; 503 is the only excuse."""
    api, facts = client(world), world.facts

    any_status: dict[str, Any] = {"status": "*"}

    def one(number: str) -> None:
        params = {
            "customer_guid": facts["customer"],
            "amount": 1000,
            "external_id": number,
            "funding_instrument_uri": facts.get("card", "/cards/ok"),
        }
        # 409: it was accepted, and only the answer did not come through.
        insist(partial(api.post, "/v1/invoices", params, **any_status), (200, 409))

    def shop(thread: int) -> None:
        rng = random.Random(f"{seed}/{thread}")  # noqa: S311  # repeatable is the point
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end and not _enough(world).exists():
            number += 1
            one(f"{thread}-{number}")
            time.sleep(rng.uniform(0, 0.3))

    in_threads(shop)


def enough(world: World) -> None:
    """No more orders."""
    _enough(world).touch()


def _enough(world: World) -> Path:
    return world.path / "enough"


def in_threads(shop: Callable[[int], None]) -> None:
    """Do it in several threads; the first error of any is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(shop, number) for number in range(THREADS)]:
            done.result()
