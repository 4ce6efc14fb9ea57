from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billy.db import make_engine, read_only
from billy.log import REDACTED, set_up_logging
from billy.settings import Settings


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
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


def test_the_secret_of_a_callbacks_address_is_blanked_in_what_a_web_server_tells(line):
    logging.getLogger("waitress").error("Exception while serving %s", "/v1/companies/CP1/callbacks/s3cret?x=1")

    assert line()["event"] == f"Exception while serving /v1/companies/CP1/callbacks/{REDACTED}?x=1"


@pytest.mark.parametrize("header", ["Authorization Basic c2VjcmV0Og==", "authorization : bearer c2VjcmV0Og=="])
def test_credentials_are_blanked_in_what_a_web_server_tells(line, header):
    logging.getLogger("gunicorn.error").warning("Invalid HTTP Header: %r", header)

    told = str(line()["event"])
    assert REDACTED in told
    assert "c2Vj" not in told


POSTGRESQL_SAYS = """duplicate key value violates unique constraint "uq_plan_external_id"
LINE 1: INSERT INTO plan VALUES ('the-secret', 2)
                                 ^
DETAIL:  Key (external_id)=(the-secret
over two lines) already exists.
HINT:  the-secret
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_has_none_of_the_values_that_postgresql_quotes(settings, capsys, log_format):
    set_up_logging(settings.model_copy(update={"log_format": log_format}))
    parameters = {"key": "the-secret"}
    try:
        try:
            raise ValueError(POSTGRESQL_SAYS)
        except ValueError as cause:
            raise IntegrityError("INSERT INTO plan", parameters, cause, hide_parameters=True) from cause
    except IntegrityError:
        structlog.get_logger("billy").exception("thing_crashed")
        logging.getLogger("some.library").exception("it crashed at /callbacks/the-secret")

    told = capsys.readouterr().err
    assert told.count("uq_plan_external_id") == 4, "of both loggers the error and its cause"
    assert told.count("[SQL: INSERT INTO plan]") == 2
    assert told.count("The above exception was the direct cause") == 2
    assert "the-secret" not in told


def test_a_callbacks_address_is_blanked_in_a_traceback(line):
    try:
        raise ValueError("/v1/companies/CP1/callbacks/s3cret")
    except ValueError:
        structlog.get_logger("billy").exception("thing_crashed")

    told = str(line()["exception"])
    assert f"/callbacks/{REDACTED}" in told
    assert "s3cret" not in told


def test_rows_and_statements_are_not_logged_at_any_level(settings, capsys, engine):
    set_up_logging(settings.model_copy(update={"log_format": "json", "log_level": "DEBUG"}))
    fresh = make_engine(settings)
    with read_only(fresh).connect() as connection:
        assert connection.scalar(text("SELECT 'the-secret'")) == "the-secret"
    fresh.dispose()

    assert capsys.readouterr().err == ""
