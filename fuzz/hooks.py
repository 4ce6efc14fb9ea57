"""What schemathesis does not find by chance: guids of records that exist, and instruments that the sandbox knows.

Most requests get some of both, so that they reach the rules behind the parameters; the others stay as they are.
"""

from __future__ import annotations

import random
import re
import threading
from collections import defaultdict, deque
from typing import Any

import schemathesis

from billy.guid import PATTERN

PREFIXES = {
    "companies": "CP",
    "customers": "CU",
    "plans": "PL",
    "subscriptions": "SU",
    "invoices": "IV",
    "transactions": "TX",
}
REFERENCES = {f"{noun.removesuffix('s')}_guid": prefix for noun, prefix in PREFIXES.items()}
KEY = "Idempotency-Key"
INSTRUMENTS = ("/cards/ok", "/cards/declined", "/cards/stolen", "/cards/pending", "/bank_accounts/ok")

_GUID = re.compile(rf"\b{PATTERN}\b")
_lock = threading.Lock()
_known: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=50))
_random = random.Random(1)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember what there is."""
    with _lock:
        for guid in _GUID.findall(response.text):
            _known[guid[:2]].append(guid)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name what there is."""
    with _lock:
        if KEY in (case.headers or {}) and _random.random() < 0.7:
            # Chance gives most requests a short one that another had: they would all be refused.
            case.headers[KEY] = f"key-{_random.random()}"
        if "guid" in (case.path_parameters or {}):
            _name(case.path_parameters, "guid", PREFIXES.get(case.path.split("/")[2], ""))
        for parameters in (case.body, case.query):
            if isinstance(parameters, dict):
                for name in parameters.keys() & REFERENCES.keys():
                    _name(parameters, name, REFERENCES[name])
                if "after" in parameters:
                    _name(parameters, "after", PREFIXES.get(case.path.rpartition("/")[2], ""))
                if "funding_instrument_uri" in parameters and _random.random() < 0.8:
                    parameters["funding_instrument_uri"] = _random.choice(INSTRUMENTS)


def _name(parameters: dict[str, Any], name: str, prefix: str) -> None:
    if _known[prefix] and _random.random() < 0.8:
        parameters[name] = _random.choice(_known[prefix])
