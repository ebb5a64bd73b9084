"""The vault's tables. They stand in a database of their own, with its own keys, backups and readers."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Date,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from teleread.storage.catalogue import schema
from teleread.storage.catalogue.migrate import Migrations
from teleread.storage.catalogue.schema import UtcDateTime, audit_tables

metadata = MetaData(naming_convention=schema.metadata.naming_convention)

identities = Table(
    "identities",
    metadata,
    Column("pseudonym", String(32), primary_key=True),
    # the columns of the version before; what stands in them is sealed and emptied when the vault is opened
    Column("patient_key", String(64), unique=True),
    Column("issuer", Text),
    Column("patient_id", Text),
    Column("name", Text),
    Column("birth_date", Date),
    Column("sex", String(16)),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("lookup", String(64), unique=True),  # keyed hash of (issuer, patient_id), byte for byte
    Column("match_key", String(64)),  # keyed hash of name and birth date, where both are known
    Column("national_key", String(64)),  # keyed hash of a valid national id
    Column("master_id", String(16)),  # which master key wraps the entry's
    Column("entry_key", LargeBinary),  # the entry's own key, wrapped: without it all below is noise
    Column("sealed", LargeBinary),  # the identity, under the entry's key
)
Index("ix_identities_match_key", identities.c.match_key)
Index("ix_identities_national_key", identities.c.national_key)
Index("ix_identities_master_id", identities.c.master_id)

# The keys of stored objects, each wrapped by the key of the entry whose object it is. Bytes that two issuers sent
# have a row for each.
object_keys = Table(
    "object_keys",
    metadata,
    Column("root_sha256", String(64), primary_key=True),
    Column("data_key_id", String(16), primary_key=True),
    Column("pseudonym", ForeignKey("identities.pseudonym"), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("adopted_at", UtcDateTime, nullable=False),  # a backup begun later holds it
)
Index("ix_object_keys_pseudonym", object_keys.c.pseudonym)

# Pseudonyms whose entries are gone for good. A restored backup loses them again.
forgotten = Table(
    "forgotten",
    metadata,
    Column("pseudonym", String(32), primary_key=True),
    Column("forgotten_at", UtcDateTime, nullable=False),
)

project_keys = Table(
    "project_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("key", LargeBinary(32)),  # of the version before; wrapped and emptied when the vault is opened
    Column("master_id", String(16)),
    Column("wrapped", LargeBinary),
)

# One row: the oldest revision whose code may be started on this schema.
readers = Table("vault_readers", metadata, Column("oldest", String(32), primary_key=True))

audit = audit_tables(metadata, "vault_events", "vault")
vault_events = audit.events

joined = Table(  # whose identity an event opened, so that "who looked at this patient" is one look-up
    "joined",
    metadata,
    Column("event_id", ForeignKey("vault_events.id"), primary_key=True),
    Column("pseudonym", String(32), primary_key=True),
)
Index("ix_joined_pseudonym", joined.c.pseudonym)

VAULT = Migrations("vault", Path(__file__).parent / "migrations", "vault_version", metadata)
