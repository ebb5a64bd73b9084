"""Critical values and how people were told of them, as they stand in the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from teleread.reading.critical_state import Critical, State, Told
from teleread.storage.catalogue.schema import critical_steps, criticals


def get(conn: Connection, critical_id: str) -> Critical | None:
    """One critical value."""
    row = conn.execute(select(criticals).where(criticals.c.id == critical_id)).one_or_none()
    return None if row is None else _critical(row)


def some(conn: Connection, critical_ids: Sequence[str]) -> dict[str, Critical]:
    """Those of these that are there, by id."""
    rows = conn.execute(select(criticals).where(criticals.c.id.in_(list(critical_ids))))
    return {row.id: _critical(row) for row in rows}


def lock(conn: Connection, critical_id: str) -> Critical | None:
    """One critical value, locked until the transaction ends."""
    row = conn.execute(select(criticals).where(criticals.c.id == critical_id).with_for_update()).one_or_none()
    return None if row is None else _critical(row)


def open_criticals(conn: Connection, *, site_id: str | None = None, limit: int = 200) -> list[Critical]:
    """Those that nobody at the clinic has acknowledged, the oldest first."""
    query = still_open() if site_id is None else still_open().where(criticals.c.site_id == site_id)
    rows = conn.execute(query.order_by(criticals.c.found_at, criticals.c.id).limit(limit))
    return [_critical(row) for row in rows]


def of_case(conn: Connection, case_id: str) -> list[Critical]:
    """All of a case, the newest first."""
    query = select(criticals).where(criticals.c.case_id == case_id)
    return [_critical(row) for row in conn.execute(query.order_by(criticals.c.found_at.desc(), criticals.c.id))]


def ended_since(conn: Connection, since: datetime, *, site_id: str | None = None, limit: int = 50) -> list[Critical]:
    """Those found since a moment that have ended, the newest first."""
    query = select(criticals).where(criticals.c.ended_at.is_not(None), criticals.c.found_at >= since)
    if site_id is not None:
        query = query.where(criticals.c.site_id == site_id)
    return [_critical(row) for row in conn.execute(query.order_by(criticals.c.found_at.desc()).limit(limit))]


def acknowledged_since(conn: Connection, since: datetime, *, site_id: str, limit: int = 5) -> list[Critical]:
    """A site's that somebody has acknowledged since a moment, the newest first."""
    query = select(criticals).where(criticals.c.site_id == site_id, criticals.c.told_at >= since)
    return [_critical(row) for row in conn.execute(query.order_by(criticals.c.told_at.desc()).limit(limit))]


def told(conn: Connection, critical_ids: Sequence[str]) -> dict[str, list[Told]]:
    """How people were told of each, in the order of the ladder."""
    query = select(critical_steps).where(critical_steps.c.critical_id.in_(list(critical_ids)))
    found: dict[str, list[Told]] = {one: [] for one in critical_ids}
    for row in conn.execute(query.order_by(critical_steps.c.due_at, critical_steps.c.step, critical_steps.c.channel)):
        found[row.critical_id].append(Told(**row._mapping))
    return found


def standing(conn: Connection, case_id: str) -> Critical | None:
    """A case's standing one: that which no other supersedes. Locked."""
    later = select(criticals.c.supersedes).where(criticals.c.case_id == case_id, criticals.c.supersedes.is_not(None))
    query = select(criticals).where(criticals.c.case_id == case_id, criticals.c.id.not_in(later))
    row = conn.execute(query.order_by(criticals.c.found_at.desc(), criticals.c.id).limit(1).with_for_update()).first()
    return None if row is None else _critical(row)


def still_open() -> Any:
    return select(criticals).where(criticals.c.ended_at.is_(None))


def _critical(row: Row[Any]) -> Critical:
    values = {name: getattr(row, name) for name in Critical.__dataclass_fields__}
    state: State = row.state
    read_back = None if row.read_back is None else bool(row.read_back)
    return Critical(**(values | {"codes": tuple(row.codes), "state": state, "read_back": read_back}))
