"""What the pages of ``reference/`` print of the code: operations, fields, errors, settings, commands.

Those pages are Jinja templates of Markdown, filled in at each build: the API from the document that a server serves
at ``/v1/openapi.json``, with the examples that a test recorded. A library that draws OpenAPI 3.1 without a script from
somebody's server was not to be found, and what is needed of one is little. ``billy.api.schemas``, ``resources`` and the
views' docstrings are where to change what is said here.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

import click
from jinja2 import Environment, StrictUndefined
from sphinx.application import Sphinx

from billy.api import openapi
from billy.api.operations import operations
from billy.app import make_app
from billy.scripts import GROUPS
from billy.scripts.settings import default_of, options_of
from billy.secrets import new_secret_key
from billy.settings import Settings

Json = dict[str, Any]

BASE = "http://127.0.0.1:6543"
GUID_PARENTS = {
    "companies": "create_company",
    "customers": "show_customer",
    "plans": "show_plan",
    "subscriptions": "show_subscription",
    "invoices": "show_invoice",
    "transactions": "show_transaction",
}
"""Whose example has the guid of an address."""

_TOLD = re.compile(r"`(\w+)`: (.+)", re.DOTALL)
_GUID = "^[A-Z]{2}["
_ERROR = ("status", "`error_class`", "meaning")


def curl(method: str, address: str, *, key: str | None, request: Json | None) -> str:
    """The command line that sends a recorded request, as a form."""
    words = [f"curl {shlex.quote(BASE + address)}"]
    if method != ("POST" if request else "GET"):
        words.append(f"-X {method}")
    if key is not None:
        words.append(f"-u {key}:")
    words += [f"-d {shlex.quote(f'{name}={value}')}" for name, value in form(request or {})]
    return " \\\n    ".join(words)


def form(request: Json) -> Iterator[tuple[str, object]]:
    """A JSON body as the form that says the same: ``items[0].name`` is ``item_name1``."""
    for name, value in request.items():
        if isinstance(value, list):
            for number, line in enumerate(value, 1):
                yield from ((f"{name.removesuffix('s')}_{column}{number}", text) for column, text in line.items())
        else:
            yield name, str(value).lower() if isinstance(value, bool) else value


class Printed:
    """What the templates may call; each answers Markdown."""

    def __init__(self, document: Json, examples: Json, raised: dict[str, set[str]]) -> None:
        """``raised`` are the classes of errors that an operation's own verb may answer with."""
        self.schemas: Json = document["components"]["schemas"]
        self._shared: Json = document["components"]["responses"]
        self._examples = examples
        self._raised = raised
        self._operations = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    @classmethod
    def of_this_server(cls) -> Printed:
        """What a server of this checkout says of itself."""
        settings = {
            "sqlalchemy.url": "sqlite://",
            "billy.secret_keys": new_secret_key(),
            "billy.processor_factory": "billy.processors.sandbox.Sandbox",
        }
        registry = make_app(Settings.load(settings)).registry
        raised = {
            operation.id: {error.__new__(error).error_class for error in operation.raises}
            for operation in operations(registry)
        }
        return cls(json.loads(openapi.as_json(registry)), openapi.examples(), raised)

    # -- the API -------------------------------------------------------------------------------------

    def conventions(self) -> str:
        """What goes for every request."""
        return openapi.DESCRIPTION

    def operation(self, name: str, title: str, caller: Callable[[], str] = lambda: "") -> str:
        """One operation: parameters, an example, errors; between them what the page says of it."""
        method, path, described = self._operations[name]
        parts = [f"({name})=\n### {title}", f"**`{method} {path}`**"]
        parts.append(caller().strip() or described["summary"])
        parts.append(self._parameters(name, path, described))
        parts.append(self._example(name, method, path, described))
        parts.append(self._errors(name, described))
        return "\n\n".join(filter(None, parts))

    def fields(self, *names: str) -> str:
        """The fields of a resource; of several names, those of all of them."""
        kinds: dict[str, list[str]] = {}
        meanings: dict[str, str] = {}
        for name in names:
            for field, schema in self.schemas[name]["properties"].items():
                kind = self._kind(schema) + ("" if field in self.schemas[name]["required"] else ", not always there")
                kinds[field] = list(dict.fromkeys([*kinds.get(field, ()), kind]))
                meanings[field] = self._meaning(schema)
        lines = [f"| `{field}` | {' '.join(kinds[field])} | {meanings[field]} |" for field in kinds]
        return _table(("field", "type", "meaning"), lines)

    def errors(self) -> str:
        """Every error there is."""
        found = {told for _, _, described in self._operations.values() for told in self._told(described)}
        return _table(_ERROR, [f"| {status} | `{error}` | {text} |" for status, error, text in sorted(found)])

    @cached_property
    def _key(self) -> str:
        key: str = self._examples["create_company"]["response"]["api_key"]
        return key

    def list_parameters(self) -> str:
        """What every list takes."""
        return _parameter_table(self._query(self._operations["list_plans"][2], of_every_list=True))

    def _parameters(self, name: str, path: str, described: Json) -> str:
        if "requestBody" in described:
            schema = described["requestBody"]["content"]["application/json"]["schema"]
            return self._body(schema) if schema else ""
        filters = self._query(described, of_every_list=False)
        if not filters:
            return ""
        as_everywhere = "Parameters are those of [every list](index.md#lists), and as filters"
        same = f"list_{path.rpartition('/')[2]}"
        if same != name:
            return f"{as_everywhere} those of [{self._operations[same][1]}](#{same})."
        return f"{as_everywhere}:\n\n{_parameter_table(filters)}"

    def _body(self, schema: Json) -> str:
        schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        required = schema.get("required", [])
        return _parameter_table(
            f"| `{name}` | {'**required**' if name in required else _default(each)} | {self._kind(each, sent=True)} "
            f"| {self._meaning(each)} |"
            for name, each in schema["properties"].items()
        )

    def _query(self, described: Json, *, of_every_list: bool) -> list[str]:
        return [
            f"| `{each['name']}` | {_default(each['schema'])} | {self._kind(each['schema'], sent=True)} "
            f"| {each.get('description') or self._meaning(each['schema'])} |"
            for each in described.get("parameters", ())
            if each.get("in") == "query" and (each["name"] in self._of_every_list) == of_every_list
        ]

    @cached_property
    def _of_every_list(self) -> set[str]:
        lists = [described for name, (_, _, described) in self._operations.items() if name.startswith("list_")]
        return set.intersection(*({each.get("name", "") for each in described["parameters"]} for described in lists))

    def _kind(self, schema: Json, *, sent: bool = False) -> str:
        """The type of a value in words; of what is ``sent``, null is the same as leaving it out."""
        if "anyOf" in schema:
            kinds = [self._kind(each, sent=sent) for each in schema["anyOf"] if not (sent and each == {"type": "null"})]
            return " or ".join(kinds)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self._kind(self.schemas[name], sent=sent)
        if "enum" in schema:
            return " ".join(f"`{value}`" for value in schema["enum"])
        if "const" in schema:
            return f"`{schema['const']}`"
        if schema.get("format") == "date-time":
            return "instant"
        if schema["type"] == "array":
            items = schema["items"]
            return f"list of {_plural(items['$ref'].rpartition('/')[2]) if '$ref' in items else self._kind(items)}"
        if schema["type"] == "integer":
            most = f" to {schema['maximum']:,}" if "maximum" in schema else " or more"
            return f"integer, {schema['minimum']:,}{most}" if "minimum" in schema else "integer"
        if schema["type"] == "string":
            if schema.get("pattern", "").startswith(_GUID):
                return "guid"
            return f"text, at most {schema['maxLength']} characters" if "maxLength" in schema else "text"
        if "properties" in schema:
            return f"object with {', '.join(f'`{name}`' for name in schema['properties'])}"
        if "additionalProperties" in schema:
            return f"object, by name: {self._kind(schema['additionalProperties'])}"
        return str(schema["type"])

    def _meaning(self, schema: Json) -> str:
        """What is said of a value, or else of all values of its kind."""
        kinds = [schema, *schema.get("anyOf", ())]
        said = [kind.get("description") or self._of_kind(kind).get("description") for kind in kinds]
        return next(filter(None, said), "")

    def _of_kind(self, schema: Json) -> Json:
        kind: Json = self.schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
        return kind

    def _example(self, name: str, method: str, path: str, described: Json) -> str:
        if name not in self._examples:
            return f"```sh\n{curl(method, path, key=None, request=None)}\n```"
        example = self._examples[name]
        key = self._key if any("api_key" in way for way in described["security"]) else None
        parts = []
        if name != "receive_callback":  # which nobody sends by hand
            parts.append(
                f"```sh\n{curl(method, self._address(name, path), key=key, request=example.get('request'))}\n```"
            )
        parts.append(f"```json\n{json.dumps(example['response'], indent=4, ensure_ascii=False)}\n```")
        return "\n\n".join(parts)

    def _address(self, name: str, path: str) -> str:
        noun = path.split("/")[2] if path.count("/") > 1 else ""
        if "{guid}" in path:
            own = self._examples[name]["response"].get("guid")
            others = self._examples[GUID_PARENTS[noun]]["response"]["guid"]
            path = path.replace("{guid}", own if own and own[:2] == others[:2] else others)
        return f"{path}?limit=1" if name.startswith("list_") else path  # as it was recorded

    def _told(self, described: Json) -> Iterator[tuple[str, str, str]]:
        for status, answer in described["responses"].items():
            if "$ref" in answer:
                answer = self._shared[answer["$ref"].rpartition("/")[2]]
            for told in answer["description"].split("\n\n"):
                if int(status) >= 400 and (match := _TOLD.fullmatch(told)):
                    yield status, match[1], match[2]

    def _errors(self, name: str, described: Json) -> str:
        lines = [
            f"| {status} | `{error}` | {text} |"
            for status, error, text in self._told(described)
            if error in self._raised[name]
        ]
        if not lines:
            return "Errors: [those of any request](errors.md)."
        return "Errors, besides [those of any request](errors.md):\n\n" + _table(_ERROR, lines)

    # -- settings and commands -----------------------------------------------------------------------

    def settings(self) -> str:
        """Every option of the ini."""
        lines = [
            f"| `{name}` | {f'`{default}`' if (default := default_of(field)) else ''} | {field.description} |"
            for name, field in options_of(Settings)
        ]
        return _table(("option", "default", "meaning"), lines)

    def commands(self) -> str:
        """What each command says of itself."""
        parts = []
        for title, group in GROUPS.items():
            parts.append(f"## {title}")
            for name in group:
                underscored = name.replace("-", "_")
                command: click.Command = getattr(import_module(f"billy.scripts.{underscored}"), underscored)
                context = click.Context(
                    command, info_name=f"billy {name}", terminal_width=80, help_option_names=["-h", "--help"]
                )
                parts.append(f"### {name}\n\n```text\n{command.get_help(context)}\n```")
        return "\n\n".join(parts)


def _parameter_table(lines: Iterable[str]) -> str:
    return _table(("parameter", "", "type", "meaning"), lines)


def _default(schema: Json) -> str:
    default = schema.get("default")
    return "optional" if default is None or default is False or default == [] else f"default {default}"


def _table(head: tuple[str, ...], lines: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def _plural(name: str) -> str:
    return {"InvoiceItem": "items", "InvoiceAdjustment": "adjustments", "TransactionFailure": "failures"}.get(
        name, f"{name.lower()}s"
    )


def setup(app: Sphinx) -> Json:
    """Fill in the templates as Sphinx reads them."""
    printed = Printed.of_this_server()
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701  # Markdown, of our own

    def fill_in(app: Sphinx, name: str, source: list[str]) -> None:
        if name.startswith("reference/"):
            source[0] = environment.from_string(source[0]).render(printed=printed)

    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
