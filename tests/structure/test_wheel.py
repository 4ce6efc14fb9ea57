"""What an installed Billy has, and has not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.structure.source import CHECKOUT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
UPGRADE = """
import sys
from billy import schema
from billy.db import engine_at
engine = engine_at("sqlite:///billy.sqlite")
schema.upgrade(engine)
with engine.connect() as connection:
    assert schema.current_revision(connection) == schema.head_revision() != None
print(schema.migrations())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contents of the wheel."""
    source = tmp_path_factory.mktemp("source")
    for directory in ("billy", "alembic"):
        shutil.copytree(CHECKOUT / directory, source / directory, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, "dist"], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(source / "installed")
    return source / "installed"


def files(directory: Path, *patterns: str) -> set[str]:
    return {str(path.relative_to(directory)) for pattern in patterns for path in directory.rglob(pattern)}


def test_the_wheel_is_the_package_and_nothing_beside_it(installed: Path) -> None:
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"billy"}
    assert files(installed / "billy", "*.py") - files(installed / "billy", "migrations/**/*.py") == files(
        CHECKOUT / "billy", "*.py"
    )
    assert (installed / "billy" / "py.typed").exists()


def test_the_wheel_has_the_migrations(installed: Path) -> None:
    assert files(installed / "billy" / "migrations", "*.*") == files(CHECKOUT / "alembic", "*.py", "*.mako")


def test_the_wheel_has_the_explorer_with_its_licence_and_the_examples(installed: Path) -> None:
    explorer = CHECKOUT / "billy" / "api" / "explorer"
    assert files(installed / "billy" / "api" / "explorer", "*") == {path.name for path in explorer.iterdir()}
    assert (installed / "billy" / "api" / "examples.json").exists()


def test_an_installed_billy_upgrades_a_database_from_any_directory(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UPGRADE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "billy" / "migrations")
