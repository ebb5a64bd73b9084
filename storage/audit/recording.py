"""Who did what to which thing, written in the same transaction as the act."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, String, Table, insert
from sqlalchemy.sql.dml import ReturningInsert

from teleread.storage.catalogue import schema


def record(
    conn: Connection,
    *,
    at: datetime,
    actor: str,
    action: str,
    object_type: str,
    object_id: str,
    detail: Mapping[str, Any] | None = None,
    table: Table = schema.audit_events,
) -> int:
    """Write one audit event and return its number.

    Args:
        conn: the transaction of the act itself, so that neither stands without the other.
        at: aware time of the act.
        actor: account name, or the name of the part that acted.
        action: stable word, for example ``"sign"``.
        object_type, object_id: what was acted on.
        detail: JSON values without identity: identifiers, codes, counts.
        table: of the database that ``conn`` belongs to.

    Raises:
        ValueError: a text is longer than its column, which SQLite would take and PostgreSQL would not.
    """
    values = {"actor": actor, "action": action, "object_type": object_type, "object_id": object_id}
    for name, value in values.items():
        kind = table.c[name].type
        if isinstance(kind, String) and kind.length is not None and len(value) > kind.length:
            raise ValueError(f"the audit event's {name} is too long")
    return int(conn.execute(_insert(table), {**values, "at": at, "detail": dict(detail or {})}).scalar_one())


@lru_cache(maxsize=8)
def _insert(table: Table) -> ReturningInsert[Any]:
    return insert(table).returning(table.c.id)
