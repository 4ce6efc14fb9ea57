"""A company: the tenant that everything belongs to, and the API keys that open it."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, String, bindparam, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from billy.guid import new_guid, new_key
from billy.models.base import NAME_LENGTH, Base, Guid, Owned, to_company
from billy.models.plain import fetch, shape
from billy.secrets import Vault, hash_key

# How long a company is left alone after its n-th refusal in a row by the processor.
PARKING = (
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)


class Company(Base):
    """A tenant."""

    __tablename__ = "company"
    _shown = ("guid", "name")

    guid: Mapped[str] = mapped_column(Guid, primary_key=True)
    name: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    sealed_processor_key: Mapped[str] = mapped_column(String(1024))
    """The processor's API key, encrypted (``billy.secrets``)."""
    processor: Mapped[str | None] = mapped_column(String(64))
    """The name of its processor; empty is the server's default."""
    sealed_callback_key: Mapped[str] = mapped_column(String(1024))
    """The secret in the URL that the processor calls back, encrypted."""
    callback_base_url: Mapped[str | None] = mapped_column(String(512))
    """Where the processor reaches this server; the callback's whole URL holds a secret and is not stored."""
    sealed_callback_secret: Mapped[str | None] = mapped_column(String(1024))
    """What the processor signs its callbacks with, encrypted; empty where it does not, or did not tell."""
    callback_registered_at: Mapped[datetime | None]
    """When the processor accepted the callback; empty while that is an intent that runs retry."""
    parked_until: Mapped[datetime | None]
    """Nothing is submitted for the company before this instant, since the processor refused its key."""
    parked_count: Mapped[int] = mapped_column(default=0)
    """Refusals of the key in a row; the next pause grows with it."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @classmethod
    def register(
        cls,
        session: Session,
        vault: Vault,
        now: datetime,
        *,
        processor_key: str,
        processor: str | None = None,
        name: str | None = None,
        callback_base_url: str | None = None,
        guid: str | None = None,
    ) -> tuple[Company, str]:
        """Add a company with its first API key; the key is returned and never again to be had."""
        company = cls(
            guid=guid or new_guid("CP", now),
            name=name,
            processor=processor,
            sealed_processor_key=vault.seal(processor_key),
            sealed_callback_key=vault.seal(new_key()),
            callback_base_url=callback_base_url and callback_base_url.rstrip("/"),
            parked_count=0,
            created_at=now,
            updated_at=now,
        )
        session.add(company)
        session.flush()
        return company, company.add_api_key(session, now)

    @classmethod
    def of_api_key(cls, connection: Connection, key: str, now: datetime) -> Company | None:
        """The company that an API key opens at ``now``, as a plain record, in one query; None for any other key.

        This is the one look-up that does not start from a company: it is what finds it. The index finds
        a hash, so its timing says nothing of how much of a key is right.
        """
        values = {"key_hash": hash_key(key), "now": now}
        return next(iter(fetch(connection, Company, _company_of_api_key(), values)), None)

    def add_api_key(self, session: Session, now: datetime) -> str:
        """Add one more API key and return it; only its hash is kept."""
        key = new_key()
        session.add(ApiKey(company_guid=self.guid, guid=new_guid("AK", now), key_hash=hash_key(key), created_at=now))
        return key

    def reset_api_key(self, session: Session, now: datetime, *, grace: timedelta = timedelta(0)) -> str:
        """Replace all API keys by a new one; the old ones stop working after ``grace``."""
        expires_at = now + grace
        session.execute(
            update(ApiKey)
            .where(ApiKey.company_guid == self.guid)
            .where((ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > expires_at))
            .values(expires_at=expires_at)
        )
        self.updated_at = now
        return self.add_api_key(session, now)

    def callback_url(self, vault: Vault) -> str:
        """What the processor should call: the URL is itself the secret that authenticates it."""
        return f"{self.callback_base_url}/v1/companies/{self.guid}/callbacks/{vault.open(self.sealed_callback_key)}/"

    def has_callback_key(self, vault: Vault, key: str) -> bool:
        """Whether ``key`` is the one in the company's callback URL."""
        return hmac.compare_digest(vault.open(self.sealed_callback_key).encode(), key.encode("utf-8", "replace"))

    def callback_was_registered(self, now: datetime, *, sealed_secret: str | None) -> None:
        """The processor calls back; what it signs that with is told once, so an absent one changes nothing."""
        self.callback_registered_at = self.updated_at = now
        if sealed_secret is not None:
            self.sealed_callback_secret = sealed_secret

    @property
    def sealed_secrets(self) -> list[str]:
        """All that is encrypted."""
        sealed = (self.sealed_processor_key, self.sealed_callback_key, self.sealed_callback_secret)
        return [each for each in sealed if each is not None]

    def rotate_secrets(self, vault: Vault, now: datetime) -> None:
        """Seal all secrets anew under the vault's first key."""
        self.sealed_processor_key = vault.rotate(self.sealed_processor_key)
        self.sealed_callback_key = vault.rotate(self.sealed_callback_key)
        if self.sealed_callback_secret is not None:
            self.sealed_callback_secret = vault.rotate(self.sealed_callback_secret)
        self.updated_at = now

    def replace_processor_key(self, vault: Vault, key: str, now: datetime) -> None:
        """Use another key of the same account from now on: what waited for it goes on, and the callback is
        registered anew."""
        self.sealed_processor_key = vault.seal(key)
        self.callback_registered_at = None
        self.unpark(now)
        self.updated_at = now

    def is_to_be_parked(self, now: datetime, *, refused: str) -> bool:
        """Whether a processor's refusal of a key, which is given as it was stored, is news.

        Not while the company is parked, nor where the key was replaced since: nothing is known of the new one.
        """
        return refused == self.sealed_processor_key and (self.parked_until is None or self.parked_until <= now)

    def park(self, now: datetime) -> None:
        """The processor refused the company's key: leave it alone, longer each time."""
        pause = PARKING[min(self.parked_count, len(PARKING) - 1)]
        self.parked_count += 1
        self.parked_until = now + pause
        self.updated_at = now

    def unpark(self, now: datetime) -> None:
        """The processor answered with the company's key again."""
        if self.parked_count:
            self.parked_count = 0
            self.parked_until = None
            self.updated_at = now


Own = TypeVar("Own", bound=Owned)


def of_any_company(model: type[Owned]) -> ColumnElement[bool]:
    """A condition that is always true, and lets a query without a company use the keys that begin with one.

    The database asks such a key once for each company, where it would read the table else.
    """
    return model.company_guid.in_(select(Company.guid))


def find_of_any_company(session: Session, model: type[Own], guid: str) -> Own | None:
    """A record by its guid alone, whichever company has it; None if none has.

    Without its company: an operator, who may see them all, reads the guid in a log line.
    """
    found: Own | None = session.scalars(select(model).where(of_any_company(model), model.guid == guid)).one_or_none()
    return found


class ApiKey(Owned):
    """One key to a company's API; several live side by side while an old one is phased out."""

    __tablename__ = "api_key"
    __table_args__ = (to_company(),)
    _shown = ("company_guid", "guid", "expires_at")

    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the key, hexadecimal."""
    expires_at: Mapped[datetime | None]
    """The key is refused from this instant on; empty means never."""


@cache
def _company_of_api_key() -> Select[Any]:
    # Built once: every request runs it, and putting it together takes longer than running it.
    return (
        shape(Company)
        .select()
        .join(ApiKey, ApiKey.company_guid == Company.guid)
        .where(
            ApiKey.key_hash == bindparam("key_hash"),
            (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > bindparam("now")),
        )
    )
