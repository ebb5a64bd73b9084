"""The vault's tables. They stand in a database of their own, with its own keys, backups and readers."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from teleread.storage.catalogue import schema
from teleread.storage.catalogue.migrate import Migrations
from teleread.storage.catalogue.schema import UtcDateTime

metadata = MetaData(naming_convention=schema.metadata.naming_convention)

identities = Table(
    "identities",
    metadata,
    Column("pseudonym", String(32), primary_key=True),
    Column("patient_key", String(64), nullable=False, unique=True),  # hash of (issuer, patient_id), byte for byte
    Column("issuer", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("name", Text),
    Column("birth_date", Date),
    Column("sex", String(16)),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

project_keys = Table(
    "project_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("key", LargeBinary(32), nullable=False),
)

vault_events = Table(
    "vault_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),  # enroll | identity_changed | join
    Column("object_type", String(16), nullable=False),
    Column("object_id", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
)

joined = Table(  # whose identity an event opened, so that "who looked at this patient" is one look-up
    "joined",
    metadata,
    Column("event_id", ForeignKey("vault_events.id"), primary_key=True),
    Column("pseudonym", String(32), primary_key=True),
)
Index("ix_joined_pseudonym", joined.c.pseudonym)

VAULT = Migrations("vault", Path(__file__).parent / "migrations", "vault_version", metadata)
