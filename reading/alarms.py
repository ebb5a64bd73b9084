"""What people on duty must notice: raised once, open until it is cleared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update

from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import alarms


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm; ``kind`` is a stable code, ``subject`` the id of what it is about."""

    id: int
    kind: str
    subject: str
    pool: str | None
    site_id: str | None
    raised_at: datetime
    owner: str | None
    detail: Mapping[str, Any]


def raise_alarm(
    conn: Connection,
    kind: str,
    subject: str,
    at: datetime,
    *,
    pool: str | None = None,
    site_id: str | None = None,
    owner: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> bool:
    """Raise an alarm unless it is open already; returns whether it is new. ``detail`` holds no identity."""
    row = {"kind": kind, "subject": subject, "pool": pool, "site_id": site_id, "raised_at": at, "owner": owner}
    # any of its keys: two who raise it at once raise it once
    return insert_missing(conn, alarms, [row | {"detail": dict(detail or {})}], []) == 1


def clear(conn: Connection, kinds: Sequence[str], subject: str, who: str, at: datetime) -> int:
    """What these alarms asked for has happened; returns how many were open."""
    done = conn.execute(
        update(alarms)
        .where(alarms.c.kind.in_(list(kinds)), alarms.c.subject == subject, alarms.c.cleared_at.is_(None))
        .values(cleared_at=at, cleared_by=who)
    )
    return int(done.rowcount)


def open_alarms(
    conn: Connection, *, pools: Sequence[str] | None = None, kinds: Sequence[str] | None = None, limit: int = 50
) -> list[Alarm]:
    """The open alarms, oldest first.

    Args:
        pools: only those of these pools and of none; None for all.
    """
    query = select(alarms).where(alarms.c.cleared_at.is_(None))
    if pools is not None:
        query = query.where(or_(alarms.c.pool.is_(None), alarms.c.pool.in_(list(pools))))
    if kinds is not None:
        query = query.where(alarms.c.kind.in_(list(kinds)))
    rows = conn.execute(query.order_by(alarms.c.raised_at, alarms.c.id).limit(limit))
    names = Alarm.__dataclass_fields__
    return [Alarm(**{name: getattr(row, name) for name in names}) for row in rows]
