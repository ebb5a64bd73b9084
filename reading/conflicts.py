"""Instances that came twice under one UID with other bytes: both are kept, and people are shown the contradiction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, or_, select

from teleread.storage.catalogue.schema import arrivals, conflicts


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """Two arrivals of one site that claim to be one instance; the second came later."""

    receipt: str
    case_id: str | None
    other_receipt: str
    other_case_id: str | None
    site_id: str
    found_at: datetime


def conflicts_of_case(conn: Connection, case_id: str) -> list[ConflictRow]:
    """The contradictions in which an arrival of this case stands, the newest first."""
    other = arrivals.alias("other_arrivals")
    query = _conflicts(other).where(or_(arrivals.c.case_id == case_id, other.c.case_id == case_id))
    return [ConflictRow(**row._mapping) for row in conn.execute(query.limit(20))]


def latest_conflicts(conn: Connection, limit: int = 50) -> list[ConflictRow]:
    """The newest contradictions of all sites."""
    query = _conflicts(arrivals.alias("other_arrivals")).limit(limit)
    return [ConflictRow(**row._mapping) for row in conn.execute(query)]


def count_conflicts(conn: Connection) -> int:
    """How many arrivals contradict an earlier one."""
    return int(conn.execute(select(func.count()).select_from(conflicts)).scalar_one())


def _conflicts(other: Any) -> Any:
    return (
        select(
            arrivals.c.receipt,
            arrivals.c.case_id,
            other.c.receipt.label("other_receipt"),
            other.c.case_id.label("other_case_id"),
            arrivals.c.site_id,
            conflicts.c.found_at,
        )
        .select_from(conflicts)
        .join(arrivals, arrivals.c.id == conflicts.c.arrival_id)
        .join(other, other.c.id == conflicts.c.other_arrival_id)
        .order_by(conflicts.c.found_at.desc(), arrivals.c.id)
    )
