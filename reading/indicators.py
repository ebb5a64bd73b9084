"""The indicators: turnaround, waiting, criticals, discrepancies, faults of uploads. Running values, and the same from
the events alone.

An event is a row of ``item_events`` or ``indicator_events``. What one event adds to which cell is a pure function of it
and of the events of the same work item before it; a cell is the sum of what events add, in whole milliseconds, so that
the order of adding changes nothing. Running values are kept by folding each event once; computed anew from all events
they are the same (:func:`recompute`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, insert, select, update

from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import indicator_cells, indicator_events, item_events, work_items

LIMITS_MS = tuple(
    int(1000 * s)
    for s in (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1800, 2700, 3600, 7200, 14400, 28800, 86400)
)
"""Upper limits of the buckets; one more bucket holds what is above them all."""

TIMED = ("turnaround", "wait", "critical_told", "critical_owned")
COUNTED = (
    "claim_ended",
    "escalated",
    "upload",
    "upload_fault",
    "operator_upload",
    "operator_upload_fault",
    "discrepancy",
    "flag",
)
_ENDED = frozenset({"released", "broken", "expired", "handed_over"})
_AT_ONCE = 200


class Key(NamedTuple):
    """What a cell counts: an indicator on one day of the alliance's clock, by site, pool, shift and label."""

    name: str
    day: str
    site_id: str
    pool: str
    shift: str
    label: str


class Part(NamedTuple):
    """What one event adds to one cell."""

    key: Key
    value_ms: int


@dataclass(frozen=True, slots=True)
class Cell:
    """Number, sum and spread of what was counted."""

    n: int
    total_ms: int
    buckets: tuple[int, ...]

    def plus(self, value_ms: int, times: int = 1) -> Cell:
        """With one value more, or with one less where ``times`` is -1."""
        buckets = list(self.buckets)
        buckets[bisect_left(LIMITS_MS, value_ms)] += times
        return Cell(self.n + times, self.total_ms + times * value_ms, tuple(buckets))


EMPTY = Cell(0, 0, (0,) * (len(LIMITS_MS) + 1))


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """An event of a work item with what never changes about it."""

    id: int
    item_id: str
    case_id: str
    at: datetime
    event: str
    detail: Mapping[str, Any]
    site_id: str
    pool: str
    kind: str
    arrived_at: datetime


