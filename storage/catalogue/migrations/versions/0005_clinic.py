"""What a clinic says of a case, who has opened it, and who has read a critical report."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue.migrate import let_older_run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Bring the tables here."""
    let_older_run("catalogue_readers", "0001")
    op.create_table(
        "clinic_forms",
        sa.Column("arrival_id", sa.String(length=32), nullable=False),
        sa.Column("chest_pain", sa.String(length=8), nullable=True),
        sa.Column("onset", sa.String(length=8), nullable=True),
        sa.Column("pressure", sa.String(length=8), nullable=True),
        sa.Column("systolic", sa.Integer(), nullable=True),
        sa.Column("diastolic", sa.Integer(), nullable=True),
        sa.Column("drugs", sa.JSON(), nullable=False),
        sa.Column("consent", sa.String(length=8), nullable=True),
        sa.Column("is_the_patient", sa.Boolean(), nullable=True),
        sa.Column("saved_by", sa.String(length=64), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name=op.f("fk_clinic_forms_arrival_id_arrivals")),
        sa.PrimaryKeyConstraint("arrival_id", name=op.f("pk_clinic_forms")),
    )
    op.create_table(
        "case_openings",
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("opened_by", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "opened_by", name=op.f("pk_case_openings")),
    )
    op.create_table(
        "acknowledgements",
        sa.Column("report_id", sa.String(length=32), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("read_by", sa.String(length=64), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name=op.f("fk_acknowledgements_report_id_reports")),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_acknowledgements")),
    )
    with op.batch_alter_table("acknowledgements", schema=None) as batch_op:
        batch_op.create_index("ix_acknowledgements_read_at", ["read_at"], unique=False)
