"""Every option of the ini file: its type, default and meaning.

All mistakes are reported at boot, together and by name; so is an unknown ``billy.…`` option, since a
misspelled lease or time-out would otherwise be silently ignored. Nobody reads the ini dict again.

A value ``env:NAME`` is taken from the environment variable NAME, and ``file:PATH`` from a file, so
that secrets need not stand in the ini.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from cryptography.fernet import Fernet
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from billy.errors import ConfigurationError
from billy.models.retry import RetryPolicy
from billy.processors.base import ProcessorFactory

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)\Z")


def parse_duration(text: Any) -> Any:
    """``90``, ``90s``, ``15m``, ``24h``, ``2d`` or ``1w`` as a timedelta; ValueError for anything else."""
    if not isinstance(text, str):
        return text
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 15m, 24h, 2d")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def _durations(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    return tuple(parse_duration(part) for part in text.replace(",", " ").split())


_LONGEST_PERIOD = timedelta(days=366)


@dataclass(frozen=True)
class Rate:
    """So many times in a period."""

    times: int
    period: timedelta


def _rate(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if text == "off":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})\s*/(.+)", text.strip())
    if match is None or not timedelta(0) < (period := parse_duration(match[2])) <= _LONGEST_PERIOD:
        raise ValueError(f"{text!r} is not a rate such as 20/1h, per year at the longest, and not off")
    return Rate(int(match[1]), period)


def _proxy(text: str) -> str:
    try:
        return text if text == "*" else str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address, and not *") from None


def _token(text: str) -> str:
    # What RFC 6750 lets a Bearer be, and long enough that nobody guesses it.
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{32,}=*", text):
        raise ValueError("must be 32 letters and digits at least, such as `billy generate-secret` makes")
    return text


def _lines(text: Any) -> Any:
    return tuple(text.replace(",", " ").split()) if isinstance(text, str) else text


def _fernet_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for number, key in enumerate(keys, start=1):
        try:
            Fernet(key.encode("ascii"))
        except ValueError:
            raise ValueError(f"key {number} is not a key that `billy generate-secret` would make") from None
    return keys


def _factory(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    try:
        factory = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot import {name!r}: {error}") from None
    if not (hasattr(factory, "name") and hasattr(factory, "options")):
        raise ValueError(f"{name!r} is not a processor factory")
    return factory


def read_factories(names: Any) -> Any:
    """Each by the name that it is registered under, or as billy.processor_factory names one."""
    if not isinstance(names, str):
        return names
    registered = {each.name: each.value for each in entry_points(group="billy.processors")}
    found = []
    for name in _lines(names):
        if name not in registered and not re.search("[.:]", name):
            raise ValueError(f"there is no processor {name!r}, but {', '.join(sorted(registered))}")
        found.append(_factory(registered.get(name, name)))
    return tuple(found)


def driver_url(url: str) -> str:
    """The database's URL with its driver named; SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)


def _database_url(url: str) -> str:
    url = driver_url(url)
    try:
        is_ours = make_url(url).get_backend_name() in ("postgresql", "sqlite")
    except ArgumentError:
        is_ours = False
    if not is_ours:
        # The URL itself may hold a password, so it is not shown.
        raise ValueError(
            "is not a database URL such as sqlite:////var/lib/billy.sqlite or postgresql://user@host/billy"
        )
    return url


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Durations = Annotated[tuple[timedelta, ...], BeforeValidator(_durations), Field(min_length=1)]
Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]
Limit = Annotated[Rate | None, BeforeValidator(_rate)]


def option(name: str, default: Any = ..., description: str = "", **limits: Any) -> Any:
    """A field that is set by the ini option ``name``."""
    return Field(default, alias=name, description=description, **limits)


