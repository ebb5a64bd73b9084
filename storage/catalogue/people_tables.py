"""The catalogue's tables of people: their accounts, sessions, keys, and access that no role gives."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text

from teleread.storage.catalogue.columns import UtcDateTime, metadata, serial

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(16), nullable=False),  # one of storage/accounts.ROLES
    Column("site_id", String(32)),  # uploaders belong to one site
    Column("created_at", UtcDateTime, nullable=False),
    Column("display_name", String(64)),  # as a clinic reads it
    Column("disabled_at", UtcDateTime),
    Column("failures", Integer, nullable=False, server_default="0"),  # wrong passwords, one after the other
    Column("locked_until", UtcDateTime),
    Column("second_factor", Text),  # sealed; absent: none
    Column("second_factor_step", Integer),  # the last one taken, which is good once
    Column("letter_keys_off", Boolean),  # pages act on no key of one letter; absent: they do
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),  # ends when unused for too long
    Column("second_factor_at", UtcDateTime),
    Column("unlocked_until", UtcDateTime),  # the PIN was given: signing needs it no more until then
    Column("unlocked_key", Text),  # the signing key, which only the session's own token opens
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("name_sha256", String(64), primary_key=True),  # what was typed may be anything, also a password
    Column("started_at", UtcDateTime, nullable=False),  # of the first attempt that still counts
    Column("attempts", Integer, nullable=False),
)

# Keys that reports are signed with. The private part opens with its owner's PIN alone.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of the public part
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("algorithm", String(16), nullable=False),  # ed25519
    Column("public_key", Text, nullable=False),  # base64
    Column("sealed_private", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),  # signs no longer; what it has signed stays good
    Column("wrong_pins", Integer, nullable=False, server_default="0"),
    Column("locked_until", UtcDateTime),
)
Index("ix_signing_keys_account", signing_keys.c.account)

# Access that no role gives, taken with a reason, for a while, and looked at afterwards.
break_glass = Table(
    "break_glass",
    metadata,
    serial(),
    Column("account", String(64), nullable=False),
    Column("case_id", String(32), nullable=False),
    Column("reason", String(32), nullable=False),  # a code
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reviewed_by", String(64)),
    Column("reviewed_at", UtcDateTime),
)
Index("ix_break_glass_account", break_glass.c.account, break_glass.c.case_id)
