"""create-company, list-companies, reset-api-key, rotate-secrets, generate-secret."""

from __future__ import annotations

import getpass
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.orm import Session

from billy.models import AuditEntry, Company, IdempotencyKey
from billy.secrets import Vault, new_secret_key
from tests.support.bystander import Bystander
from tests.support.clock import FrozenClock
from tests.support.factories import Factories

from .conftest import Billy, write_ini


def printed(output: str, name: str) -> str:
    """The value after ``name:``."""
    found = re.search(rf"^{name}: (\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def audited(session: Session, company_guid: str) -> AuditEntry:
    """The only thing that was done by hand to a company."""
    return session.scalars(select(AuditEntry).where(AuditEntry.company_guid == company_guid)).one()


def rotated(companies: int, *, answers: int) -> str:
    """What is said of a rotation."""
    return f"Encrypted anew: the secrets of {companies} companies, {answers} answers to idempotency keys.\n"


def opens(session: Session, key: str, now: datetime) -> str | None:
    """The guid of the company that a key opens."""
    company = Company.of_api_key(session.connection(), key, now)
    session.commit()
    return company and company.guid


class TestCreateCompany:
    def test_it_prints_a_key_that_works(
        self, billy: Billy, ini_file: Path, session: Session, vault: Vault, clock: FrozenClock, bystander: Bystander
    ) -> None:
        result = billy("create-company", ini_file, "--name", "Acme", input="the-processor-key\n")

        assert result.exit_code == 0
        guid = printed(result.stdout, "guid")
        assert opens(session, printed(result.stdout, "api_key"), clock.now) == guid
        company = session.get_one(Company, guid)
        assert (company.name, vault.open(company.sealed_processor_key)) == ("Acme", "the-processor-key")
        assert "the-processor-key" not in result.output

    def test_a_processor_that_the_settings_do_not_name_is_wrong_usage(
        self, billy: Billy, ini_file: Path, bystander: Bystander
    ) -> None:
        result = billy("create-company", ini_file, "--processor", "stripe", input="sk_test_1\n")

        assert result.exit_code == 2
        assert "The settings name sandbox, and no processor stripe." in result.stderr
        assert "sk_test_1" not in result.output

    def test_the_processor_key_may_come_from_the_environment(
        self, billy: Billy, ini_file: Path, session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BILLY_PROCESSOR_KEY", "from-the-environment")
        result = billy("create-company", ini_file)

        company = session.get_one(Company, printed(result.stdout, "guid"))
        assert vault.open(company.sealed_processor_key) == "from-the-environment"

    @pytest.mark.parametrize("key", ["", "\n", "   \n", "x" * 256 + "\n"])
    def test_an_unusable_processor_key_is_refused(
        self, billy: Billy, ini_file: Path, session: Session, key: str
    ) -> None:
        result = billy("create-company", ini_file, input=key)

        assert result.exit_code == 2
        assert session.scalars(select(Company)).all() == []

    def test_a_name_that_is_too_long_is_refused(self, billy: Billy, ini_file: Path, session: Session) -> None:
        result = billy("create-company", ini_file, "--name", "x" * 129, input="key\n")

        assert result.exit_code == 2
        assert session.scalars(select(Company)).all() == []

    @pytest.mark.ini({"billy.callback_base_url": "https://billy.example.com/"})
    def test_a_known_address_is_left_to_the_scheduler_to_register(
        self, billy: Billy, ini_file: Path, session: Session, vault: Vault
    ) -> None:
        company = session.get_one(Company, printed(billy("create-company", ini_file, input="key\n").stdout, "guid"))

        key = vault.open(company.sealed_callback_key)
        assert company.callback_url(vault) == f"https://billy.example.com/v1/companies/{company.guid}/callbacks/{key}/"
        assert company.callback_registered_at is None

    def test_it_is_audited(self, billy: Billy, ini_file: Path, session: Session) -> None:
        guid = printed(billy("create-company", ini_file, input="key\n").stdout, "guid")

        entry = audited(session, guid)
        assert (entry.action, entry.subject_guid) == ("create-company", guid)
        assert entry.actor == f"{getpass.getuser()}@{socket.gethostname()}"[:128]


class TestListCompanies:
    def test_it_shows_a_table_without_secrets(
        self, billy: Billy, ini_file: Path, make: Factories, vault: Vault
    ) -> None:
        first, second = make.company(name="Acme"), make.company()
        result = billy("list-companies", ini_file)

        assert result.exit_code == 0
        assert result.stdout.index(first.guid) < result.stdout.index(second.guid)
        assert "Acme" in result.stdout
        for company in (first, second):
            assert make.keys[company.guid] not in result.stdout
            assert vault.open(company.sealed_callback_key) not in result.stdout

    def test_a_name_is_shown_as_it_is_and_is_no_order_to_the_terminal(
        self, billy: Billy, ini_file: Path, make: Factories
    ) -> None:
        make.company(name="[/red] & [bold]Sons\x1b[2J")
        result = billy("list-companies", ini_file)

        assert result.exit_code == 0
        assert "[/red] & [bold]Sons�[2J" in result.stdout

    def test_80_columns_are_enough_and_guids_are_whole(
        self, billy: Billy, ini_file: Path, make: Factories, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        parked_until = clock.now + timedelta(hours=1)
        company = make.company(name="A company with a name that needs some room", parked_until=parked_until)
        lines = billy("list-companies", ini_file).stdout.splitlines()

        assert max(map(len, lines)) <= 80
        [line] = [line for line in lines if company.guid in line]
        assert "2026-01-15 13:00" in line

    def test_json_has_an_object_a_line(
        self, billy: Billy, ini_file: Path, make: Factories, clock: FrozenClock, sessions: object
    ) -> None:
        first = make.company(name="Acme", parked_until=clock.now + timedelta(hours=1))
        second = make.company(callback_registered_at=clock.now)
        lines = [json.loads(line) for line in billy("list-companies", ini_file, "--json").stdout.splitlines()]

        now = clock.now.isoformat(timespec="seconds")
        assert lines == [
            {
                "guid": first.guid,
                "name": "Acme",
                "created_at": now,
                "api_keys": 1,
                "callback_registered": False,
                "parked_until": (clock.now + timedelta(hours=1)).isoformat(timespec="seconds"),
            },
            {
                "guid": second.guid,
                "name": None,
                "created_at": now,
                "api_keys": 1,
                "callback_registered": True,
                "parked_until": None,
            },
        ]


class TestResetApiKey:
    def test_without_a_company_it_says_what_is_missing(self, billy: Billy, ini_file: Path) -> None:
        result = billy("reset-api-key", ini_file)

        assert result.exit_code == 2
        assert f"the guid of a company (CP…) is missing after {ini_file}" in " ".join(result.stderr.split())

    def test_the_old_key_stops_at_once(
        self, billy: Billy, ini_file: Path, make: Factories, session: Session, clock: FrozenClock, bystander: Bystander
    ) -> None:
        company = make.company()
        result = billy("reset-api-key", ini_file, company.guid)

        assert result.exit_code == 0
        assert opens(session, make.keys[company.guid], clock.now) is None
        assert opens(session, printed(result.stdout, "api_key"), clock.now) == company.guid

    def test_with_grace_the_old_key_works_for_a_while(
        self, billy: Billy, ini_file: Path, make: Factories, session: Session, clock: FrozenClock
    ) -> None:
        company = make.company()
        billy("reset-api-key", company.guid, "-c", ini_file, "--grace", "24h")

        old = make.keys[company.guid]
        assert opens(session, old, clock.now + timedelta(hours=23, minutes=59)) == company.guid
        assert opens(session, old, clock.now + timedelta(hours=24)) is None

    def test_it_is_audited_without_the_key(
        self, billy: Billy, ini_file: Path, make: Factories, session: Session
    ) -> None:
        company = make.company()
        key = printed(billy("reset-api-key", ini_file, company.guid).stdout, "api_key")

        entry = audited(session, company.guid)
        assert (entry.action, entry.subject_guid) == ("reset-api-key", company.guid)
        assert key not in entry.detail

    def test_an_unknown_company_is_told(self, billy: Billy, ini_file: Path, bystander: Bystander) -> None:
        result = billy("reset-api-key", ini_file, "CP1111111111111111111111")

        assert (result.exit_code, result.stderr) == (1, "Error: No such company CP1111111111111111111111\n")

    @pytest.mark.parametrize("arguments", [["nonsense"], ["CP1111111111111111111111", "--grace", "soon"], []])
    def test_wrong_usage_is_told(self, billy: Billy, ini_file: Path, arguments: list[str]) -> None:
        assert billy("reset-api-key", *arguments, "-c", ini_file).exit_code == 2


class TestReplaceProcessorKey:
    def test_the_new_key_is_used_and_what_waited_for_it_goes_on(
        self,
        billy: Billy,
        ini_file: Path,
        session: Session,
        vault: Vault,
        make: Factories,
        clock: FrozenClock,
        bystander: Bystander,
    ) -> None:
        waits = {"parked_count": 2, "parked_until": clock.now + timedelta(hours=1), "callback_registered_at": clock.now}
        company = make.company(processor_key="the-old-key", **waits)
        result = billy("replace-processor-key", ini_file, company.guid, input="the-new-key\n")

        assert (result.exit_code, result.stdout) == (0, f"replaced: {company.guid}\n")
        changed = session.get_one(Company, company.guid)
        assert vault.open(changed.sealed_processor_key) == "the-new-key"
        assert (changed.parked_until, changed.parked_count, changed.callback_registered_at) == (None, 0, None)
        assert audited(session, company.guid).action == "replace-processor-key"
        assert "the-new-key" not in audited(session, company.guid).detail

    @pytest.mark.parametrize("key", ["", "\n", "x" * 256])
    def test_what_cannot_be_a_key_changes_nothing(
        self, billy: Billy, ini_file: Path, session: Session, vault: Vault, make: Factories, key: str
    ) -> None:
        company = make.company(processor_key="the-old-key")

        assert billy("replace-processor-key", ini_file, company.guid, input=key).exit_code == 2
        assert vault.open(session.get_one(Company, company.guid).sealed_processor_key) == "the-old-key"

    def test_an_unknown_company_is_told(self, billy: Billy, ini_file: Path) -> None:
        result = billy("replace-processor-key", ini_file, "CP1111111111111111111111", input="key")

        assert (result.exit_code, result.stderr) == (1, "Error: No such company CP1111111111111111111111\n")


class TestRotateSecrets:
    @pytest.fixture
    def newest(self) -> str:
        return new_secret_key()

    @pytest.fixture
    def rotating(self, ini: dict[str, str], newest: str, tmp_path: Path) -> Path:
        """Settings with a new key before the old one, and batches smaller than what there is."""
        keys = f"{newest} {ini['billy.secret_keys']}"
        return write_ini(tmp_path / "rotating.ini", {**ini, "billy.secret_keys": keys, "billy.run.batch_size": "2"})

    def test_afterwards_the_newest_key_opens_everything(
        self, billy: Billy, rotating: Path, make: Factories, session: Session, vault: Vault, newest: str
    ) -> None:
        companies = [
            make.company(processor_key=f"key-{number}", sealed_callback_secret=vault.seal(f"whsec_{number}"))
            for number in range(5)
        ]
        result = billy("rotate-secrets", rotating)

        assert (result.exit_code, result.stdout) == (0, rotated(5, answers=0))
        vault = Vault([newest])  # the old one is not needed any more
        for number, company in enumerate(companies):
            sealed = session.get_one(Company, company.guid)
            assert vault.open(sealed.sealed_processor_key) == f"key-{number}"
            vault.open(sealed.sealed_callback_key)
            assert vault.open(sealed.sealed_callback_secret or "") == f"whsec_{number}"
            assert audited(session, company.guid).action == "rotate-secrets"

    def test_the_answers_of_idempotency_keys_are_encrypted_anew_too(
        self, billy: Billy, rotating: Path, session: Session, clock: FrozenClock, vault: Vault, newest: str
    ) -> None:
        sealed = {f"answered-{number}": vault.seal(f"answer {number}") for number in range(5)}
        sealed |= {"done": Vault([newest]).seal("done"), "lost": Vault([new_secret_key()]).seal("lost"), "open": None}
        for key_hash, answer in sealed.items():
            session.add(
                IdempotencyKey(
                    company_guid=f"CP{key_hash[-1]}",
                    key_hash=key_hash,
                    fingerprint="",
                    new_guid="",
                    owner="",
                    answer_status=answer and 200,
                    sealed_answer=answer,
                    created_at=clock.now,
                    expires_at=clock.now,
                )
            )
        session.commit()
        result = billy("rotate-secrets", rotating)

        assert (result.exit_code, result.stdout) == (1, rotated(0, answers=5))
        assert "1 answers to idempotency keys cannot be opened" in result.stderr
        session.expire_all()
        found = {key.key_hash: key.sealed_answer for key in session.scalars(select(IdempotencyKey))}
        for number in range(5):
            assert Vault([newest]).open(found.pop(f"answered-{number}") or "") == f"answer {number}"
        assert found == {name: sealed[name] for name in ("done", "lost", "open")}

    def test_again_it_skips_what_is_done(self, billy: Billy, rotating: Path, make: Factories, session: Session) -> None:
        done = make.company()
        billy("rotate-secrets", rotating)
        before = session.get_one(Company, done.guid).sealed_processor_key
        session.commit()
        make.company()

        assert billy("rotate-secrets", rotating).stdout == rotated(1, answers=0)
        assert session.get_one(Company, done.guid).sealed_processor_key == before

    def test_one_that_cannot_be_opened_does_not_stop_the_others(
        self, billy: Billy, rotating: Path, make: Factories, session: Session, newest: str
    ) -> None:
        lost = make.company(sealed_callback_key=Vault([new_secret_key()]).seal("lost"))
        before = lost.sealed_processor_key
        other = make.company(processor_key="found")
        result = billy("rotate-secrets", rotating)

        assert (result.exit_code, result.stdout) == (1, rotated(1, answers=0))
        assert lost.guid in result.stderr
        assert session.get_one(Company, lost.guid).sealed_processor_key == before
        assert Vault([newest]).open(session.get_one(Company, other.guid).sealed_processor_key) == "found"


def test_a_generated_secret_is_a_key(billy: Billy) -> None:
    first, second = (billy("generate-secret").stdout.strip() for _ in range(2))

    assert first != second
    assert Fernet(first).decrypt(Fernet(first).encrypt(b"text")) == b"text"


def test_the_wall_clock_is_read_in_utc(billy: Billy, ini_file: Path, session: Session) -> None:
    guid = printed(billy("create-company", ini_file, input="key\n").stdout, "guid")

    assert abs(session.get_one(Company, guid).created_at - datetime.now(UTC)) < timedelta(minutes=1)
