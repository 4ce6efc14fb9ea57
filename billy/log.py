"""Logs: one line an event, as text for people or JSON for machines, on stderr.

Events are fixed ``noun_verbed`` names with ids as fields; ``docs/observability.md`` lists them. Nobody passes a
secret here. That is the first fence; the others are for those who do not know of it:

* what stands under a name that tells a secret is blanked;
* the secret in a callback's address, and HTTP's credentials, are blanked in what libraries log, and in every
  traceback: a web server tells the path that it failed to serve, and the header that it failed to read;
* a traceback has neither the values of variables nor the rows and values that PostgreSQL quotes in its errors.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from billy.settings import Settings

REDACTED = "[redacted]"

_TOLD_BY_SERVERS = re.compile(r"(/callbacks/|\b(?:basic|bearer)\s+)[^\s?\"']+", re.IGNORECASE)

# From such a line on the rest of PostgreSQL's message, up to what SQLAlchemy adds, or to the next error of a chain.
_QUOTED_BY_POSTGRESQL = re.compile(
    r"^(?:DETAIL|CONTEXT|QUERY|LINE \d+): .*?"
    r"(?=^\[SQL|^\(Background|^The above exception|^During handling|^Traceback|\Z)",
    re.DOTALL | re.MULTILINE,
)

_SECRET = re.compile(r"(?:api|processor|callback)_?key|secret|password|authorization|token", re.IGNORECASE)


def set_up_logging(settings: Settings) -> None:
    """Send everything that is logged, by Billy or by a library, to stderr. Harmless when called again."""
    merge = structlog.contextvars.merge_contextvars
    add_time = structlog.processors.TimeStamper(fmt="iso", utc=True)
    last: list[Processor] = [add_time, redact, *_rendering(settings.log_format)]
    structlog.configure(
        processors=[merge, structlog.processors.add_log_level, _add_logger_name, *last],
        # Straight to stderr: the way through the standard library's handlers takes three times as long, and
        # every request logs a line.
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                merge,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                _blank_event,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        # Ours of an earlier call, and the plain ones that an ini's [loggers] makes: they would repeat each line.
        if type(old) in (_Handler, logging.StreamHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    # It tells about its own set-up whenever somebody asks which schema the database has.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # At DEBUG it tells every row that it reads.
    logging.getLogger("sqlalchemy").setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _add_logger_name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event


def _blank_event(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["event"] = _blank(str(event["event"]))
    return event


def _blank(text: str) -> str:
    return _TOLD_BY_SERVERS.sub(rf"\1{REDACTED}", text)


def format_traceback(exc_info: ExcInfo) -> str:
    """An exception with its causes, and where they were raised, but with nothing of what was being worked on."""
    # Plain: the pretty ones print local variables, and with them keys.
    text = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    return _blank(_QUOTED_BY_POSTGRESQL.sub("", text))


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write("\n" + format_traceback(exc_info))


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Blank what stands under a name that tells a secret, at any depth."""
    _redact(event)
    return event


def _redact(fields: MutableMapping[str, Any]) -> None:
    for name, value in fields.items():
        if _tells_a_secret(name):
            fields[name] = REDACTED
        elif isinstance(value, MutableMapping):
            fields[name] = copy = dict(value)
            _redact(copy)


@lru_cache(maxsize=1024)
def _tells_a_secret(name: object) -> bool:
    return _SECRET.search(str(name)) is not None


def _rendering(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.ExceptionRenderer(format_traceback), structlog.processors.JSONRenderer(_json)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_write_traceback, pad_event_to=0
        )
    ]


def _json(event: EventDict, **options: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # a huge integer, half a surrogate pair: no reason to lose a line
        return json.dumps(event, default=str, sort_keys=True)


class _Lines:
    """What structlog writes to. stderr is looked up at each line: a test's or a daemon's may have been replaced."""

    def __init__(self, name: str = "billy") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")  # one call: lines of threads do not mix
        sys.stderr.flush()

    debug = info = warning = warn = error = critical = exception = failure = fatal = log = msg


class _Handler(logging.StreamHandler[TextIO]):
    # For what libraries log; looks stderr up as _Lines does.

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # a plain attribute there
        return sys.stderr
