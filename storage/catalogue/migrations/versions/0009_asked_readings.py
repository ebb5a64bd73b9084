"""What readers ask each other: the question of a second opinion or a consultation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue.migrate import let_older_run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Bring the tables here."""
    let_older_run("catalogue_readers", "0001")
    op.create_table(
        "asked_readings",
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_asked_readings")),
    )
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        batch_op.create_index(
            "ix_work_items_beside",
            ["claimed_by", "kind", "state"],
            unique=False,
            sqlite_where=sa.text("kind <> 'reading'"),
            postgresql_where=sa.text("kind <> 'reading'"),
        )
    with op.batch_alter_table("discrepancies", schema=None) as batch_op:
        batch_op.create_index(
            "ix_discrepancies_unseen",
            ["report_id"],
            unique=False,
            sqlite_where=sa.text("seen_at IS NULL"),
            postgresql_where=sa.text("seen_at IS NULL"),
        )
