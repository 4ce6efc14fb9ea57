"""One parameter: how it is read from text, and what it may hold.

JSON is strict (``true`` is not 1, ``"500"`` is not 500). In a form everything is text, and each type
here says how it is read. The texts of errors are those of the 2014 Billy, so that what its users show
to people does not change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from dateutil.relativedelta import relativedelta
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError

from billy.api.instants import parse_instant
from billy.models import (
    Customer,
    Frequency,
    InvoiceStatus,
    InvoiceType,
    Plan,
    PlanType,
    SubmitStatus,
    TransactionStatus,
    TransactionType,
)
from billy.models.base import (
    EXTERNAL_ID_LENGTH,
    GUID_LENGTH,
    MAXIMUM_AMOUNT,
    NAME_LENGTH,
    PROCESSOR_KEY_LENGTH,
    STATEMENT_LENGTH,
    URI_LENGTH,
    Owned,
)
from billy.models.plan import MINIMUM_AMOUNT
from billy.models.schedule import LONGEST_INTERVAL

MAXIMUM_LIMIT = 1000
"""A list's ``limit`` above it is lowered to it, and the answer says so."""
MAXIMUM_INTEGER = 2**31 - 1
DESCRIPTION_LENGTH = 10_000
UNIT_LENGTH = 64
FURTHEST_START = relativedelta(years=100)

_TEXTS = {
    "missing": "This field is required.",
    "int_type": "Not a valid integer value",
    "greater_than_equal": "Number must be at least {ge}.",
    "less_than_equal": "Number must be at most {le}.",
    "string_too_long": "Field cannot be longer than {max_length} characters.",
    "string_type": "Not a valid string value",
    "string_unicode": "Field holds a character that cannot be stored",
    "bool_type": "Not a valid choice, must be one of true, false",
    "list_type": "Not a valid list",
    "model_type": "Not a valid object",
    "too_long": "There cannot be more than {max_length} of them.",
    "extra_forbidden": "There is no such field",
}

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}\s*\Z", re.ASCII)
# Printable ASCII but for the asterisk, the comma and the slash: what Balanced took in 2014.
STATEMENT_PATTERN = "^[ -)+.0-~-]*$"
_STATEMENT = re.compile(STATEMENT_PATTERN.strip("^$") + r"\Z")
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:[0-9]{2}\Z)")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a check may ask about besides the value itself."""

    is_text: bool
    """The value comes from a form or a query string."""
    now: datetime
    find: Callable[[type[Owned], str], Owned | None]
    """A record of the caller's company by its guid."""


def text_of(mistake: ErrorDetails) -> str:
    """What the caller is told of a mistake."""
    text = _TEXTS.get(mistake["type"])
    return mistake["msg"] if text is None else text.format_map(mistake.get("ctx", {}))


def _integer(value: Any, info: ValidationInfo[Surroundings]) -> Any:
    # int() alone would take 1_000 and the digits of every script.
    if info.context.is_text and isinstance(value, str):
        if _INTEGER.match(value) is None:
            raise PydanticKnownError("int_type")
        return int(value)
    return value


def _boolean(value: Any, info: ValidationInfo[Surroundings]) -> Any:
    return _BOOLEANS.get(value.lower(), value) if info.context.is_text and isinstance(value, str) else value


def _storable(text: str) -> str:
    # JSON can name half of a surrogate pair, and no database takes it.
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise PydanticCustomError("unstorable", "Field holds a character that cannot be stored")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticKnownError("missing")
    return text


def _statement(text: str) -> str:
    if _STATEMENT.match(text) is None:
        raise PydanticCustomError(
            "statement", "Field can only hold printable ASCII characters, but no asterisk, comma or slash"
        )
    return text


