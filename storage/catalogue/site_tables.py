"""The catalogue's tables of sites: how their last pull went, what they are told, what they have listed."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, Text

from teleread.storage.catalogue.columns import UtcDateTime, metadata, partial_index, serial

site_status = Table(
    "site_status",
    metadata,
    Column("site_id", String(32), primary_key=True),
    Column("watermark", UtcDateTime),  # all that the site listed up to here has landed
    Column("last_started_at", UtcDateTime),
    Column("last_ok_at", UtcDateTime),
    Column("last_landed", Integer),
    Column("failing_since", UtcDateTime),
    Column("failure_code", String(64)),
    Column("failure_message", Text),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("next_try_at", UtcDateTime),
    Column("waiting", Integer),  # objects listed by the site and not landed, when known
    Column("unrecognised", Integer),  # files left where they are, because nothing says they are studies
)

site_messages = Table(
    "site_messages",
    metadata,
    serial(),
    Column("site_id", String(32), nullable=False),
    Column("code", String(64), nullable=False),
    Column("safe_message", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("waiting", Integer),
    Column("next_try_at", UtcDateTime),
)
partial_index("uq_site_messages_open", site_messages.c.site_id, unique=True, where=site_messages.c.closed_at.is_(None))

pull_ledger = Table(
    "pull_ledger",
    metadata,
    Column("site_id", String(32), primary_key=True),
    Column("item", String(64), primary_key=True),  # SOP instance UID, or a keyed hash of the file's name
    Column("fingerprint", String(160), nullable=False),  # how the source described it when last seen
    Column("first_seen_at", UtcDateTime, nullable=False),  # with this fingerprint
    Column("arrival_id", String(32)),  # absent until landed with this fingerprint
    Column("refused_code", String(64)),  # why the last try to take it failed
)
