"""What an ini may say, and how every mistake in it is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from billy.errors import ConfigurationError
from billy.processors.sandbox import Sandbox
from billy.secrets import new_secret_key
from billy.settings import Rate, Settings, driver_url, parse_duration

SECRET = new_secret_key()
TOKEN = new_secret_key()
MINIMUM = {
    "sqlalchemy.url": "sqlite:////var/lib/billy.sqlite",
    "billy.secret_keys": SECRET,
    "billy.processor_factory": "billy.processors.sandbox.Sandbox",
}


def load(options: dict[str, Any] | None = None, *, without: str | None = None) -> Settings:
    ini = {**MINIMUM, **(options or {})}
    ini.pop(without, None)
    return Settings.load(ini)


def mistakes(options: dict[str, Any] | None = None, *, without: str | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as refusal:
        load(options, without=without)
    head, *lines = str(refusal.value).splitlines()
    assert head == "the settings have mistakes:"
    return [line.removeprefix("  ") for line in lines]


# What is read


def test_three_options_are_enough() -> None:
    settings = load()

    assert settings.database_url == "sqlite:////var/lib/billy.sqlite"
    assert settings.secret_keys == (SECRET,)
    assert settings.processor_factory is Sandbox


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("maximum_retry", 10),
        (
            "retry_schedule",
            (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=2), timedelta(days=3)),
        ),
        (
            "silence_schedule",
            (timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)),
        ),
        ("lease", timedelta(minutes=2)),
        ("call_deadline", timedelta(seconds=10)),
        ("settle_time", timedelta(seconds=30)),
        ("doubt_alert", timedelta(hours=24)),
        ("request_deadline", timedelta(seconds=25)),
        ("registration", "open"),
        ("registration_token", None),
        ("registration_limit", Rate(20, timedelta(hours=1))),
        ("address_limit", Rate(60, timedelta(minutes=1))),
        ("key_limit", Rate(10, timedelta(minutes=1))),
        ("trusted_proxy", None),
        ("keep_answers", timedelta(hours=24)),
        ("display_callback_key", False),
        ("pretty_print", True),
        ("allowed_origins", ()),
        ("callback_base_url", None),
        ("revision", None),
    ],
)
def test_every_other_option_has_a_default(name: str, default: object) -> None:
    assert getattr(load(), name) == default


@pytest.mark.parametrize(
    ("option", "text", "name", "value"),
    [
        ("billy.transaction.maximum_retry", "0", "maximum_retry", 0),
        ("billy.transaction.lease", "5m", "lease", timedelta(minutes=5)),
        ("billy.transaction.retry_schedule", "1h, 2d", "retry_schedule", (timedelta(hours=1), timedelta(days=2))),
        ("billy.transaction.silence_schedule", "90", "silence_schedule", (timedelta(seconds=90),)),
        ("billy.company.display_callback_key", "true", "display_callback_key", True),
        ("api.json.pretty_print", "false", "pretty_print", False),
        ("api.allowed_origins", "\nhttps://a.example\nhttps://b.example", "allowed_origins", None),
        ("billy.log.format", "json", "log_format", "json"),
        ("billy.revision", " 1a2b3c ", "revision", "1a2b3c"),
        ("sqlalchemy.pool_size", "3", "pool_size", 3),
        ("billy.limit.registrations", "100 / 1d", "registration_limit", Rate(100, timedelta(days=1))),
        ("billy.registration", "closed", "registration", "closed"),
        ("billy.trusted_proxy", "2001:DB8::1", "trusted_proxy", "2001:db8::1"),
        ("billy.trusted_proxy", "*", "trusted_proxy", "*"),
    ],
)
def test_an_option_is_read_as_its_type(option: str, text: str, name: str, value: object) -> None:
    expected = ("https://a.example", "https://b.example") if value is None else value

    assert getattr(load({option: text}), name) == expected


def test_d41_false_is_false() -> None:
    assert load({"api.json.pretty_print": "false"}).pretty_print is False


def test_an_empty_list_of_origins_is_no_origin() -> None:
    assert load({"api.allowed_origins": "\n"}).allowed_origins == ()


@pytest.mark.parametrize("option", ["billy.callback_base_url", "billy.revision"])
def test_an_optional_text_that_is_left_empty_is_unset(option: str) -> None:
    field = {"billy.callback_base_url": "callback_base_url", "billy.revision": "revision"}[option]

    assert getattr(load({option: ""}), field) is None


def test_what_is_pyramids_or_the_servers_is_left_alone() -> None:
    load({"pyramid.includes": "pyramid_debugtoolbar", "use": "egg:billy", "debug_all": "1", "here": "/etc/billy"})


def test_several_secret_keys_are_read_newest_first() -> None:
    old = new_secret_key()

    assert load({"billy.secret_keys": f"{SECRET}\n{old}"}).secret_keys == (SECRET, old)


def test_a_limit_can_be_off() -> None:
    assert load({"billy.limit.failures_per_key": "off"}).key_limit is None


def test_the_retry_policy_is_what_the_options_say() -> None:
    policy = load(
        {
            "billy.transaction.maximum_retry": "3",
            "billy.transaction.retry_schedule": "1h",
            "billy.transaction.silence_schedule": "2m",
        }
    ).retry_policy

    assert policy.maximum_retry == 3
    assert (policy.after_refusal, policy.after_silence) == ((timedelta(hours=1),), (timedelta(minutes=2),))


def test_the_processor_is_made_with_its_own_options_and_the_call_deadline() -> None:
    sandbox = load(
        {"billy.sandbox.idempotent": "false", "billy.transaction.call_deadline": "7s"}
    ).make_processor_factory()

    assert isinstance(sandbox, Sandbox)
    assert sandbox.settings.idempotent is False
    assert sandbox.call_deadline == 7


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().maximum_retry = 11


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://billy@db/billy", "postgresql+psycopg2://billy@db/billy"),
        ("postgres://billy@db/billy", "postgresql+psycopg2://billy@db/billy"),
        ("postgresql+psycopg2://billy@db/billy", "postgresql+psycopg2://billy@db/billy"),
        ("postgresql+psycopg://billy@db/billy", "postgresql+psycopg://billy@db/billy"),
        ("sqlite:////postgresql://x", "sqlite:////postgresql://x"),
    ],
)
def test_a_bare_postgresql_url_means_psycopg2_and_any_other_is_left_alone(url: str, named: str) -> None:
    assert driver_url(url) == named


def test_the_database_url_is_given_its_driver() -> None:
    assert load({"sqlalchemy.url": "postgresql://db/billy"}).database_url == "postgresql+psycopg2://db/billy"


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("2d", 172_800),
        ("1w", 604_800),
        (" 1.5 h ", 5400),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1x", "1h30m", "h", "1 2", "1,5h", "1e3", "1h\n2h"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_duration(text)


# Where secrets come from


def test_a_value_can_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLY_DATABASE", " postgresql://db/billy\n")

    assert load({"sqlalchemy.url": "env:BILLY_DATABASE"}).database_url == "postgresql+psycopg2://db/billy"


def test_a_value_can_stand_in_a_file(tmp_path: Path) -> None:
    old = new_secret_key()
    (tmp_path / "secrets").write_text(f"{SECRET}\n{old}\n")

    assert load({"billy.secret_keys": f"file:{tmp_path}/secrets"}).secret_keys == (SECRET, old)


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_missing_from_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("BILLY_SECRET_KEYS", raising=False)
    if value is not None:
        monkeypatch.setenv("BILLY_SECRET_KEYS", value)

    assert mistakes({"billy.secret_keys": "env:BILLY_SECRET_KEYS"}) == [
        "billy.secret_keys: the environment variable BILLY_SECRET_KEYS is not set"
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (mistake,) = mistakes({"billy.secret_keys": f"file:{tmp_path}/none"})

    assert mistake.startswith(f"billy.secret_keys: cannot read {tmp_path}/none: No such file or directory")


def test_a_file_that_is_no_text_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(b"hush\xff")

    (mistake,) = mistakes({"billy.secret_keys": f"file:{tmp_path}/secrets"})

    assert mistake.startswith("billy.secret_keys: ")
    assert "hush" not in mistake


# Mistakes


@pytest.mark.parametrize("option", MINIMUM)
def test_a_required_option_that_is_missing_is_named(option: str) -> None:
    assert mistakes(without=option) == [f"{option}: is required"]


@pytest.mark.parametrize("option", MINIMUM)
def test_a_required_option_that_is_left_empty_is_named(option: str) -> None:
    (mistake,) = mistakes({option: ""})

    assert mistake.startswith(f"{option}: ")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("billy.transaction.maximum_retry", "ten", "valid integer"),
        ("billy.transaction.maximum_retry", "-1", "greater than or equal to 0"),
        ("billy.transaction.maximum_retry", "1001", "less than or equal to 1000"),
        ("billy.transaction.retry_schedule", ",", "at least 1 item"),
        ("billy.transaction.retry_schedule", "1h 1x", "'1x' is not a duration"),
        ("billy.transaction.lease", "soon", "'soon' is not a duration"),
        ("billy.transaction.doubt_alert", "99999999999w", "too long"),
        ("billy.run.batch_size", "0", "greater than or equal to 1"),
        ("billy.run.keep", "-1d", "is not a duration"),
        ("billy.company.display_callback_key", "perhaps", "valid boolean"),
        ("billy.log.format", "xml", "should match pattern"),
        ("billy.log.level", "LOUD", "should match pattern"),
        ("billy.processor_factory", "billy.processors.nobody.Nobody", "cannot import 'billy.processors.nobody.Nobody'"),
        ("billy.processor_factory", "billy.processors.sandbox.Nobody", "cannot import"),
        ("billy.processor_factory", "datetime.datetime", "is not a processor"),
        ("billy.processors", "sandbox nobody", "there is no processor 'nobody', but balanced, sandbox, stripe"),
        ("billy.processors", "datetime.datetime", "is not a processor"),
        ("billy.sandbox.slow", "-1", "greater than or equal to 0"),
        ("sqlalchemy.url", "the usual one", "database URL"),
        ("sqlalchemy.url", "mysql://db/billy", "database URL"),
        ("billy.registration", "sometimes", "should match pattern"),
        ("billy.registration_token", "short", "must be 32 letters and digits at least"),
        ("billy.registration_token", "with a space in it, and long enough", "must be 32 letters and digits"),
        ("billy.limit.registrations", "20", "'20' is not a rate such as 20/1h"),
        ("billy.limit.registrations", "0/1h", "is not a rate"),
        ("billy.limit.registrations", "20/0", "is not a rate"),
        ("billy.limit.registrations", "20/99999w", "is not a rate such as 20/1h, per year at the longest"),
        ("billy.trusted_proxy", "proxy.example", "'proxy.example' is not an IP address, and not *"),
        ("billy.limit.failures_per_key", "10/soon", "'soon' is not a duration"),
        ("billy.limit.failures_per_address", "none", "is not a rate"),
    ],
)
def test_a_wrong_value_is_named_and_explained(option: str, value: str, text: str) -> None:
    (mistake,) = mistakes({option: value})

    assert mistake.startswith(f"{option}: ")
    assert text in mistake


def test_further_processors_are_made_with_their_own_options() -> None:
    settings = load(
        {
            "billy.processors": "stripe, sandbox billy.processors.balanced.Balanced",
            "billy.stripe.currency": "eur",
            "billy.balanced.base_url": "http://127.0.0.1:1",
            "billy.sandbox.slow": "2",
        }
    )
    stripe, balanced = settings.make_further_factories()  # the default is none of them
    assert (stripe.name, balanced.name) == ("stripe", "balanced")
    assert (stripe.settings.currency, stripe.call_deadline) == ("eur", 10)  # type: ignore[attr-defined]
    assert balanced.settings.base_url == "http://127.0.0.1:1"  # type: ignore[attr-defined]
    assert settings.make_processor_factory().settings.slow == 2  # type: ignore[attr-defined]


def test_an_option_of_a_processor_that_is_not_enabled_is_refused() -> None:
    assert mistakes({"billy.stripe.currency": "eur"}) == ["billy.stripe.currency: there is no such option"]


def test_a_wrong_option_of_a_further_processor_is_named() -> None:
    (mistake,) = mistakes({"billy.processors": "stripe", "billy.stripe.currency": "dollars"})
    assert mistake.startswith("billy.stripe.currency: ")


@pytest.mark.parametrize(
    "option",
    [
        "billy.transaction.leese",
        "billy.sandbox.idempotence",
        "billy.nobody.key",
        "api.allowed_origin",
        "sqlalchemy.pool",
    ],
)
def test_an_option_that_does_not_exist_is_refused(option: str) -> None:
    (mistake,) = mistakes({option: "1"})

    assert mistake.startswith(f"{option}: ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"billy.transaction.lease": "29s"}, "billy.transaction.lease must be at least three times"),
        ({"billy.api.request_deadline": "9s"}, "billy.api.request_deadline must not be below"),
        ({"billy.transaction.call_deadline": "0"}, "billy.transaction.call_deadline must be more than 0"),
        ({"billy.registration": "token"}, "billy.registration = token needs a billy.registration_token"),
        ({"billy.registration": "token", "billy.registration_token": ""}, "needs a billy.registration_token"),
        ({"billy.registration_token": TOKEN}, "protects nothing while billy.registration = open"),
        ({"billy.idempotency.keep": "55s"}, "billy.idempotency.keep must be more than a request may take, 55s"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, str], text: str) -> None:
    (mistake,) = mistakes(options)

    assert text in mistake


@pytest.mark.parametrize(
    "options",
    [
        {"billy.transaction.lease": "30s"},
        {"billy.api.request_deadline": "10s"},
        {"billy.transaction.call_deadline": "1s"},
        {"billy.registration": "token", "billy.registration_token": TOKEN},
        {"billy.registration": "closed", "billy.registration_token": TOKEN},
    ],
)
def test_options_that_just_fit_together_are_accepted(options: dict[str, str]) -> None:
    load(options)


def test_all_mistakes_are_told_at_once() -> None:
    told = mistakes(
        {
            "billy.secret_keys": "env:BILLY_NO_SUCH_VARIABLE",
            "billy.transaction.maximum_retry": "ten",
            "billy.transaction.leese": "2m",
            "billy.sandbox.slow": "-1",
        },
        without="sqlalchemy.url",
    )

    assert [line.partition(":")[0] for line in told] == [
        "billy.sandbox.slow",
        "billy.secret_keys",
        "billy.transaction.leese",
        "billy.transaction.maximum_retry",
        "sqlalchemy.url",
    ]


# Secrets


def test_settings_do_not_show_their_secrets() -> None:
    settings = load(
        {
            "sqlalchemy.url": "postgresql://billy:hush@db/billy",
            "billy.sandbox.ledger": "/hush/ledger",
            "billy.registration": "token",
            "billy.registration_token": f"hush{TOKEN}",
            "billy.metrics_token": "hush",
        }
    )

    assert SECRET not in repr(settings) + str(settings)
    assert "hush" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "key",
    ["hush", "hush" + SECRET, SECRET[:-1] + "é", SECRET + "é"],
    ids=["short", "too long", "not ascii", "not ascii and too long"],
)
def test_a_wrong_secret_key_is_counted_and_not_shown(key: str) -> None:
    (mistake,) = mistakes({"billy.secret_keys": f"{SECRET} {key}"})

    assert mistake.startswith("billy.secret_keys: key 2 ")
    assert key not in mistake
    assert SECRET not in mistake


def test_a_mistake_elsewhere_shows_no_secret() -> None:
    told = mistakes(
        {
            "sqlalchemy.url": "postgresql://billy:hush@db/billy",
            "billy.transaction.maximum_retry": "ten",
            "billy.registration_token": "hush",
        }
    )

    assert not [line for line in told if "hush" in line or SECRET in line]


def test_a_wrong_database_url_does_not_show_its_password() -> None:
    assert not [line for line in mistakes({"sqlalchemy.url": "//billy:hush@db/billy"}) if "hush" in line]


def test_not_even_a_traceback_of_the_validation_shows_a_secret() -> None:
    with pytest.raises(ValidationError) as refusal:
        Settings.model_validate({**MINIMUM, "billy.secret_keys": "hush"})

    assert "hush" not in str(refusal.value)
