"""The packages; all else is in pyproject.toml.

The migrations stand at the top of the checkout, where the ``alembic`` command and every newcomer look
for them. An installed Billy needs them too, so the wheel has the same files as ``billy/migrations``.
"""

from setuptools import find_packages, setup

MIGRATIONS = {"billy.migrations": "alembic", "billy.migrations.versions": "alembic/versions"}

setup(
    packages=[*find_packages(include=["billy", "billy.*"]), *MIGRATIONS],
    package_dir=MIGRATIONS,
    package_data={
        "billy": ["py.typed"],
        "billy.api": ["examples.json", "explorer/*"],
        "billy.migrations": ["script.py.mako"],
    },
    include_package_data=False,
    zip_safe=False,
)
