"""``billy settings``: the reference of the ini's options, printed from the model that checks them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pyramid.path import DottedNameResolver
from rich.console import Console
from rich.table import Column, Table

from billy.errors import ConfigurationError
from billy.processors.base import ProcessorFactory
from billy.scripts import EXIT_CODES
from billy.scripts.common import ini_argument, read_ini
from billy.settings import Settings, read_factories


@click.command("settings", epilog=EXIT_CODES)
@ini_argument(required=False)
def settings(ini: str | None) -> None:
    """Print every option of the ini: name, default, meaning.

    With an ini, its processors' own options too. Every value may be `env:NAME`, taken from an environment
    variable, or `file:PATH`, taken from a file. Durations are written 30s, 15m, 24h, 2d. No value of the
    ini is shown.
    """
    columns = [Column(name, overflow="fold") for name in ("option", "default", "meaning")]
    table = Table(*columns, show_lines=True)
    for name, field in _options(ini):
        table.add_row(name, "[bold]required[/bold]" if field.is_required() else default_of(field), field.description)
    Console().print(table)


def _options(ini: str | None) -> Iterator[tuple[str, FieldInfo]]:
    yield from options_of(Settings)
    if ini is not None:
        options = read_ini(ini)
        for factory in {each.name: each for each in (_processor_factory(options), *_further(options))}.values():
            yield from options_of(factory.options, prefix=f"billy.{factory.name}.")


def _processor_factory(options: dict[str, str]) -> ProcessorFactory:
    # Not through Settings.load: who reads about the options need not have set them all yet.
    try:
        factory: ProcessorFactory = DottedNameResolver().resolve(options.get("billy.processor_factory", ""))
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"billy.processor_factory: {error}") from None
    return factory


def _further(options: dict[str, str]) -> tuple[ProcessorFactory, ...]:
    try:
        return tuple(read_factories(options.get("billy.processors", "")))
    except ValueError as error:
        raise ConfigurationError(f"billy.processors: {error}") from None


def options_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The options that a model checks, by their names in the ini."""
    for name, field in model.model_fields.items():
        if prefix or field.alias:
            yield prefix + (field.alias or name), field


def default_of(field: FieldInfo) -> str:
    """What an option is if nobody sets it, as one would write it; empty for nothing."""
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value == () else str(value)


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
