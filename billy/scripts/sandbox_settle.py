"""``billy sandbox-settle``."""

from __future__ import annotations

import click

from billy.errors import ConfigurationError, NotFound
from billy.processors.base import ReceiptStatus
from billy.processors.sandbox import Sandbox
from billy.scripts import EXIT_CODES
from billy.scripts.common import settings_argument
from billy.settings import Settings


@click.command("sandbox-settle", epilog=EXIT_CODES)
@settings_argument
@click.argument("processor_uri", metavar="PROCESSOR_URI")
@click.option("--failed", is_flag=True, help="The money did not come, or went back.")
def sandbox_settle(settings: Settings, processor_uri: str, *, failed: bool) -> None:
    """Say how a pending charge ended: only with the sandbox processor.

    Takes the transaction's processor_uri and prints the body of the callback that a real processor would
    now send; POST it to /v1/companies/<guid>/callbacks/<callback_key>.
    """
    sandbox = settings.make_processor_factory()
    if not isinstance(sandbox, Sandbox):
        raise ConfigurationError("billy.processor_factory is not the sandbox: a real processor settles by itself")
    try:
        body = sandbox.settle(processor_uri, ReceiptStatus.FAILED if failed else ReceiptStatus.SUCCEEDED)
    except KeyError:
        raise NotFound(f"The sandbox has no record {processor_uri}") from None
    click.echo(body.decode())
