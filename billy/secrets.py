"""How secrets are kept: API keys as hashes, processor and callback keys encrypted.

An API key is 256 random bits, so a plain SHA-256 is as strong as any slow password hash and costs
microseconds instead of a fifth of a second on each request; slow hashes protect weak passwords only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from billy.errors import ConfigurationError

_NO_KEY_FITS = "a stored secret opens with none of billy.secret_keys: was a key removed before rotate-secrets had run?"


def hash_key(key: str) -> str:
    """What is stored of an API key: 64 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret_key() -> str:
    """A fresh key for ``billy.secret_keys``: 32 random bytes, url-safe base64."""
    return Fernet.generate_key().decode("ascii")


class Vault:
    """Encrypts and decrypts with the operator's secret keys: the first seals, all of them open."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        if not secret_keys:
            raise ConfigurationError("billy.secret_keys is empty: at least one key is needed to store secrets")
        self._fernet = MultiFernet([Fernet(key.encode("ascii")) for key in secret_keys])

    def seal(self, text: str) -> str:
        """The ciphertext of ``text``, fit for a text column."""
        return self._fernet.encrypt(text.encode("utf-8")).decode("ascii")

    def open(self, sealed: str) -> str:
        """The text again; ConfigurationError when no configured key fits."""
        try:
            return self._fernet.decrypt(sealed.encode("ascii")).decode("utf-8")
        except InvalidToken:
            raise ConfigurationError(_NO_KEY_FITS) from None

    def rotate(self, sealed: str) -> str:
        """The same secret under the first key, with its original time stamp."""
        try:
            return self._fernet.rotate(sealed.encode("ascii")).decode("ascii")
        except InvalidToken:
            raise ConfigurationError(_NO_KEY_FITS) from None

    def __repr__(self) -> str:
        return "<Vault>"
