"""${message[:1].upper() + message[1:]}.

<%text>House rules, to be read and then replaced by why this migration exists:

* Never edit it once it is merged: somebody's database has it already. Write the next one.
* No imports from billy: the models move on, this file does not. Spell tables and columns out.
* Change the schema or the data, not both: two migrations. Data goes in batches.
* ``downgrade`` gets back to the schema before. If data is lost on that way, say so here.
* The site is up meanwhile: the code before and the code after must both work with the result. Add a
  column as nullable, fill it, and make it NOT NULL in a later release; drop what no released code reads.
* Every constraint has the full name of ``billy.models.base.NAMING_CONVENTION``, within ``op.f()``, in at
  most 63 characters.
* Alter with ``op.batch_alter_table``: SQLite rebuilds the table, PostgreSQL just alters it.
* An index on a big table: ``with op.get_context().autocommit_block():`` and
  ``op.create_index(…, postgresql_concurrently=True, if_not_exists=True)``, in a migration of its own,
  because the block ends the transaction and with it the lock that keeps a second upgrade out.
* ``make test`` compares the result with the models, and runs up, down and up again.
</%text>"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
