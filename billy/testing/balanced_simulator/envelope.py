"""The shape that one resource, a collection and an event's entity share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from billy.testing.balanced_simulator.resources import RESOURCES
from billy.testing.balanced_simulator.store import Record


def envelope(type: str, records: Sequence[Record], meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``{"debits": […], "links": {"debits.source": …}}``, with ``meta`` for a collection.

    The names before the dots must be keys of the same envelope, or the service's own client gives up; so an
    empty page has no links.
    """
    resource = RESOURCES[type]
    templates = resource.templates_of(records) if records else {}
    shown: dict[str, Any] = {
        type: [resource.shown(record) for record in records],
        "links": {f"{type}.{name}": template for name, template in templates.items()},
    }
    return shown if meta is None else {**shown, "meta": dict(meta)}
