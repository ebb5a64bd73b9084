"""Accounts whose keys of one letter are switched off; indexes of a patient's cases and of what a reader has signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue.migrate import let_older_run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Bring the tables here."""
    let_older_run("catalogue_readers", "0001")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("letter_keys_off", sa.Boolean(), nullable=True))
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        batch_op.create_index("ix_work_items_patient", ["patient_pseudonym"], unique=False)
        batch_op.create_index(
            "ix_work_items_completed",
            ["claimed_by", "ended_at"],
            unique=False,
            sqlite_where=sa.text("state = 'COMPLETED'"),
            postgresql_where=sa.text("state = 'COMPLETED'"),
        )
