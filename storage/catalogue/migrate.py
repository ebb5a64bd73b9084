"""Bringing a database to the present schema, with Alembic inside one transaction.

A revision is added as ``migrations/versions/<number>_<what>.py``. Code of the version before must run on it: add
columns and tables, fill them, and remove the old ones only a version later. Each says by :func:`let_older_run` how old
the code may be that is started on it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, inspect, text

from teleread.errors import Misconfigured
from teleread.storage.catalogue import schema

# alembic.context is one for the whole process
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Migrations:
    """The history of one schema.

    Args:
        name: what its error codes begin with.
        scripts: folder that holds ``env.py`` and ``versions``.
        version_table: where the database keeps its revision.
        metadata: the tables as they are at the newest revision.
    """

    name: str
    scripts: Path
    version_table: str
    metadata: MetaData


CATALOGUE = Migrations("catalogue", Path(__file__).parent / "migrations", "catalogue_version", schema.metadata)


def upgrade(connection: Connection, migrations: Migrations, to: str = "head") -> bool:
    """Run what is missing, inside the connection's transaction.

    Args:
        connection: in a transaction that may write.
        migrations: of this database.
        to: the revision to stop at; the newest unless a restore needs an older one first.

    Returns:
        Whether anything was missing.

    Raises:
        Misconfigured: ``database_newer`` when the database was made by a newer version of teleread, and does not say
            that code of this one may go on working on it (see :func:`let_older_run`).
    """
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts).replace("%", "%%"))
    config.attributes.update(connection=connection, migrations=migrations)
    current = MigrationContext.configure(connection, opts={"version_table": migrations.version_table})
    before = current.get_current_heads()
    with _one_at_a_time:
        try:
            command.upgrade(config, to)
        except CommandError as error:
            if _may_run(connection, migrations, ScriptDirectory.from_config(config).get_current_head()):
                return False
            raise Misconfigured("database_newer", "the database belongs to another version of teleread") from error
    return current.get_current_heads() != before


def let_older_run(table: str, oldest: str) -> None:
    """Say, inside a revision, which code may run on its outcome: that of ``oldest`` and all since.

    Processes of the version before are started anew while an upgrade goes on; a revision that only adds lets them.

    Args:
        table: ``catalogue_readers`` or ``vault_readers``; part of the schema since revision 0002.
        oldest: number of a revision.
    """
    op.execute(f"DELETE FROM {table}")
    op.execute(f"INSERT INTO {table} (oldest) VALUES ('{oldest}')")


def _may_run(connection: Connection, migrations: Migrations, own: str | None) -> bool:
    table = f"{migrations.name}_readers"
    if own is None or not inspect(connection).has_table(table):
        return False
    oldest = connection.execute(text(f"SELECT oldest FROM {table}")).scalar_one_or_none()
    return oldest is not None and str(oldest) <= own


def run_environment() -> None:
    """What each ``env.py`` does."""
    migrations: Migrations = context.config.attributes["migrations"]
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=migrations.metadata,
        version_table=migrations.version_table,
        # SQLite too rolls back a half-made schema, since the transaction is begun by ourselves
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
