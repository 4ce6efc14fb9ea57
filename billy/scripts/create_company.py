"""``billy create-company``: what POST /v1/companies does, where that is closed to the outside."""

from __future__ import annotations

import click

from billy import clock
from billy.models import AuditEntry, Company
from billy.models.base import NAME_LENGTH, PROCESSOR_KEY_LENGTH
from billy.scripts import EXIT_CODES
from billy.scripts.common import open_sessions, operator, read_secret, settings_argument
from billy.secrets import Vault
from billy.settings import Settings


@click.command("create-company", epilog=EXIT_CODES)
@settings_argument
@click.option("--name", help="What people call it.")
@click.option(
    "--processor-key",
    envvar="BILLY_PROCESSOR_KEY",
    show_envvar=True,
    help="Its key at the payment processor. Others may see a command's options: rather leave it out, and it is"
    " asked for, or read from standard input.",
)
@click.option("--processor", help="The name of its processor, if it is not the server's default.")
def create_company(settings: Settings, name: str | None, processor_key: str | None, processor: str | None) -> None:
    """Register a company and print its API key.

    The API key is shown this once and kept only as a hash. Where billy.callback_base_url is set, the next run
    of the scheduler has the processor call back there. The registration is audited.
    """
    processor_key = processor_key.strip() if processor_key else read_secret("Processor key")
    if not 0 < len(processor_key) <= PROCESSOR_KEY_LENGTH:
        raise click.UsageError(f"A processor key has 1 to {PROCESSOR_KEY_LENGTH} characters.")
    if name is not None and len(name) > NAME_LENGTH:
        raise click.UsageError(f"A name has at most {NAME_LENGTH} characters.")
    names = [factory.name for factory in (settings.processor_factory, *settings.further_processors)]
    if processor is not None and processor not in names:
        raise click.UsageError(f"The settings name {', '.join(names)}, and no processor {processor}.")
    vault, now = Vault(settings.secret_keys), clock.utc_now()
    with open_sessions(settings).begin() as session:
        company, api_key = Company.register(
            session,
            vault,
            now,
            processor_key=processor_key,
            processor=processor or names[0],
            name=name or None,
            callback_base_url=settings.callback_base_url,
        )
        session.add(
            AuditEntry.of(
                now,
                company_guid=company.guid,
                actor=operator(),
                action="create-company",
                subject_guid=company.guid,
                detail="registered on the command line",
            )
        )
    click.echo(f"guid: {company.guid}\napi_key: {api_key}")