def _instant(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    shown = value.encode("utf-8", "replace").decode()[:64]
    try:
        return parse_instant(value)
    except ValueError:
        raise PydanticCustomError("instant", "Invalid ISO8601 datetime {shown}", {"shown": shown}) from None


def _keep_plus(value: Any) -> Any:
    # In a query string a plus is a blank, and our own instants have one: whoever copies them means it.
    return _LOST_PLUS.sub("+", value) if isinstance(value, str) and "T" in value else value


def _to_come(value: datetime, info: ValidationInfo[Surroundings]) -> datetime:
    now = info.context.now
    shown = {"shown": value.isoformat()}
    if value < now:
        raise PydanticCustomError("past", "Datetime {shown} in the past is not allowed", shown)
    if value > now + FURTHEST_START:
        raise PydanticCustomError("far", "Datetime {shown} is more than 100 years ahead", shown)
    return value


def _choice(enum: type[StrEnum]) -> BeforeValidator:
    def parse(value: Any) -> StrEnum:
        try:
            return enum(value.lower())
        except (ValueError, AttributeError):
            choices = {"choices": ", ".join(enum)}
            raise PydanticCustomError("choice", "Not a valid choice, must be one of {choices}", choices) from None

    return BeforeValidator(parse)


def _reference(model: type[Owned]) -> AfterValidator:
    def exists(guid: str, info: ValidationInfo[Surroundings]) -> str:
        if info.context.find(model, guid) is None:
            named = {"model": model.__name__, "guid": guid[:64]}
            raise PydanticCustomError("reference", "No such {model} record {guid}", named)
        return guid

    return AfterValidator(exists)


def _as_document(**keywords: Any) -> Any:
    # What pydantic cannot see for itself, for the document of the API.
    return Field(json_schema_extra=keywords)


_read_integer = BeforeValidator(_integer)
_text = AfterValidator(_storable)
_required_text = AfterValidator(_not_blank)
_not_blank_text = _as_document(pattern=r"\S")

Amount = Annotated[int, Field(ge=0, le=MAXIMUM_AMOUNT), _read_integer]
PeriodicAmount = Annotated[int, Field(ge=MINIMUM_AMOUNT, le=MAXIMUM_AMOUNT), _read_integer]
RefundAmount = Annotated[int, Field(ge=1, le=MAXIMUM_AMOUNT), _read_integer]
SignedAmount = Annotated[int, Field(ge=-MAXIMUM_AMOUNT, le=MAXIMUM_AMOUNT), _read_integer]
Interval = Annotated[int, Field(ge=1, le=max(LONGEST_INTERVAL.values())), _read_integer]
Count = Annotated[int, Field(ge=0, le=MAXIMUM_INTEGER), _read_integer]
Flag = Annotated[bool, BeforeValidator(_boolean)]
Name = Annotated[str, Field(max_length=NAME_LENGTH), _text]
ItemName = Annotated[str, Field(max_length=NAME_LENGTH), _text, _required_text, _not_blank_text]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH), _text]
Unit = Annotated[str, Field(max_length=UNIT_LENGTH), _text]
ExternalID = Annotated[str, Field(max_length=EXTERNAL_ID_LENGTH), _text]
Uri = Annotated[str, Field(max_length=URI_LENGTH), _text, _required_text, _not_blank_text]
UriFilter = Annotated[str, Field(max_length=URI_LENGTH), _text]
ProcessorKey = Annotated[str, Field(max_length=PROCESSOR_KEY_LENGTH), _text, _required_text, _not_blank_text]
Statement = Annotated[
    str,
    Field(max_length=STATEMENT_LENGTH),
    AfterValidator(_statement),
    _as_document(pattern=STATEMENT_PATTERN),
]
Start = Annotated[datetime, BeforeValidator(_instant), AfterValidator(_to_come)]
Moment = Annotated[datetime, BeforeValidator(_instant), BeforeValidator(_keep_plus)]
CustomerGuid = Annotated[str, _text, _required_text, _reference(Customer)]
PlanGuid = Annotated[str, _text, _required_text, _reference(Plan)]
PlanTypeChoice = Annotated[PlanType, _choice(PlanType)]
FrequencyChoice = Annotated[Frequency, _choice(Frequency)]
InvoiceTypeChoice = Annotated[InvoiceType, _choice(InvoiceType)]
InvoiceStatusChoice = Annotated[InvoiceStatus, _choice(InvoiceStatus)]
SubmitStatusChoice = Annotated[SubmitStatus, _choice(SubmitStatus)]
TransactionStatusChoice = Annotated[TransactionStatus, _choice(TransactionStatus)]
TransactionTypeChoice = Annotated[TransactionType, _choice(TransactionType)]
GuidFilter = Annotated[str, Field(max_length=GUID_LENGTH), _text]
Offset = Annotated[int, Field(ge=0, le=MAXIMUM_INTEGER), _read_integer]
Limit = Annotated[int, Field(ge=1), _read_integer, AfterValidator(lambda limit: min(limit, MAXIMUM_LIMIT))]
