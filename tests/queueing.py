"""Cases for tests of the queue, without the pipeline that makes real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from teleread.alliance import Priority
from teleread.reading import queue
from teleread.reading.claims import Reach
from teleread.reading.priority import Decision
from teleread.storage.catalogue import schema

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ANY = Reach("reader", ("all",))


def case_id(name: str) -> str:
    """The id of a case by its name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def in_pool(pool: str) -> queue.Placing:
    """Rules that send everything to one pool, with the limits that hold without agreement."""

    def place(facts: Any, priority: Priority) -> queue.Place:
        found = queue.by_default(facts, priority)
        return queue.Place(found.order_at, found.due_at, pool)

    return place


def put(
    conn: Connection,
    name: str,
    priority: Priority = "routine",
    at: datetime = AT,
    *,
    pool: str = "all",
    site: str = "village",
    modality: str = "ECG",
    arrived_at: datetime | None = None,
) -> str:
    """A case that waits; returns its id."""
    key = case_id(name)
    arrived = at if arrived_at is None else arrived_at
    arrive(conn, [key], site=site, at=arrived)
    nothing: dict[str, Any] = dict.fromkeys(
        ("study_id", "patient_pseudonym", "patient_sex", "patient_age_years", "quality_acceptable", "heart_rate_bpm")
    )
    facts = queue.CaseFacts(
        case_id=key, site_id=site, modality=modality, arrival_id=key, analysed=True, arrived_at=arrived, **nothing
    )
    queue.put_item(conn, facts, Decision(priority, ()), at, joined=True, placing=in_pool(pool))
    return key


def arrive(conn: Connection, keys: Iterable[str], *, site: str = "village", at: datetime = AT) -> None:
    """The rows that a work item's own refers to."""
    keys = list(keys)
    conn.execute(
        insert(schema.objects),
        [{"key": f"raw/{key}", "sha256": key * 2, "size_bytes": 1, "created_at": at} for key in keys],
    )
    conn.execute(
        insert(schema.arrivals),
        [
            {
                "id": key,
                "receipt": key[:16],
                "site_id": site,
                "sha256": key * 2,
                "size_bytes": 1,
                "object_key": f"raw/{key}",
                "source": "web",
                "kind": "ecg",
                "clinic_priority": "routine",
                "state": "prepared",
                "arrived_at": at,
                "case_id": key,
            }
            for key in keys
        ],
    )


def events_of(conn: Connection, key: str) -> list[tuple[str, str | None, str, str, int]]:
    """What happened to a case: event, states, who, token."""
    table = schema.item_events
    query = select(table.c.event, table.c.from_state, table.c.to_state, table.c.who, table.c.fence)
    return [tuple(row) for row in conn.execute(query.where(table.c.case_id == key).order_by(table.c.id))]


def names_of(items: Sequence[Any], known: Iterable[str]) -> list[str]:
    """The names of listed cases."""
    by_id = {case_id(name): name for name in known}
    return [by_id[item.case_id] for item in items]


def minutes(n: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=n)
