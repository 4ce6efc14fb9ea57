"""``billy generate-secret``."""

from __future__ import annotations

import click

from billy.scripts import EXIT_CODES
from billy.secrets import new_secret_key


@click.command("generate-secret", epilog=EXIT_CODES)
def generate_secret() -> None:
    """Print a fresh key for billy.secret_keys.

    It encrypts the companies' processor keys: put it where the server and the scheduler read it, and
    nowhere else. To replace a key, put the new one before the old, restart everything, and run
    `billy rotate-secrets`.
    """
    click.echo(new_secret_key())
