"""The tables of an audit: each database has its own."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table

from teleread.storage.catalogue.columns import UtcDateTime, serial


@dataclass(frozen=True, slots=True)
class AuditTables:
    """One database's audit: events, and the chain that seals them. Every database has its own."""

    events: Table
    unsealed: Table  # written with the event, removed when it is chained
    chain: Table
    head: Table  # one row: the end of the chain, with a keyed check, so that a cut end is seen


def audit_tables(metadata: MetaData, events: str, prefix: str) -> AuditTables:
    """Tables of one audit chain.

    Args:
        events: the events' table.
        prefix: of the other tables' names.
    """
    return AuditTables(
        events=Table(
            events,
            metadata,
            serial(),
            Column("at", UtcDateTime, nullable=False),
            Column("actor", String(64), nullable=False),
            Column("action", String(32), nullable=False),  # land | prepare | enqueue | view | join | sign ...
            Column("object_type", String(16), nullable=False),
            Column("object_id", String(64), nullable=False),
            Column("detail", JSON, nullable=False),
        ),
        unsealed=Table(
            f"{prefix}_unsealed",
            metadata,
            Column("event_id", ForeignKey(f"{events}.id"), primary_key=True),
        ),
        chain=Table(
            f"{prefix}_chain",
            metadata,
            Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
            Column("event_id", ForeignKey(f"{events}.id"), nullable=False, unique=True),
            Column("hash", LargeBinary(32), nullable=False),
        ),
        head=Table(
            f"{prefix}_head",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
            Column("seq", BigInteger, nullable=False),
            Column("hash", LargeBinary(32), nullable=False),
            Column("mac", LargeBinary(32), nullable=False),
            Column("sealed_at", UtcDateTime, nullable=False),
        ),
    )
