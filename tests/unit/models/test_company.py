"""A company's keys, its secrets, and how long it is left alone when the processor refuses it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from billy.models import ApiKey, Company
from billy.secrets import Vault, hash_key, new_secret_key
from tests.support.clock import FrozenClock

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def paper_company(now: datetime) -> Company:
    """On paper: its processor key is ``ak-test-1`` and its callback key ``callback-1``, sealed with OLD."""
    vault = Vault([OLD])
    return Company(
        guid="CP1",
        sealed_processor_key=vault.seal("ak-test-1"),
        sealed_callback_key=vault.seal("callback-1"),
        parked_count=0,
        created_at=now,
        updated_at=now,
    )


OLD, NEW = new_secret_key(), new_secret_key()


# API keys


@pytest.fixture
def registered(session: Session, vault: Vault, clock: FrozenClock) -> tuple[Company, str]:
    """A stored company and its first API key."""
    company, key = Company.register(session, vault, clock.now, processor_key="ak-test-1", name="Trees")
    session.commit()
    return company, key


def opened(session: Session, key: str, now: datetime) -> str | None:
    company = Company.of_api_key(session.connection(), key, now)
    return company and company.guid


@pytest.mark.usefixtures("bystander")
def test_a_new_company_has_a_name_its_secrets_and_a_key_that_opens_it(
    session: Session, vault: Vault, clock: FrozenClock
) -> None:
    company, key = Company.register(session, vault, clock.now, processor_key="ak-test-1", name="Trees")
    session.commit()

    assert (company.name, vault.open(company.sealed_processor_key)) == ("Trees", "ak-test-1")
    assert opened(session, key, clock.now) == company.guid


@pytest.mark.usefixtures("bystander")
def test_d43_no_secret_of_a_company_is_stored_as_it_is(
    session: Session, vault: Vault, registered: tuple[Company, str]
) -> None:
    company, key = registered
    callback_key = vault.open(company.sealed_callback_key)

    rows = [
        *session.execute(text("SELECT * FROM company WHERE guid = :guid"), {"guid": company.guid}),
        *session.execute(text("SELECT * FROM api_key WHERE company_guid = :guid"), {"guid": company.guid}),
    ]

    assert hash_key(key) in str(rows)
    assert not [secret for secret in (key, "ak-test-1", callback_key) if secret in str(rows)]


@pytest.mark.usefixtures("bystander")
def test_each_key_opens_its_own_company(
    session: Session, vault: Vault, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, key = registered
    other, other_key = Company.register(session, vault, clock.now, processor_key="ak-test-2")
    session.commit()

    assert opened(session, key, clock.now) == company.guid
    assert opened(session, other_key, clock.now) == other.guid


@pytest.mark.parametrize("wrong", ["", "nobody's", "\x00", "ключ"])
@pytest.mark.usefixtures("registered", "bystander")
def test_any_other_key_opens_nothing(session: Session, clock: FrozenClock, wrong: str) -> None:
    assert opened(session, wrong, clock.now) is None


def test_the_hash_of_a_key_is_not_a_key(session: Session, clock: FrozenClock, registered: tuple[Company, str]) -> None:
    _, key = registered

    assert opened(session, hash_key(key), clock.now) is None


@pytest.mark.usefixtures("bystander")
def test_a_second_key_opens_the_company_beside_the_first(
    session: Session, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, first = registered

    second = company.add_api_key(session, clock.now)
    session.commit()

    assert (opened(session, first, clock.now), opened(session, second, clock.now)) == (company.guid, company.guid)


@pytest.mark.usefixtures("bystander")
def test_d43_after_a_reset_only_the_new_key_opens_the_company(
    session: Session, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, old = registered
    second = company.add_api_key(session, clock.now)

    new = company.reset_api_key(session, clock.now)
    session.commit()

    assert opened(session, new, clock.now) == company.guid
    assert (opened(session, old, clock.now), opened(session, second, clock.now)) == (None, None)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("later", "works"), [(23 * HOUR, True), (24 * HOUR, False), (25 * HOUR, False)])
def test_with_grace_the_old_key_works_until_it_is_over(
    session: Session, clock: FrozenClock, registered: tuple[Company, str], later: timedelta, works: bool
) -> None:
    company, old = registered

    new = company.reset_api_key(session, clock.now, grace=24 * HOUR)
    session.commit()

    assert (opened(session, old, clock.now + later) is not None) is works
    assert opened(session, new, clock.now + later) == company.guid


@pytest.mark.usefixtures("bystander")
def test_a_reset_with_grace_does_not_lengthen_an_earlier_one(
    session: Session, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, old = registered
    company.reset_api_key(session, clock.now, grace=HOUR)

    company.reset_api_key(session, clock.now, grace=24 * HOUR)
    session.commit()

    assert opened(session, old, clock.now + 2 * HOUR) is None


@pytest.mark.usefixtures("bystander")
def test_a_reset_without_grace_ends_the_grace_of_an_earlier_one(
    session: Session, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, old = registered
    company.reset_api_key(session, clock.now, grace=24 * HOUR)

    company.reset_api_key(session, clock.now)
    session.commit()

    assert opened(session, old, clock.now) is None


@pytest.mark.usefixtures("bystander")
def test_d23_a_reset_moves_updated_at(session: Session, clock: FrozenClock, registered: tuple[Company, str]) -> None:
    company, _ = registered

    company.reset_api_key(session, clock.now + HOUR)
    session.commit()

    assert company.updated_at == clock.now + HOUR


@pytest.mark.usefixtures("bystander")
def test_a_key_is_kept_of_which_only_the_hash_is_known(
    session: Session, clock: FrozenClock, registered: tuple[Company, str]
) -> None:
    company, key = registered

    (stored,) = session.scalars(select(ApiKey).where(ApiKey.company_guid == company.guid))

    assert (stored.key_hash, stored.expires_at, stored.created_at) == (hash_key(key), None, clock.now)


# Secrets


def test_a_company_knows_its_callback_key(paper_company: Company) -> None:
    assert paper_company.has_callback_key(Vault([OLD]), "callback-1")


@pytest.mark.parametrize(
    "wrong", ["", "callback-2", "callback-", "callback-11", "ak-test-1", "callback-1\x00", "\ud800"]
)
def test_no_other_key_is_its_callback_key(paper_company: Company, wrong: str) -> None:
    assert not paper_company.has_callback_key(Vault([OLD]), wrong)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("base", ["https://billy.example", "https://billy.example/"])
def test_the_callbacks_url_ends_with_the_key_that_authenticates_it(
    session: Session, vault: Vault, clock: FrozenClock, base: str
) -> None:
    company, _ = Company.register(session, vault, clock.now, processor_key="ak-test-1", callback_base_url=base)
    session.commit()

    base_url, _, key = company.callback_url(vault).rstrip("/").rpartition("/")

    assert base_url == f"https://billy.example/v1/companies/{company.guid}/callbacks"
    assert company.has_callback_key(vault, key)


def test_after_a_rotation_the_old_secret_key_is_not_needed(paper_company: Company, now: datetime) -> None:
    paper_company.rotate_secrets(Vault([NEW, OLD]), now)

    assert Vault([NEW]).open(paper_company.sealed_processor_key) == "ak-test-1"
    assert Vault([NEW]).open(paper_company.sealed_callback_key) == "callback-1"


def test_a_callback_that_is_registered_again_keeps_the_secret_that_was_told_once(
    paper_company: Company, now: datetime
) -> None:
    paper_company.callback_was_registered(now, sealed_secret="sealed")
    paper_company.callback_was_registered(now, sealed_secret=None)

    assert (paper_company.sealed_callback_secret, paper_company.callback_registered_at) == ("sealed", now)


# Parking


def test_a_company_is_left_alone_longer_with_each_refusal_of_its_key_in_a_row(
    paper_company: Company, now: datetime
) -> None:
    pauses = []
    for _ in range(6):
        paper_company.park(now)
        assert paper_company.parked_until is not None
        pauses.append(paper_company.parked_until - now)

    assert pauses == [5 * MINUTE, 30 * MINUTE, 2 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR]
    assert paper_company.parked_count == 6


def test_an_answer_ends_the_parking(paper_company: Company, now: datetime) -> None:
    paper_company.park(now)

    paper_company.unpark(now + HOUR)

    assert (paper_company.parked_until, paper_company.parked_count) == (None, 0)


def test_after_an_answer_the_first_pause_is_short_again(paper_company: Company, now: datetime) -> None:
    paper_company.park(now)
    paper_company.park(now)
    paper_company.unpark(now)

    paper_company.park(now)

    assert paper_company.parked_until == now + 5 * MINUTE


def test_an_answer_changes_nothing_of_a_company_that_is_not_parked(paper_company: Company, now: datetime) -> None:
    paper_company.unpark(now + HOUR)

    assert paper_company.updated_at == now


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda company, at: company.park(at), id="park"),
        pytest.param(lambda company, at: (company.park(at - HOUR), company.unpark(at)), id="unpark"),
        pytest.param(lambda company, at: company.rotate_secrets(Vault([NEW, OLD]), at), id="rotate_secrets"),
    ],
)
def test_d23_every_change_moves_updated_at(
    paper_company: Company, now: datetime, verb: Callable[[Company, datetime], None]
) -> None:
    verb(paper_company, now + 2 * HOUR)

    assert paper_company.updated_at == now + 2 * HOUR
