"""Write the next revision from what the tables have become.

    python -m teleread.storage.catalogue.autogenerate catalogue|vault what_changes

The file is a draft: read it, and see that code of the version before runs on its outcome.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.migrate import CATALOGUE, Migrations
from teleread.storage.catalogue.schema import UtcDateTime
from teleread.storage.vault.schema import VAULT

_FILE = '''"""{title}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{number:04d}"
down_revision = {before}


def upgrade() -> None:
    """Bring the tables here."""
{body}
'''


def write_revision(migrations: Migrations, what: str) -> Path:
    """Compare the newest revision with the tables and write the file that leads from one to the other.

    Args:
        migrations: whose.
        what: snake case, becomes the file's name and title.
    """
    versions = migrations.scripts / "versions"
    number = len(sorted(versions.glob("[0-9]*.py"))) + 1
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/now.sqlite", migrations=migrations)
        if number > 1:
            database.migrate()
        with database.read() as connection:
            options: dict[str, Any] = {"version_table": migrations.version_table, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            changes = produce_migrations(context, migrations.metadata).upgrade_ops
        database.close()
    if changes is None or changes.is_empty():
        raise SystemExit("the newest revision is the schema already")
    body = render_python_code(changes, render_item=_plain_type, render_as_batch=number > 1)
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("#")]
    path = versions / f"{number:04d}_{what}.py"
    path.write_text(
        _FILE.format(
            title=what.replace("_", " ").capitalize(),
            number=number,
            before=f'"{number - 1:04d}"' if number > 1 else None,
            body="\n".join(lines).rstrip(),
        )
    )
    return path


def _plain_type(kind: str, item: object, _: object) -> str | Literal[False]:
    # a revision never changes, so it names no type of ours that may
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


if __name__ == "__main__":
    sys.stdout.write(f"{write_revision({'catalogue': CATALOGUE, 'vault': VAULT}[sys.argv[1]], sys.argv[2])}\n")
