"""The ``billy`` command; one file a subcommand, and ``legacy`` for the names of 2014.

Subcommands are imported only when they are run, so that ``billy --help`` need not load SQLAlchemy.
Mistakes that a person can mend are told here, for all of them alike, in a line instead of a traceback.
"""

from __future__ import annotations

import warnings
from importlib import import_module

import click

# Pyramid 2.1 imports it; there is nothing that somebody who types a command could do about that.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)

GROUPS = {
    "Try it": {
        "serve": "Serve the API with the scheduler beside it: for newcomers.",
        "demo": "Play the API's story against a real server, and check every answer.",
    },
    "Run it": {
        "settings": "Print every option of the ini: name, default, meaning.",
        "generate-secret": "Print a fresh key for billy.secret_keys.",
        "init-db": "Make or upgrade the database, and a missing secrets file.",
        "process-transactions": "File the invoices that are due and submit the open transactions.",
    },
    "Companies and their keys": {
        "create-company": "Register a company and print its API key.",
        "list-companies": "List all companies, oldest first.",
        "reset-api-key": "Replace a company's API keys by a new one, and print it.",
        "replace-processor-key": "Replace a company's key at its payment processor by another one of the same account.",
        "rotate-secrets": "Encrypt all stored secrets under the newest secret key.",
    },
    "See how it stands": {
        "status": "Say how the billing stands; exit 1 if something needs a person.",
        "show": "Tell the story of a record, whatever it is, by its guid.",
        "forecast": "Foretell what will be filed and charged, day by day.",
        "verify": "Check every invariant of the books and print what breaks one; exit 1 if anything does.",
    },
    "Set it right": {
        "retry": "Let the next run take a transaction that would wait for longer.",
        "resolve": "End the doubt about a transaction by hand.",
        "reconcile": "Ask the processor about what is pending or in doubt; exit 1 if its books and ours differ.",
        "recover": "After a restore: see to it that what may have been charged since the back-up is looked up.",
    },
    "Test against it": {
        "sandbox-settle": "Say how a pending charge ended: only with the sandbox processor.",
        "balanced-simulator": "Serve a simulator of Balanced Payments, for tests: it moves no money.",
        "stripe-simulator": "Serve a simulator of Stripe, for tests: it moves no money.",
    },
}
"""Name and purpose of each, by what one wants, in the order of ``billy --help``."""

SUBCOMMANDS = {name: purpose for group in GROUPS.values() for name, purpose in group.items()}

EXIT_CODES = """\b
Exit codes:
  0  done
  1  it went wrong: the message says how
  2  wrong usage, or a mistake in the settings"""


class Billy(click.Group):
    """The group that finds ``billy.scripts.<name>`` by itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, imported now."""
        if cmd_name not in SUBCOMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"billy.scripts.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their purposes, without importing them."""
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(group.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run one; what a person can mend becomes a line and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Imported here: a command that does not touch the database need not wait for it.
            from billy.scripts.common import explanation

            told = explanation(error)
            if told is None:
                raise
            raise told from error


@click.group(cls=Billy, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="billy", message="%(prog)s %(version)s")
def main() -> None:
    """Billy, the recurring-billing server.

    Settings are an ini file, the first argument of nearly every command: `billy status development.ini`.
    """
