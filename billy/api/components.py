"""The schemas of the document: what is sent (``schemas``) and what is answered (``resources``), by name.

They do not depend on the server that is asked, so they are made once a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from billy.api import resources
from billy.api.schemas import Line, ListQuery, Schema

Json = dict[str, Any]

_TEMPLATE = "#/components/schemas/{model}"


def reference(name: str) -> Json:
    """To a schema of this name."""
    return {"$ref": _TEMPLATE.format(model=name)}


def form_of(schema: type[Schema]) -> str:
    """The name of the schema of the same parameters as a form."""
    return f"{schema.__name__}Form"


def page_of(item: type) -> str:
    """The name of the schema of a page of these."""
    return f"{item.__name__}Page"


class _Terse(GenerateJsonSchema):
    # Without a title for each field, which would say its name again, and without the default null: that is absence.
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> Json:
        made: Json = super().default_schema(schema)
        if made.get("default", ...) is None:
            del made["default"]
        return made


@cache
def all_schemas() -> Json:
    """Every schema, by its name."""
    return {**_answers(), **_requests()}


def _answers() -> Json:
    shown = {model.__name__: resource for model, resource in resources.OF_MODEL.items()}
    shown |= {other.__name__: other for other in (*resources.OTHERS, resources.InvoiceFields)}
    adapters = [(name, TypeAdapter(resource)) for name, resource in (*shown.items(), ("Page", resources.Page[Any]))]
    made, rest = TypeAdapter.json_schemas(
        [(name, "serialization", adapter) for name, adapter in adapters],
        ref_template=_TEMPLATE,
        schema_generator=_Terse,
    )
    schemas: Json = rest["$defs"]
    inherited = schemas.pop("InvoiceFields")["properties"]
    for kind in (resources.CustomerInvoice, resources.SubscriptionInvoice):
        schemas[kind.__name__]["properties"] |= inherited  # pydantic describes only a type's own fields
    page = schemas.pop("Page_Any_")
    for model in resources.OF_MODEL:
        schemas.setdefault(model.__name__, made[model.__name__, "serialization"])
        items = {"type": "array", "items": reference(model.__name__)}
        schemas[page_of(model)] = {**page, "properties": {**page["properties"], "items": items}}
    return schemas


def _requests() -> Json:
    schemas: Json = {}
    for schema in _kinds_of(Schema):
        made = request_schema(schema)
        schemas |= made.get("$defs", {})
        if not issubclass(schema, ListQuery | Line):
            body: Json = {name: made[name] for name in ("type", "properties", "required") if name in made}
            schemas[schema.__name__] = body
            schemas[form_of(schema)] = _as_form(schema, body)
    return schemas


@cache
def request_schema(schema: type[Schema]) -> Json:
    """A request's parameters as JSON, with what they refer to in ``$defs``."""
    return schema.model_json_schema(ref_template=_TEMPLATE, schema_generator=_Terse)


def without_null(schema: Json) -> Json:
    """The same where there is no null: in a form, or in a query string."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _as_form(schema: type[Schema], body: Json) -> Json:
    """As a form, which spells ``items[0].name`` as ``item_name1``."""
    lists = {f"{kind}s" for kind in schema.numbered}
    properties = {name: without_null(value) for name, value in body["properties"].items() if name not in lists}
    patterns: Json = {}
    for kind, numbered in schema.numbered.items():
        for name, value in request_schema(numbered)["properties"].items():
            properties[f"{kind}_{name}1"] = without_null(value)
            patterns[f"^{kind}s?_{name}[0-9]{{1,18}}$"] = without_null(value)
    form = {**body, "properties": properties}
    return {**form, "patternProperties": patterns} if patterns else form


def _kinds_of(schema: type[Schema]) -> Iterator[type[Schema]]:
    for kind in schema.__subclasses__():
        yield kind
        yield from _kinds_of(kind)
