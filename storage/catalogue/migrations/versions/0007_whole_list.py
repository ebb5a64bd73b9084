"""The index of the whole list serves questions about the whole list alone.

A question about one pool found it cheaper than the pool's own index, and then walked through all that waits for others.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue.migrate import let_older_run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the index anew."""
    let_older_run("catalogue_readers", "0001")
    where = sa.text("state = 'SCHEDULED' AND seq > 0")
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        batch_op.drop_index("ix_work_items_queue")
        batch_op.create_index(
            "ix_work_items_queue",
            ["band", "order_at", "id"],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
        )
