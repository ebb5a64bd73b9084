"""Recordings that came more than once, for people to see."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from teleread.storage.catalogue.schema import arrivals, same_recordings


@dataclass(frozen=True, slots=True)
class SameRow:
    """Another arrival of a case's recording. ``read_once``: it is read with the case, and has none of its own."""

    receipt: str
    site_id: str
    case_id: str | None
    read_once: bool


def same_of_case(conn: Connection, case_id: str, limit: int = 20) -> list[SameRow]:
    """Arrivals that hold the same recording as one of this case, the oldest first."""
    ours = set(conn.scalars(select(arrivals.c.id).where(or_(arrivals.c.case_id == case_id, arrivals.c.id == case_id))))
    link = same_recordings.c
    rows = conn.execute(
        select(link.arrival_id, link.other_arrival_id, link.read_once).where(
            or_(link.arrival_id.in_(ours), link.other_arrival_id.in_(ours))
        )
    ).all()
    # of two that are read together the later one is the news
    others = {
        (row.arrival_id if row.read_once or row.other_arrival_id in ours else row.other_arrival_id) for row in rows
    }
    found = conn.execute(
        select(arrivals.c.id, arrivals.c.receipt, arrivals.c.site_id, arrivals.c.case_id)
        .where(arrivals.c.id.in_(others))
        .order_by(arrivals.c.arrived_at, arrivals.c.id)
        .limit(limit)
    )
    return [SameRow(row.receipt, row.site_id, row.case_id, row.case_id == case_id) for row in found]
