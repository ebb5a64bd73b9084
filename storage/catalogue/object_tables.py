"""The catalogue's tables of stored objects: which are held, which go, which were backed up and read again."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table

from teleread.storage.catalogue.columns import UtcDateTime, metadata, serial

objects = Table(
    "objects",
    metadata,
    Column("key", String(200), primary_key=True),  # raw/sha256/ab/cd/<hash> or derived/<version>/<arrival>/<name>
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("root_sha256", String(64)),  # the raw object whose key seals this one
    Column("intake_key", String(16)),  # id of the key that wraps that key in the object's header
)
Index("ix_objects_root_sha256", objects.c.root_sha256)
Index("ix_objects_intake_key", objects.c.intake_key)

# Keys that the sweeper is removing or has removed. Who wrote an object under one of them meanwhile writes it again.
swept_objects = Table(
    "swept_objects",
    metadata,
    serial(),
    Column("key", String(200), nullable=False),
    Column("condemned_at", UtcDateTime, nullable=False),
    Column("gone", Boolean, nullable=False),  # false: it may still be there
)
Index("ix_swept_objects_key", swept_objects.c.key)

# How far the walk through the store has come that looks for what nothing names.
store_walks = Table(
    "store_walks",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("position", String(200), nullable=False),  # the last key that was looked at
    Column("unclear", Integer, nullable=False),  # notes of this walk that could not be read and that no row answers
)

backups = Table(
    "backups",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("made_at", UtcDateTime),  # absent: it did not come to its end
    Column("manifest_sha256", String(64)),
    Column("facts", JSON, nullable=False),
)

scrubs = Table(
    "scrubs",
    metadata,
    serial(),
    Column("asked", Boolean, nullable=False),  # false: the slow one that never ends
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("position", String(200), nullable=False),  # the last key that was read; the next run goes on behind it
    Column("objects", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

scrub_findings = Table(
    "scrub_findings",
    metadata,
    Column("scrub_id", ForeignKey("scrubs.id"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("code", String(64), nullable=False),  # object_corrupt | object_missing | key_missing
    Column("found_at", UtcDateTime, nullable=False),
)
