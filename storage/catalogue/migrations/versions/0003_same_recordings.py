"""Recordings that come more than once, in several encodings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue.migrate import let_older_run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Bring the tables here."""
    let_older_run("catalogue_readers", "0001")
    op.create_table(
        "fingerprints",
        sa.Column("arrival_id", sa.String(length=32), nullable=False),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("level_ii_uv", sa.Float(), nullable=True),
        sa.Column("level_v2_uv", sa.Float(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["arrival_id"], ["arrivals.id"], name=op.f("fk_fingerprints_arrival_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("arrival_id", name=op.f("pk_fingerprints")),
    )
    with op.batch_alter_table("fingerprints", schema=None) as batch_op:
        batch_op.create_index("ix_fingerprints_acquired_at", ["acquired_at"], unique=False)
        batch_op.create_index("ix_fingerprints_level_ii_uv", ["level_ii_uv"], unique=False)
    op.create_table(
        "same_recordings",
        sa.Column("arrival_id", sa.String(length=32), nullable=False),
        sa.Column("other_arrival_id", sa.String(length=32), nullable=False),
        sa.Column("read_once", sa.Boolean(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["arrival_id"], ["arrivals.id"], name=op.f("fk_same_recordings_arrival_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["other_arrival_id"],
            ["arrivals.id"],
            name=op.f("fk_same_recordings_other_arrival_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("arrival_id", "other_arrival_id", name=op.f("pk_same_recordings")),
    )
    with op.batch_alter_table("same_recordings", schema=None) as batch_op:
        batch_op.create_index("ix_same_recordings_other", ["other_arrival_id"], unique=False)