def shift_of(at: datetime, zone: timezone) -> str:
    """``day`` 8–16 h, ``evening`` 16–24 h, ``night`` 0–8 h of the alliance's clock."""
    return ("night", "day", "evening")[at.astimezone(zone).hour // 8]


def parts_of(event: ItemEvent, before: Sequence[ItemEvent], zone: timezone) -> list[Part]:
    """What an event of a work item adds.

    Args:
        before: the earlier events of the same work item, oldest first.
    """
    priority = "routine"
    created_at = event.at
    for one in before:
        priority = str(one.detail.get("priority", priority))
        if one.event == "created":
            created_at = one.at
    day = event.at.astimezone(zone).date().isoformat()

    def part(name: str, label: str, since: datetime | None = None) -> Part:
        value = 0 if since is None else max(0, (event.at - since) // timedelta(milliseconds=1))
        return Part(Key(name, day, event.site_id, event.pool, shift_of(event.at, zone), label), value)

    if event.event == "claimed":
        return [part("wait", priority, created_at)]
    if event.event == "completed" and event.kind == "reading":
        return [part("turnaround", priority, event.arrived_at)]
    if event.event in _ENDED:
        return [part("claim_ended", event.event)]
    if event.event == "escalated":
        return [part("escalated", str(event.detail.get("alarm", event.detail.get("kind", "")))[:64])]
    return []


def note(
    conn: Connection,
    name: str,
    at: datetime,
    *,
    site_id: str,
    pool: str = "",
    label: str = "",
    case_id: str | None = None,
    since: datetime | None = None,
) -> None:
    """Write a fact for the indicators in the transaction of the act.

    Args:
        name: of :data:`TIMED` or :data:`COUNTED`.
        since: of a timed one: when its time began.
    """
    value = 0 if since is None else max(0, (at - since) // timedelta(milliseconds=1))
    row = {"at": at, "name": name, "case_id": case_id, "site_id": site_id, "pool": pool, "label": label[:64]}
    conn.execute(insert(indicator_events).inline(), row | {"value_ms": value})


def fold(conn: Connection, zone: timezone, limit: int = _AT_ONCE) -> int:
    """Count events that are not counted yet; returns how many there were."""
    items = conn.execute(_unfolded(item_events, limit)).scalars().all()
    facts = conn.execute(_unfolded(indicator_events, limit)).scalars().all()
    parts = [part for _case, part in _parts(conn, zone, items, facts)]
    _add(conn, parts, 1)
    for table, ids in ((item_events, items), (indicator_events, facts)):
        if ids:
            conn.execute(update(table).where(table.c.id.in_(ids)).values(folded=True))
    return len(items) + len(facts)


def uncount(conn: Connection, case_ids: Sequence[str], zone: timezone) -> None:
    """Take the cases' events out of the running values; the caller removes them, because their patient is forgotten."""
    cases = list(case_ids)
    items, facts = (
        list(conn.scalars(select(table.c.id).where(table.c.case_id.in_(cases), table.c.folded)))
        for table in (item_events, indicator_events)
    )
    _add(conn, [part for _case, part in _parts(conn, zone, items, facts)], -1)


def cells(conn: Connection, first_day: str = "", last_day: str = "9999") -> dict[Key, Cell]:
    """The running values of some days; those that count nothing are left out."""
    table = indicator_cells
    rows = conn.execute(select(table).where(table.c.day >= first_day, table.c.day <= last_day, table.c.n != 0))
    return {_key(row): Cell(row.n, row.total_ms, tuple(row.buckets)) for row in rows}


def recompute(conn: Connection, zone: timezone) -> dict[Key, Cell]:
    """The same from all events that have been counted."""
    items = list(conn.scalars(select(item_events.c.id).where(item_events.c.folded)))
    facts = list(conn.scalars(select(indicator_events.c.id).where(indicator_events.c.folded)))
    found: dict[Key, Cell] = {}
    for _case, (key, value_ms) in _parts(conn, zone, items, facts):
        found[key] = found.get(key, EMPTY).plus(value_ms)
    return found


def _unfolded(table: Any, limit: int) -> Any:
    return (
        select(table.c.id)
        .where(~table.c.folded)  # as the index says it
        .order_by(table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _parts(
    conn: Connection, zone: timezone, items: Sequence[int], facts: Sequence[int]
) -> Iterable[tuple[str | None, Part]]:
    for n in range(0, len(items), _AT_ONCE):
        wanted = set(items[n : n + _AT_ONCE])
        by_item: dict[str, list[ItemEvent]] = {}
        for event in _events_of(conn, wanted):
            before = by_item.setdefault(event.item_id, [])
            if event.id in wanted:
                for part in parts_of(event, before, zone):
                    yield event.case_id, part
            before.append(event)
    for n in range(0, len(facts), _AT_ONCE):
        table = indicator_events
        for row in conn.execute(select(table).where(table.c.id.in_(facts[n : n + _AT_ONCE]))):
            day = row.at.astimezone(zone).date().isoformat()
            key = Key(row.name, day, row.site_id, row.pool, shift_of(row.at, zone), row.label)
            yield row.case_id, Part(key, row.value_ms)


def _events_of(conn: Connection, ids: Iterable[int]) -> list[ItemEvent]:
    """All events of the work items that these belong to, oldest first."""
    items = select(item_events.c.item_id).where(item_events.c.id.in_(list(ids)))
    query = (
        select(
            item_events.c.id,
            item_events.c.item_id,
            item_events.c.case_id,
            item_events.c.at,
            item_events.c.event,
            item_events.c.detail,
            work_items.c.site_id,
            work_items.c.pool,
            work_items.c.kind,
            work_items.c.arrived_at,
        )
        .join(work_items, work_items.c.id == item_events.c.item_id)
        .where(work_items.c.id.in_(items))
        .order_by(item_events.c.id)
    )
    return [ItemEvent(**{**row._mapping, "pool": row.pool or ""}) for row in conn.execute(query)]


def _add(conn: Connection, parts: Iterable[Part], times: int) -> None:
    added: dict[Key, Cell] = {}
    for key, value_ms in parts:
        added[key] = added.get(key, EMPTY).plus(value_ms)
    table = indicator_cells
    # in one order, so that two who count at once wait for each other and never for ever
    for key in sorted(added):
        cell = added[key]
        empty = key._asdict() | {"n": 0, "total_ms": 0, "buckets": list(EMPTY.buckets)}
        insert_missing(conn, table, [empty], list(Key._fields))
        this = [table.c[name] == value for name, value in key._asdict().items()]
        row = conn.execute(select(table).where(*this).with_for_update()).one()
        buckets = [one + times * more for one, more in zip(row.buckets, cell.buckets, strict=True)]
        values = {"n": row.n + times * cell.n, "total_ms": row.total_ms + times * cell.total_ms, "buckets": buckets}
        conn.execute(update(table).where(*this).values(**values))


def _key(row: Row[Any]) -> Key:
    return Key(*(getattr(row, name) for name in Key._fields))