class Settings(BaseModel):
    """What the ini says, checked. Build it with ``Settings.load``."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = option(
        "sqlalchemy.url",
        description="The database: sqlite:////var/lib/billy.sqlite, postgresql://user@host/billy",
        repr=False,
    )
    pool_size: int = option("sqlalchemy.pool_size", 10, "Connections kept open, PostgreSQL only.", ge=1)
    max_overflow: int = option("sqlalchemy.max_overflow", 20, "Connections beyond those, under load.", ge=0)
    secret_keys: Annotated[Lines, AfterValidator(_fernet_keys), Field(min_length=1)] = option(
        "billy.secret_keys",
        description="Keys for stored secrets: the first encrypts, the others only decrypt (see billy rotate-secrets).",
        repr=False,
    )

    processor_factory: Annotated[Any, BeforeValidator(_factory)] = option(
        "billy.processor_factory", description="The payment processor, such as billy.processors.sandbox.Sandbox."
    )
    further_processors: Annotated[tuple[Any, ...], BeforeValidator(read_factories)] = option(
        "billy.processors",
        (),
        "Processors that a company may name besides: balanced, sandbox, stripe, or what other packages register.",
    )
    processor_options: dict[str, dict[str, str]] = Field(default_factory=dict, repr=False)

    maximum_retry: int = option(
        "billy.transaction.maximum_retry", 10, "Soft refusals that are forgiven: N means N + 1 attempts.", ge=0, le=1000
    )
    retry_schedule: Durations = option(
        "billy.transaction.retry_schedule",
        "1h 6h 1d 2d 3d",
        "Pauses after soft refusals; the last repeats.",
        validate_default=True,
    )
    silence_schedule: Durations = option(
        "billy.transaction.silence_schedule",
        "30s 1m 5m 15m",
        "Pauses while the processor cannot be reached or an outcome is unknown; the last repeats.",
        validate_default=True,
    )
    call_deadline: Duration = option(
        "billy.transaction.call_deadline", timedelta(seconds=10), "The most that one call to the processor may take."
    )
    lease: Duration = option(
        "billy.transaction.lease",
        timedelta(minutes=2),
        "How long a run or a request has a claimed transaction for itself; at least three call deadlines.",
    )
    settle_time: Duration = option(
        "billy.transaction.settle_time",
        timedelta(seconds=30),
        "How long after a call's deadline the processor may take until a look-up can see its effect.",
    )
    doubt_alert: Duration = option(
        "billy.transaction.doubt_alert", timedelta(hours=24), "What is in doubt for longer is reported by every run."
    )
    reconcile_after: Duration = option(
        "billy.reconcile.pending_after",
        timedelta(hours=6),
        "The processor is asked about what has been pending for longer, in case its callback was lost.",
    )
    batch_size: int = option("billy.run.batch_size", 100, "Rows that a run claims at a time.", ge=1, le=10_000)
    keep_runs: Duration = option("billy.run.keep", timedelta(days=90), "How long the diary of runs is kept.")

    registration: str = option(
        "billy.registration",
        "open",
        "Who may register a company over HTTP: open (everyone), token (who has the token), closed (nobody; there is"
        " `billy create-company`).",
        pattern="^(open|token|closed)$",
    )
    registration_token: Annotated[str, AfterValidator(_token)] | None = option(
        "billy.registration_token", None, "The bearer token that registering asks for.", repr=False
    )
    registration_limit: Limit = option(
        "billy.limit.registrations", "20/1h", "Registrations from one address, or off.", validate_default=True
    )
    address_limit: Limit = option(
        "billy.limit.failures_per_address",
        "60/1m",
        "Failed authentications from one address, or off. Valid keys are never refused.",
        validate_default=True,
    )
    key_limit: Limit = option(
        "billy.limit.failures_per_key",
        "10/1m",
        "Failed authentications with one and the same wrong key, or off.",
        validate_default=True,
    )
    trusted_proxy: Annotated[str, AfterValidator(_proxy)] | None = option(
        "billy.trusted_proxy",
        None,
        "The address of the proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; * believes everyone. For"
        " servers without such an option of their own, such as gunicorn.",
    )

    display_callback_key: bool = option(
        "billy.company.display_callback_key", False, "Show companies their callback_key."
    )
    callback_base_url: str | None = option(
        "billy.callback_base_url", None, "Where processors reach this server; by default the request's own host."
    )
    request_deadline: Duration = option(
        "billy.api.request_deadline",
        timedelta(seconds=25),
        "A request begins no submission that could end later than this, and waits for the database no longer; keep it"
        " below the web server's time-out.",
    )
    maximum_body: int = option(
        "billy.api.maximum_body", 1_048_576, "Bytes a request body may have; more is 413.", ge=1024
    )
    keep_answers: Duration = option(
        "billy.idempotency.keep",
        timedelta(hours=24),
        "How long a request with an Idempotency-Key is not done again but answered again; a registration at most 1h.",
    )
    revision: str | None = option("billy.revision", None, "The deployed source revision, shown by GET /.")
    pretty_print: bool = option("api.json.pretty_print", True, "Indent JSON answers.")
    allowed_origins: Lines = option("api.allowed_origins", (), "Origins that browsers may call from, in full.")
    metrics: bool = option("billy.metrics", False, "Answer GET /metrics, for Prometheus (docs/observability.md).")
    metrics_token: str | None = option(
        "billy.metrics_token", None, "The bearer token that GET /metrics asks for; none by default.", repr=False
    )
    log_format: str = option("billy.log.format", "text", "text for people, json for machines.", pattern="^(text|json)$")
    log_level: str = option(
        "billy.log.level", "INFO", "What is less than this is not logged.", pattern="^(DEBUG|INFO|WARNING|ERROR)$"
    )

    @model_validator(mode="after")
    def _deadlines_fit(self) -> Settings:
        if self.lease < 3 * self.call_deadline:
            raise ValueError("billy.transaction.lease must be at least three times billy.transaction.call_deadline")
        if self.request_deadline < self.call_deadline:
            raise ValueError("billy.api.request_deadline must not be below billy.transaction.call_deadline")
        if self.keep_answers <= self.request_lease:
            raise ValueError(
                f"billy.idempotency.keep must be more than a request may take, {self.request_lease.total_seconds():g}s"
            )
        if not self.call_deadline:
            raise ValueError("billy.transaction.call_deadline must be more than 0")
        return self

    @model_validator(mode="after")
    def _token_fits(self) -> Settings:
        if self.registration == "token" and self.registration_token is None:
            raise ValueError("billy.registration = token needs a billy.registration_token")
        if self.registration == "open" and self.registration_token is not None:
            raise ValueError("billy.registration_token protects nothing while billy.registration = open")
        return self

    @classmethod
    def load(cls, ini: Mapping[str, Any]) -> Settings:
        """Read an ini's app section; ConfigurationError names every mistake in it."""
        mistakes: dict[str, str] = {}
        values: dict[str, Any] = {}
        for name, value in ini.items():
            if not name.startswith(("billy.", "api.", "sqlalchemy.")):
                continue  # Pyramid's and the server's own
            try:
                values[name] = _resolved(value)
            except ValueError as error:
                mistakes[name] = str(error)
        own = {field.alias for field in cls.model_fields.values()}
        others = {name: values.pop(name) for name in list(values) if name not in own}
        settings = None
        try:
            # An option that is left empty is unset.
            settings = cls.model_validate({name: value for name, value in values.items() if value != ""})
        except ValidationError as error:
            mistakes = {**_told(error), **mistakes}
        default = settings.processor_factory if settings else _try_factory(values.get("billy.processor_factory"))
        options: dict[str, dict[str, str]] = {}
        if default is not None:
            for factory in (default, *(settings.further_processors if settings else ())):
                prefix = f"billy.{factory.name}."
                found = [name for name in others if name.startswith(prefix)]
                options.setdefault(factory.name, {}).update(
                    {name.removeprefix(prefix): others.pop(name) for name in found}
                )
                try:
                    factory.options.model_validate(options[factory.name])
                except ValidationError as error:
                    mistakes.update({prefix + name: text for name, text in _told(error).items()})
            # Which other options there are is not known while billy.processors cannot be read.
            if "billy.processors" not in mistakes:
                mistakes.update(dict.fromkeys(others, "there is no such option"))
        if mistakes or settings is None:
            lines = (f"  {name}: {text}" if name else f"  {text}" for name, text in sorted(mistakes.items()))
            raise ConfigurationError("the settings have mistakes:\n" + "\n".join(lines))
        return settings.model_copy(update={"processor_options": options})

    @property
    def request_lease(self) -> timedelta:
        """How long a request may hold its idempotency key before another one may take it for dead.

        A request makes at most three calls that its deadline does not bound: a customer, an instrument, a callback.
        """
        return self.request_deadline + 3 * self.call_deadline

    def make_processor_factory(self) -> ProcessorFactory:
        """The default processor, with its own options; once a process."""
        return self._make(self.processor_factory)

    def make_further_factories(self) -> list[ProcessorFactory]:
        """The others that a company may name; once a process."""
        return [self._make(each) for each in self.further_processors if each.name != self.processor_factory.name]

    def _make(self, factory: Any) -> ProcessorFactory:
        options = factory.options.model_validate(self.processor_options.get(factory.name, {}))
        made: ProcessorFactory = factory(options, call_deadline=self.call_deadline.total_seconds())
        return made

    @property
    def retry_policy(self) -> RetryPolicy:
        """When submissions are tried again."""
        return RetryPolicy(self.maximum_retry, self.retry_schedule, self.silence_schedule)


def _resolved(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.strip()
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name} is not set")
        return os.environ[name].strip()
    if value.startswith("file:"):
        path = Path(value.removeprefix("file:"))
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ValueError(
                f"cannot read {path}: {error.strerror}; `billy init-db` makes a missing secrets file"
            ) from None
    return value


def _try_factory(name: Any) -> Any:
    # For telling the processor's own mistakes together with the others.
    try:
        return _factory(name) if name else None
    except ValueError:
        return None


def _told(error: ValidationError) -> dict[str, str]:
    told = {}
    for mistake in error.errors():
        name = str(mistake["loc"][0]) if mistake["loc"] else ""
        told[name] = "is required" if mistake["type"] == "missing" else mistake["msg"].removeprefix("Value error, ")
    return told
