"""What a coordinator sees of the queue, and does about it: pool by pool, without anybody's identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, select, update

from teleread.reading import eligibility, history
from teleread.reading.desk import COUNTED, Count
from teleread.reading.order import KEY, WAITING
from teleread.reading_room import ReadingRoom
from teleread.storage import audit
from teleread.storage.catalogue.schema import work_items

_NEXT_WITHIN = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a pool with one priority. ``oldest`` is when the longest waiting one arrived."""

    count: Count
    late: Count
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Duty:
    """Who reads a pool: now, and from when on next."""

    now: tuple[str, ...]
    ends: datetime | None
    next: tuple[str, ...]
    next_from: datetime | None


@dataclass(frozen=True, slots=True)
class PoolState:
    """How a pool stands. ``pool`` None: what is not routed yet."""

    pool: str | None
    urgent: Waiting
    high: Waiting
    routine: Waiting


def pool_state(conn: Connection, pool: str | None, at: datetime) -> PoolState:
    """How a pool stands; counts end at :data:`teleread.reading.desk.COUNTED`."""
    return PoolState(pool, *(_waiting(conn, pool, priority, at) for priority in ("urgent", "high", "routine")))


def _waiting(conn: Connection, pool: str | None, priority: str, at: datetime) -> Waiting:
    items = work_items.c
    here = items.pool.is_(None) if pool is None else items.pool == pool
    first = (
        select(items.arrived_at, items.due_at)
        .where(WAITING, here, items.priority == priority)
        .order_by(*KEY)
        .limit(COUNTED + 1)
        .subquery()
    )
    late = func.coalesce(func.sum(case((first.c.due_at <= at, 1), else_=0)), 0)
    n, n_late, oldest = conn.execute(select(func.count(), late, func.min(first.c.arrived_at))).one()
    return Waiting(_count(n), Count(min(n_late, COUNTED), n > COUNTED), oldest)


def _count(n: int) -> Count:
    return Count(min(n, COUNTED), n > COUNTED)


def duty(room: ReadingRoom, pool: str, at: datetime, readers: Sequence[str]) -> Duty:
    """Who is on duty for a pool, until when, and who comes next; pure.

    Args:
        readers: the accounts that may read at all.
    """
    now = eligibility.who_is_on_duty(room, pool, at, readers)
    ends = [end for one in now if (end := _end(room, one, pool, at)) is not None]
    coming = sorted(
        (begins, shift.account)
        for shift in room.shifts
        if shift.role == "reader" and shift.pool == pool and shift.account in readers
        for begins, _ in eligibility.spans(room, shift, at, days_after=_NEXT_WITHIN.days)
        if at < begins <= at + _NEXT_WITHIN and eligibility.is_licensed(room, shift.account, pool, begins)
    )
    first = coming[0][0] if coming else None
    return Duty(now, min(ends, default=None), tuple(who for begins, who in coming if begins == first), first)


def _end(room: ReadingRoom, account: str, pool: str, at: datetime) -> datetime | None:
    """When the shift that somebody works now ends."""
    running = [
        end
        for shift in room.shifts
        if shift.account == account and shift.role == "reader" and shift.pool == pool
        for begins, end in eligibility.spans(room, shift, at)
        if begins <= at < end
    ]
    return max(running, default=None)


def open_to(conn: Connection, case_ids: Sequence[str], pool: str, who: str, reason: str, at: datetime) -> list[str]:
    """Let another pool read waiting cases as well; returns those that still waited.

    They keep their own pool, too: nothing that a coordinator does takes a case out of anybody's sight, and the rules
    that bring a case back to its pool leave this as it is.
    """
    items = work_items.c
    found = conn.execute(
        select(work_items).where(WAITING, items.case_id.in_(list(case_ids))).with_for_update(skip_locked=True)
    ).all()
    for item in found:
        detail = {"pool": pool, "was": item.overflow_pool, "reason": reason}
        history.note_event(conn, item, "overflowed", who, at, detail)
        conn.execute(update(work_items).where(items.id == item.id).values(overflow_pool=pool))
        audit.record(conn, at=at, actor=who, action="assign", object_type="case", object_id=item.case_id, detail=detail)
    return [item.case_id for item in found]


def first_of(conn: Connection, pool: str, priority: str, limit: int) -> list[str]:
    """The first cases of a pool with a priority, in the order of reading."""
    items = work_items.c
    query = select(items.case_id).where(WAITING, items.pool == pool, items.priority == priority).order_by(*KEY)
    return list(conn.scalars(query.limit(limit)))
