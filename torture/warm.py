"""Imported only by the process that all others are forked from: what takes long at first is done here, once.

Nothing stays behind that processes must not share: no connection, no thread.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import billy.scripts.process_transactions  # noqa: F401
from torture.acts import client
from torture.scenes import empty
from torture.world import World

with tempfile.TemporaryDirectory() as directory:
    world = World.make(Path(directory), f"sqlite:///{directory}/billy.sqlite", {})
    empty(world)
    api = client(world, api_key="nobody's")
    api.get("/v1/plans", status=401)
    api.app.app.registry["billy.engine"].dispose()
