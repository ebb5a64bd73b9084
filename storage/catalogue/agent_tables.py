"""The catalogue's tables of clinics' agents: who may send for which site without a person."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table

from teleread.storage.catalogue.columns import UtcDateTime, metadata

agents = Table(
    "agents",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("site_id", String(32), nullable=False),
    Column("label", String(64), nullable=False),  # which PC; of the person who invited it
    Column("certificate_sha256", String(64), nullable=False, unique=True),  # of its DER bytes
    Column("token_sha256", String(64), nullable=False, unique=True),  # good on loopback only
    Column("next_certificate_sha256", String(64), unique=True),  # given out, and not yet shown by the agent
    Column("next_expires_at", UtcDateTime),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", String(64)),
)
Index("ix_agents_site_id", agents.c.site_id)

# Codes that enrol one agent each. A code is shown once and kept as its hash.
invitations = Table(
    "invitations",
    metadata,
    Column("code_sha256", String(64), primary_key=True),
    Column("site_id", String(32), nullable=False),
    Column("label", String(64), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("agent_id", ForeignKey("agents.id")),  # set when it was used
)
