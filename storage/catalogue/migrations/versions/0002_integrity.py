"""What the promises about held bytes, patients, deletion and the audit need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue import audit_triggers_1
from teleread.storage.catalogue.migrate import let_older_run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the tables here."""
    _catalogue_readers()
    let_older_run("catalogue_readers", "0001")
    _audit_head()
    _backups()
    _deletions()
    _identity_corrections()
    _legal_holds()
    _notices()
    _patients()
    _scrubs()
    _store_walks()
    _swept_objects()
    _audit_chain()
    _audit_unsealed()
    _encounters()
    _patient_links()
    _scrub_findings()
    _identity_questions()
    _arrivals()
    _studies()
    _derived()
    _objects()
    _recordings()
    op.execute(
        "INSERT INTO patients (pseudonym, site_id, first_seen_at, identified) "
        "SELECT patient_pseudonym, min(site_id), min(created_at), true FROM studies GROUP BY patient_pseudonym"
    )
    audit_triggers_1.install("audit_events", "audit")


def _catalogue_readers() -> None:
    op.create_table(
        "catalogue_readers",
        sa.Column("oldest", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("oldest", name=op.f("pk_catalogue_readers")),
    )


def _audit_head() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )


def _backups() -> None:
    op.create_table(
        "backups",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backups")),
    )


def _deletions() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("policy_version", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("certificate_key", sa.String(length=200), nullable=True),
        sa.Column("final_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletions")),
        sa.UniqueConstraint("pseudonym", name=op.f("uq_deletions_pseudonym")),
    )


def _identity_corrections() -> None:
    op.create_table(
        "identity_corrections",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("new_pseudonym", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_by", sa.String(length=64), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_corrections")),
    )
    with op.batch_alter_table("identity_corrections", schema=None) as batch_op:
        batch_op.create_index(
            "uq_identity_corrections_open",
            ["case_id"],
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        )


def _legal_holds() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.String(length=64), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_by", sa.String(length=64), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_holds")),
    )
    with op.batch_alter_table("legal_holds", schema=None) as batch_op:
        batch_op.create_index("ix_legal_holds_pseudonym", ["pseudonym"], unique=False)


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=True),
        sa.Column("site_id", sa.String(length=32), nullable=True),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notices_unseen",
            ["account", "site_id"],
            unique=False,
            sqlite_where=sa.text("seen_at IS NULL"),
            postgresql_where=sa.text("seen_at IS NULL"),
        )


def _patients() -> None:
    op.create_table(
        "patients",
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("identified", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pseudonym", name=op.f("pk_patients")),
    )


def _scrubs() -> None:
    op.create_table(
        "scrubs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("asked", sa.Boolean(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position", sa.String(length=200), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scrubs")),
    )


def _store_walks() -> None:
    op.create_table(
        "store_walks",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.String(length=200), nullable=False),
        sa.Column("unclear", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_walks")),
    )


def _swept_objects() -> None:
    op.create_table(
        "swept_objects",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("condemned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_swept_objects")),
    )
    with op.batch_alter_table("swept_objects", schema=None) as batch_op:
        batch_op.create_index("ix_swept_objects_key", ["key"], unique=False)


def _audit_chain() -> None:
    op.create_table(
        "audit_chain",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_events.id"], name=op.f("fk_audit_chain_event_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_chain")),
        sa.UniqueConstraint("event_id", name=op.f("uq_audit_chain_event_id")),
    )


def _audit_unsealed() -> None:
    op.create_table(
        "audit_unsealed",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_events.id"], name=op.f("fk_audit_unsealed_event_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_unsealed")),
    )


def _encounters() -> None:
    op.create_table(
        "encounters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pseudonym"], ["patients.pseudonym"], name=op.f("fk_encounters_pseudonym")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encounters")),
    )
    with op.batch_alter_table("encounters", schema=None) as batch_op:
        batch_op.create_index("ix_encounters_pseudonym", ["pseudonym"], unique=False)


def _patient_links() -> None:
    op.create_table(
        "patient_links",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("other_pseudonym", sa.String(length=32), nullable=False),
        sa.Column("ground", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("linked_by", sa.String(length=64), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unlinked_by", sa.String(length=64), nullable=True),
        sa.Column("unlinked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unlinked_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["other_pseudonym"], ["patients.pseudonym"], name=op.f("fk_patient_links_other_pseudonym")
        ),
        sa.ForeignKeyConstraint(["pseudonym"], ["patients.pseudonym"], name=op.f("fk_patient_links_pseudonym")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_links")),
    )
    with op.batch_alter_table("patient_links", schema=None) as batch_op:
        batch_op.create_index("ix_patient_links_other", ["other_pseudonym"], unique=False)
        batch_op.create_index(
            "uq_patient_links_standing",
            ["pseudonym", "other_pseudonym"],
            unique=True,
            sqlite_where=sa.text("unlinked_at IS NULL"),
            postgresql_where=sa.text("unlinked_at IS NULL"),
        )


def _scrub_findings() -> None:
    op.create_table(
        "scrub_findings",
        sa.Column("scrub_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["scrub_id"], ["scrubs.id"], name=op.f("fk_scrub_findings_scrub_id")),
        sa.PrimaryKeyConstraint("scrub_id", "key", name=op.f("pk_scrub_findings")),
    )


def _identity_questions() -> None:
    op.create_table(
        "identity_questions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("other_pseudonym", sa.String(length=32), nullable=True),
        sa.Column("arrival_id", sa.String(length=32), nullable=True),
        sa.Column("other_arrival_id", sa.String(length=32), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.String(length=64), nullable=True),
        sa.Column("answer", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name=op.f("fk_identity_questions_arrival_id")),
        sa.ForeignKeyConstraint(
            ["other_arrival_id"], ["arrivals.id"], name=op.f("fk_identity_questions_other_arrival_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_questions")),
    )
    with op.batch_alter_table("identity_questions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_identity_questions_open",
            ["asked_at"],
            unique=False,
            sqlite_where=sa.text("answered_at IS NULL"),
            postgresql_where=sa.text("answered_at IS NULL"),
        )
        batch_op.create_index("ix_identity_questions_pseudonym", ["pseudonym"], unique=False)


def _arrivals() -> None:
    with op.batch_alter_table("arrivals", schema=None) as batch_op:
        batch_op.create_index("ix_arrivals_study_id", ["study_id"], unique=False)


def _studies() -> None:
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.create_index("ix_studies_patient", ["patient_pseudonym", "acquired_at"], unique=False)


def _derived() -> None:
    with op.batch_alter_table("derived", schema=None) as batch_op:
        batch_op.add_column(sa.Column("made_with", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("made_at", sa.DateTime(timezone=True), nullable=True))


def _objects() -> None:
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.add_column(sa.Column("root_sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("intake_key", sa.String(length=16), nullable=True))
        batch_op.create_index("ix_objects_intake_key", ["intake_key"], unique=False)
        batch_op.create_index("ix_objects_root_sha256", ["root_sha256"], unique=False)


def _recordings() -> None:
    with op.batch_alter_table("recordings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("code_version", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("flags", sa.JSON(), nullable=True))
