"""A world: a database, the processor's ledger and an ini, in a directory. Plain data, so processes can share it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from billy.db import make_engine, make_sessions
from billy.processors.sandbox import Sandbox, SandboxOptions
from billy.secrets import new_secret_key
from billy.settings import Settings

SECRET_KEY = new_secret_key()

OPTIONS = {
    "sqlalchemy.pool_size": "5",
    "billy.processor_factory": "billy.processors.sandbox.Sandbox",
    "billy.sandbox.idempotent": "false",
    # Short enough to wait for.
    "billy.transaction.call_deadline": "0.5s",
    "billy.transaction.lease": "1.5s",
    "billy.transaction.settle_time": "0s",
    "billy.transaction.retry_schedule": "0.1s",
    "billy.transaction.silence_schedule": "0.1s",
    "billy.api.request_deadline": "5s",
    # So that a few invoices take several batches.
    "billy.run.batch_size": "2",
    "billy.limit.registrations": "off",
    "billy.log.level": "WARNING",
}


@dataclass(frozen=True, slots=True)
class World:
    """Where it is, and the options of its ini."""

    path: Path
    options: Mapping[str, str]

    @classmethod
    def make(cls, path: Path, database_url: str, options: Mapping[str, str]) -> World:
        """A world over an existing database; ``options`` beside or instead of the ordinary ones.

        ``{path}`` in them is the world's directory.
        """
        own = {
            "sqlalchemy.url": database_url,
            "billy.secret_keys": SECRET_KEY,
            "billy.sandbox.ledger": str(path / "ledger.sqlite"),
        }
        chosen = {**OPTIONS, **own, **{name: value.replace("{path}", str(path)) for name, value in options.items()}}
        if chosen["billy.processor_factory"] != OPTIONS["billy.processor_factory"]:
            chosen = {name: value for name, value in chosen.items() if not name.startswith("billy.sandbox.")}
        world = cls(path, chosen)
        lines = [f"{name} = {value.replace('%', '%%')}" for name, value in chosen.items()]
        world.ini_file.write_text("\n".join(["[app:main]", "use = egg:billy", *lines]))
        return world

    @property
    def ini_file(self) -> Path:
        """What the commands are given."""
        return self.path / "billy.ini"

    @property
    def ledger_file(self) -> Path:
        """What the processor knows."""
        return self.path / "ledger.sqlite"

    @property
    def is_postgresql(self) -> bool:
        """Or else SQLite."""
        return self.options["sqlalchemy.url"].startswith("postgresql")

    @property
    def facts(self) -> dict[str, Any]:
        """What the scene left for its actors: keys and guids."""
        facts: dict[str, Any] = json.loads((self.path / "facts.json").read_text())
        return facts

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Leave facts."""
        (self.path / "facts.json").write_text(json.dumps(facts))

    def settings(self) -> Settings:
        """The ini, checked."""
        return Settings.load(self.options)

    @contextmanager
    def sessions(self) -> Iterator[sessionmaker[Session]]:
        """Sessions on its database."""
        engine = make_engine(self.settings())
        try:
            yield make_sessions(engine)
        finally:
            engine.dispose()

    @contextmanager
    def sandbox(self, *, idempotent: bool = False) -> Iterator[Sandbox]:
        """The processor with its ledger."""
        sandbox = Sandbox(SandboxOptions(ledger=str(self.ledger_file), idempotent=idempotent), call_deadline=30)
        try:
            yield sandbox
        finally:
            sandbox._ledger.close()
