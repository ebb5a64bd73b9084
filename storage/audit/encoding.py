"""The bytes that are hashed, fixed for good: format 1, written down in ``docs/audit.md``.

Texts are taken as the database holds them, never parsed: an event has the same bytes on SQLite and PostgreSQL, and
a change that a parser would overlook is seen. Every field is a netstring (length, colon, bytes, comma), so that no
two events share their bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

HASH_BYTES = 32

# an event's columns behind its number, as UTF-8 bytes on SQLite and as text on PostgreSQL
_SQLITE_COLUMNS = ", ".join(
    f"CAST(e.{name} AS BLOB)" for name in ("at", "actor", "action", "object_type", "object_id", "detail")
)
_POSTGRES_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
_POSTGRES_COLUMNS = (
    f"{_POSTGRES_TIME.format('e.at')}, e.actor, e.action, e.object_type, e.object_id, CAST(e.detail AS text)"
)


def columns(is_sqlite: bool) -> str:
    """SQL for the six columns of an event ``e`` behind its number, as :func:`canonical` takes them."""
    return _SQLITE_COLUMNS if is_sqlite else _POSTGRES_COLUMNS


def time_column(name: str, is_sqlite: bool) -> str:
    """SQL for a time as :func:`as_text` takes it."""
    return bytes_column(name, is_sqlite) if is_sqlite else _POSTGRES_TIME.format(name)


def bytes_column(name: str, is_sqlite: bool) -> str:
    """SQL for bytes; on SQLite a column may hold anything, also text that is none."""
    return f"CAST({name} AS BLOB)" if is_sqlite else name


def as_text(value: object) -> str:
    """A column's text, ``2026-03-01 08:00:00.000000`` for a time (UTC); what is no text gives another one."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def canonical(
    number: int,
    at: Any,
    actor: Any,
    action: Any,
    object_type: Any,
    object_id: Any,
    detail: Any,
) -> bytes:
    """The event's bytes. The fields are all bytes or all text, as the driver gives them.

    Args:
        number: the event's id.
        at: ``2026-03-01 08:00:00.000000``, UTC.
        actor, action, object_type, object_id: as stored.
        detail: the JSON text as stored.

    Raises:
        TypeError: a field is not text, which no writer of ours leaves behind.
    """
    if isinstance(at, str):
        fields = (at, actor, action, object_type, object_id, detail)
        return canonical(number, *(field.encode() for field in fields))
    digits = b"%d" % number
    return b"%d:%b,%d:%b,%d:%b,%d:%b,%d:%b,%d:%b,%d:%b," % (
        len(digits),
        digits,
        len(at),
        at,
        len(actor),
        actor,
        len(action),
        action,
        len(object_type),
        object_type,
        len(object_id),
        object_id,
        len(detail),
        detail,
    )


def genesis(events: str) -> bytes:
    """What stands before the first link; each events' table has its own, so that no chain passes for another."""
    return hashlib.sha256(b"teleread audit 1\0" + events.encode()).digest()


def section_genesis(events: str) -> bytes:
    """What stands before the first link of a section that begins behind a break."""
    return hashlib.sha256(b"teleread audit section 1\0" + events.encode()).digest()


def link(previous: bytes, event: bytes) -> bytes:
    """The hash of a link: over the one before it and the event's canonical bytes."""
    return hashlib.sha256(previous + event).digest()


def head_mac(key: bytes, events: str, seq: int, end: bytes, sealed_at: str) -> bytes:
    """The keyed check of the chain's end."""
    return _mac(key, b"teleread audit head 1", events, str(seq), end.hex(), sealed_at)


def anchor_mac(key: bytes, *fields: str) -> bytes:
    """The keyed check of an anchor."""
    return _mac(key, b"teleread audit anchor 1", *fields)


def same(left: object, right: bytes) -> bool:
    """Whether both are the same bytes, in a time that does not tell how much of them is."""
    return isinstance(left, bytes) and hmac.compare_digest(left, right)


def _mac(key: bytes, purpose: bytes, *fields: str) -> bytes:
    parts = [purpose, *(field.encode() for field in fields)]
    return hmac.digest(key, b"".join(b"%d:%b," % (len(part), part) for part in parts), "sha256")
