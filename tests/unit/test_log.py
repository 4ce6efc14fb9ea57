from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from billy.log import REDACTED, set_up_logging
from billy.settings import Settings


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def line(settings: Settings, capsys: pytest.CaptureFixture[str]):
    """What one event becomes, read as JSON."""
    set_up_logging(settings.model_copy(update={"log_format": "json", "log_level": "INFO"}))

    def read() -> dict[str, object]:
        [text] = capsys.readouterr().err.splitlines()
        return json.loads(text)

    return read


def test_an_event_is_one_line_of_json_with_its_level_logger_and_time(line):
    structlog.get_logger("billy.here").info("thing_happened", invoice="IV1")

    event = line()
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "thing_happened", "invoice": "IV1", "level": "info", "logger": "billy.here"}


def test_what_a_library_logs_looks_the_same(line):
    logging.getLogger("some.library").warning("it is %s", "late")

    event = line()
    assert (event["event"], event["level"], event["logger"]) == ("it is late", "warning", "some.library")


def test_the_id_of_a_request_is_in_each_line_of_it(line):
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("billy").info("thing_happened")

    assert line()["request_id"] == "r1"


def test_a_secret_is_blanked_at_any_depth(line):
    structlog.get_logger("billy").info("thing_happened", api_key="a", inner={"deep": {"password": "b"}, "amount": 1})

    event = line()
    assert (event["api_key"], event["inner"]) == (REDACTED, {"deep": {"password": REDACTED}, "amount": 1})


@pytest.mark.parametrize("value", [2**70, "half a pair \ud800", object(), {1: "a number for a name"}])
def test_no_value_can_lose_a_line(line, value):
    structlog.get_logger("billy").info("thing_happened", value=value)

    assert line()["event"] == "thing_happened"


def test_less_than_the_level_is_not_logged(line, capsys):
    structlog.get_logger("billy").debug("thing_happened")

    assert capsys.readouterr().err == ""


def test_an_exception_comes_with_its_traceback_and_without_the_values_of_variables(line):
    secret = "sk_do_not_tell"
    try:
        raise ValueError("something")
    except ValueError:
        structlog.get_logger("billy").exception("thing_crashed")

    told = str(line()["exception"])
    assert "ValueError: something" in told
    assert secret not in told
