"""How each shift of the roster stands now: who is on, what waits and is read, and what was signed since it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, or_, select, union_all

from teleread.reading import eligibility
from teleread.reading.desk import COUNTED, Count
from teleread.reading.order import KEY, WAITING
from teleread.reading_room import ALL, ReadingRoom
from teleread.storage.catalogue.schema import work_items


@dataclass(frozen=True, slots=True)
class Span:
    """A time that the roster names for a pool, with those who read then.

    Args:
        begins, ends: None where the roster keeps no shifts, or nobody's shift for the pool is running.
        over: the shift has ended, and what is in its readers' hands may still be finished.
    """

    pool: str
    begins: datetime | None
    ends: datetime | None
    readers: tuple[str, ...]
    over: bool = False


@dataclass(frozen=True, slots=True)
class ShiftState:
    """How a shift stands.

    Args:
        waiting, late: of its pool; what is opened to the pool counts as well.
        oldest, oldest_due: when the longest waiting case arrived, and when its limit ends.
        read: how many of its pool's cases its readers have in their hands.
        signed: how many they have signed since it began; None where no shift is running.
    """

    span: Span
    waiting: Count
    late: Count
    oldest: datetime | None
    oldest_due: datetime | None
    read: int
    signed: int | None


def spans_now(room: ReadingRoom, pools: Sequence[str], at: datetime, readers: Sequence[str]) -> tuple[Span, ...]:
    """The shifts that run now, or are in their grace, pool by pool in the order given; pure.

    A pool whose shifts do not run now has one without a time, so that what waits there is seen.

    Args:
        readers: the accounts that may read at all.
    """
    found: list[Span] = []
    for pool in pools:
        here = _running(room, pool, at, readers)
        if any(not one.over for one in here):
            found += here
            continue
        # without a roster everybody reads; what no route fits is read by whoever is on duty anywhere
        found += [*here, Span(pool, None, None, eligibility.who_is_on_duty(room, pool, at, readers))]
    return tuple(found)


def _running(room: ReadingRoom, pool: str, at: datetime, readers: Sequence[str]) -> list[Span]:
    who: dict[tuple[datetime, datetime, bool], list[str]] = {}
    for shift in room.shifts:
        if shift.role != "reader" or shift.pool != pool or shift.account not in readers:
            continue
        grace = timedelta(minutes=shift.grace_min)
        for begins, ends in eligibility.spans(room, shift, at):
            if begins <= at < ends + grace and eligibility.is_licensed(room, shift.account, pool, at):
                who.setdefault((begins, ends, at >= ends), []).append(shift.account)
    return [Span(pool, *span[:2], tuple(dict.fromkeys(who[span])), span[2]) for span in sorted(who)]


def shift_states(conn: Connection, spans: Sequence[Span], at: datetime) -> tuple[ShiftState, ...]:
    """How these shifts stand; counts of what waits end at :data:`teleread.reading.desk.COUNTED`."""
    return tuple(_state(conn, span, at) for span in spans)


def _state(conn: Connection, span: Span, at: datetime) -> ShiftState:
    items = work_items.c
    columns = items.arrived_at, items.due_at
    ways = [
        select(*columns).where(WAITING, pool == span.pool).order_by(*KEY).limit(COUNTED + 1).subquery()
        for pool in (items.pool, items.overflow_pool)
    ]
    first = union_all(*(select(way.c.arrived_at, way.c.due_at) for way in ways)).subquery()
    late = func.coalesce(func.sum(case((first.c.due_at <= at, 1), else_=0)), 0)
    n, n_late = conn.execute(select(func.count(), late).select_from(first)).one()
    oldest = conn.execute(select(first.c.arrived_at, first.c.due_at).order_by(first.c.arrived_at).limit(1)).first()
    theirs = items.claimed_by.in_(span.readers), or_(items.pool == span.pool, items.overflow_pool == span.pool)
    in_hand = select(func.count()).where(*theirs, items.state == "IN PROGRESS")
    signed = None
    if span.begins is not None:
        done = select(func.count()).where(*theirs, items.state == "COMPLETED", items.ended_at >= span.begins)
        signed = conn.scalar(done) or 0
    return ShiftState(
        span,
        Count(min(n, COUNTED), n > COUNTED),
        Count(min(n_late, COUNTED), n > COUNTED),
        oldest.arrived_at if oldest else None,
        oldest.due_at if oldest else None,
        conn.scalar(in_hand) or 0,
        signed,
    )


def worth_showing(state: ShiftState) -> bool:
    """Whether a row says something: what no route fits has no shift of its own, and is mostly empty."""
    return state.span.pool != ALL or state.waiting.n > 0 or state.read > 0 or state.span.begins is not None
