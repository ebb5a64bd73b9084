"""Identities under keys of their own, keys of stored objects, and the chain of the vault's audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from teleread.storage.catalogue import audit_triggers_1
from teleread.storage.catalogue.migrate import let_older_run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the tables here."""
    _vault_readers()
    let_older_run("vault_readers", "0002")
    _forgotten()
    _vault_head()
    _object_keys()
    _vault_chain()
    _vault_unsealed()
    _identities()
    _project_keys()
    audit_triggers_1.install("vault_events", "vault")


def _vault_readers() -> None:
    op.create_table(
        "vault_readers",
        sa.Column("oldest", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("oldest", name=op.f("pk_vault_readers")),
    )


def _forgotten() -> None:
    op.create_table(
        "forgotten",
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pseudonym", name=op.f("pk_forgotten")),
    )


def _vault_head() -> None:
    op.create_table(
        "vault_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault_head")),
    )


def _object_keys() -> None:
    op.create_table(
        "object_keys",
        sa.Column("root_sha256", sa.String(length=64), nullable=False),
        sa.Column("data_key_id", sa.String(length=16), nullable=False),
        sa.Column("pseudonym", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pseudonym"], ["identities.pseudonym"], name=op.f("fk_object_keys_pseudonym")),
        sa.PrimaryKeyConstraint("root_sha256", "data_key_id", "pseudonym", name=op.f("pk_object_keys")),
    )
    with op.batch_alter_table("object_keys", schema=None) as batch_op:
        batch_op.create_index("ix_object_keys_pseudonym", ["pseudonym"], unique=False)


def _vault_chain() -> None:
    op.create_table(
        "vault_chain",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["vault_events.id"], name=op.f("fk_vault_chain_event_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_vault_chain")),
        sa.UniqueConstraint("event_id", name=op.f("uq_vault_chain_event_id")),
    )


def _vault_unsealed() -> None:
    op.create_table(
        "vault_unsealed",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["vault_events.id"], name=op.f("fk_vault_unsealed_event_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_vault_unsealed")),
    )


def _identities() -> None:
    with op.batch_alter_table("identities", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lookup", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("match_key", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("national_key", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("master_id", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("entry_key", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("sealed", sa.LargeBinary(), nullable=True))
        batch_op.alter_column("patient_key", existing_type=sa.VARCHAR(length=64), nullable=True)
        batch_op.alter_column("issuer", existing_type=sa.TEXT(), nullable=True)
        batch_op.alter_column("patient_id", existing_type=sa.TEXT(), nullable=True)
        batch_op.create_index("ix_identities_master_id", ["master_id"], unique=False)
        batch_op.create_index("ix_identities_match_key", ["match_key"], unique=False)
        batch_op.create_index("ix_identities_national_key", ["national_key"], unique=False)
        batch_op.create_unique_constraint(batch_op.f("uq_identities_lookup"), ["lookup"])


def _project_keys() -> None:
    with op.batch_alter_table("project_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("master_id", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("wrapped", sa.LargeBinary(), nullable=True))
        batch_op.alter_column("key", existing_type=sa.BLOB(), nullable=True)
