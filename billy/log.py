"""Logs: one line an event, as text for people or JSON for machines, on stderr.

Events are fixed ``noun_verbed`` names with ids as fields. Secrets are blanked by the name of their
field, as a second fence: the first is that nobody passes them here.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from billy.settings import Settings

REDACTED = "[redacted]"

_SECRET = re.compile(r"(?:api|processor|callback)_?key|secret|password|authorization|token", re.IGNORECASE)


def set_up_logging(settings: Settings) -> None:
    """Send everything that is logged, by Billy or by a library, to stderr. Harmless when called again."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings.log_format)],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        # Ours of an earlier call, and the plain ones that an ini's [loggers] makes: they would repeat each line.
        if type(old) in (_Stderr, logging.StreamHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    # It tells about its own set-up whenever somebody asks which schema the database has.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Blank what stands under a name that tells a secret, at any depth."""
    _redact(event)
    return event


def _redact(fields: MutableMapping[str, Any]) -> None:
    for name, value in fields.items():
        if _SECRET.search(name):
            fields[name] = REDACTED
        elif isinstance(value, MutableMapping):
            fields[name] = copy = dict(value)
            _redact(copy)


def _rendering(log_format: str) -> list[Processor]:
    # Tracebacks are plain: the pretty ones print local variables, and with them keys.
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True, default=str)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]


class _Stderr(logging.StreamHandler[TextIO]):
    # Looks sys.stderr up at each line: a test's or a daemon's may have been replaced since.

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # a plain attribute there
        return sys.stderr
