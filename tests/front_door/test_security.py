"""SECURITY.md says what is so."""

from __future__ import annotations

import re

from billy.settings import Settings

from .conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
OPTIONS = {field.alias: field for field in Settings.model_fields.values() if field.alias}


def test_the_files_that_it_points_to_exist() -> None:
    named = re.findall(r"`([a-z_/]+(?:\.[a-z]+)+)`", TEXT)
    files = [name for name in named if "/" in name or name.endswith(".ini")]
    assert len(files) > 20
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_the_options_that_it_names_exist() -> None:
    named = re.findall(r"`((?:billy|api)\.[a-z_.]+)`", TEXT)
    assert len(named) > 10
    assert [name for name in named if name not in OPTIONS and not name.startswith("billy.processors.")] == []


def test_the_limits_that_it_names_are_the_defaults() -> None:
    defaults = {name: field.default for name, field in OPTIONS.items() if name.startswith("billy.limit.")}
    assert defaults == {
        "billy.limit.registrations": "20/1h",
        "billy.limit.failures_per_address": "60/1m",
        "billy.limit.failures_per_key": "10/1m",
    }
    for said in (
        "after 10 a minute with one key (`billy.limit.failures_per_key`)",
        "after 60 a minute from one address (`billy.limit.failures_per_address`)",
        "At most 20 an hour from one address (`billy.limit.registrations`)",
        "above 1 MiB are 413, chunked ones too (`billy.api.maximum_body`)",
    ):
        assert said in TEXT
    assert OPTIONS["billy.api.maximum_body"].default == 1_048_576


def test_the_defaults_are_written_nowhere_else_without_being_checked() -> None:
    for name in ("development.ini", "balanced.ini"):
        assert "the default is 20 an hour from one address" in (ROOT / name).read_text()
