"""Looking into the audit: the newest events first, page by page, by who, what and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from teleread.storage.audit.sealing import Trail


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; empty: anything."""

    actor: str = ""
    action: str = ""
    object_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An event with whether it is chained yet."""

    id: int
    at: datetime
    actor: str
    action: str
    object_type: str
    object_id: str
    detail: dict[str, object]
    seq: int | None


def search(
    conn: Connection, trail: Trail, wanted: Wanted, *, before: int | None = None, limit: int = 100
) -> list[Found]:
    """Events that fit, newest number first.

    Args:
        conn: of the trail's own database.
        before: number of the last event of the page before.
    """
    events, chain = trail.tables.events, trail.tables.chain
    query = select(events, chain.c.seq).outerjoin(chain, chain.c.event_id == events.c.id)
    for column, value in (
        (events.c.actor, wanted.actor),
        (events.c.action, wanted.action),
        (events.c.object_id, wanted.object_id),
    ):
        if value:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(events.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(events.c.at < wanted.until)
    if before is not None:
        query = query.where(events.c.id < before)
    rows = conn.execute(query.order_by(events.c.id.desc()).limit(limit))
    names = Found.__dataclass_fields__
    return [Found(**{name: getattr(row, name) for name in names}) for row in rows]
