"""What is kept of a secret, and what is never said of it."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from billy.errors import ConfigurationError
from billy.secrets import Vault, hash_key, new_secret_key

OLD, NEW = new_secret_key(), new_secret_key()


def test_a_key_is_kept_as_its_sha_256() -> None:
    assert hash_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_any_text_that_a_caller_sends_as_a_key_can_be_hashed() -> None:
    assert len({hash_key(text) for text in ["", "\x00", "ключ", "\ud800"]}) == 4


def test_a_sealed_secret_opens_again() -> None:
    vault = Vault([NEW])

    assert vault.open(vault.seal("ak-test-ключ")) == "ak-test-ключ"


def test_a_sealed_secret_does_not_show_it_and_is_never_the_same_twice() -> None:
    vault = Vault([NEW])

    sealed = {vault.seal("ak-test-1") for _ in range(5)}

    assert len(sealed) == 5
    assert not any("ak-test-1" in text for text in sealed)


def test_the_first_key_seals() -> None:
    sealed = Vault([NEW, OLD]).seal("ak-test-1")

    assert Vault([NEW]).open(sealed) == "ak-test-1"


def test_every_key_opens() -> None:
    sealed = Vault([OLD]).seal("ak-test-1")

    assert Vault([NEW, OLD]).open(sealed) == "ak-test-1"


def test_a_rotated_secret_opens_with_the_new_key_alone() -> None:
    sealed = Vault([NEW, OLD]).rotate(Vault([OLD]).seal("ak-test-1"))

    assert Vault([NEW]).open(sealed) == "ak-test-1"


def test_a_rotated_secret_keeps_its_time_stamp() -> None:
    sealed = Fernet(OLD).encrypt_at_time(b"ak-test-1", 1_400_000_000).decode()

    rotated = Vault([NEW, OLD]).rotate(sealed)

    assert Fernet(NEW).extract_timestamp(rotated) == 1_400_000_000


@pytest.mark.parametrize("verb", ["open", "rotate"])
def test_without_the_right_key_it_says_so_and_shows_no_secret(verb: str) -> None:
    sealed = Vault([OLD]).seal("ak-test-1")

    with pytest.raises(ConfigurationError, match=r"billy\.secret_keys") as refusal:
        getattr(Vault([NEW]), verb)(sealed)

    assert not [secret for secret in (OLD, NEW, sealed, "ak-test-1") if secret in str(refusal.value)]
    assert refusal.value.__cause__ is None


def test_a_tampered_secret_does_not_open() -> None:
    sealed = Vault([NEW]).seal("ak-test-1")

    with pytest.raises(ConfigurationError):
        Vault([NEW]).open(sealed[:-4] + ("AAAA" if not sealed.endswith("AAAA") else "BBBB"))


def test_a_vault_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="at least one key"):
        Vault([])


def test_a_vault_does_not_show_its_keys() -> None:
    vault = Vault([NEW, OLD])

    assert repr(vault) == str(vault) == "<Vault>"


def test_a_new_secret_key_fits_a_vault_and_is_never_the_same() -> None:
    keys = {new_secret_key() for _ in range(10)}

    assert len(keys) == 10
    assert Vault(sorted(keys)).open(Vault(sorted(keys)).seal("x")) == "x"
