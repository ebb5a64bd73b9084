"""Is there a reader for every pool in every minute to come? Gaps are told before they are there.

Computed exactly from shifts, licences and routes: all three change only at a shift's begin or end and at midnight of
the alliance's clock, so nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, select, update

from teleread.reading import alarms, rules
from teleread.reading.eligibility import READING_ROLES, is_licensed, spans
from teleread.reading_room import ALL, ReadingRoom
from teleread.storage.catalogue import schema

AHEAD = timedelta(hours=72)
NO_READER = "no_reader"

_TOLD = 20

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time, in UTC, in which nobody on duty may read what comes into a pool."""

    pool: str
    begins: datetime
    ends: datetime


def gaps(
    room: ReadingRoom, at: datetime, readers: Collection[str] | None = None, ahead: timedelta = AHEAD
) -> tuple[Gap, ...]:
    """The gaps that begin before ``at + ahead``, cut there; by pool, then by time.

    Args:
        readers: the accounts that may read at all: a shift of somebody who cannot sign in reads nothing. None: all
            that the file names.
    """
    wanted: dict[str, list[Span]] = {}
    covered: dict[str, list[Span]] = {}
    for part in _days(room, at, at + ahead):
        for pool in rules.used_pools(room, part[0]):
            wanted.setdefault(pool, []).append(part)
            covered.setdefault(pool, []).extend(_readers_of(room, pool, part, readers))
    return tuple(
        Gap(pool, begins, ends)
        for pool in sorted(wanted)
        for begins, ends in _without(_joined(wanted[pool]), _joined(covered[pool]))
    )


def watch(conn: Connection, room: ReadingRoom, at: datetime) -> tuple[Gap, ...]:
    """Bring the alarms ``no_reader`` up to date: one for each pool that has a gap, cleared once it has none."""
    found = gaps(room, at, accounts_that_read(conn))
    by_pool: dict[str, list[Gap]] = {}
    for gap in found:
        by_pool.setdefault(gap.pool, []).append(gap)
    known = schema.alarms.c
    open_now = conn.execute(
        select(known.subject, known.detail).where(known.kind == NO_READER, known.cleared_at.is_(None))
    )
    told: dict[str, Any] = {row.subject: row.detail for row in open_now}
    for pool, its in by_pool.items():
        detail = {
            "gaps": [[gap.begins.isoformat(), gap.ends.isoformat()] for gap in its[:_TOLD]],
            "more": max(0, len(its) - _TOLD),
        }
        if pool not in told:
            alarms.raise_alarm(conn, NO_READER, pool, at, pool=pool, detail=detail)
        elif told[pool] != detail:
            this = (known.kind == NO_READER) & (known.subject == pool) & known.cleared_at.is_(None)
            conn.execute(update(schema.alarms).where(this).values(detail=detail))
    for pool in told.keys() - by_pool.keys():
        alarms.clear(conn, [NO_READER], pool, "teleread", at)
    return found


def accounts_that_read(conn: Connection) -> frozenset[str]:
    """The names of the accounts that have a reader's role and are not shut out."""
    columns = schema.accounts.c
    query = select(columns.name).where(columns.role.in_(sorted(READING_ROLES)), columns.disabled_at.is_(None))
    return frozenset(conn.scalars(query))


def _days(room: ReadingRoom, begins: datetime, ends: datetime) -> Iterator[Span]:
    """The parts of a stretch within one day of the alliance's clock each, in UTC."""
    zone = timezone(timedelta(minutes=room.utc_offset_minutes))
    while begins < ends:
        midnight = datetime.combine(room.day(begins) + timedelta(days=1), time(0), zone).astimezone(begins.tzinfo)
        yield begins, min(midnight, ends)
        begins = midnight


def _readers_of(room: ReadingRoom, pool: str, part: Span, readers: Collection[str] | None) -> Iterator[Span]:
    """When somebody on duty reads a pool within a part of one day, for which one set of licences holds."""
    at = part[0]
    shifts = [shift for shift in room.shifts if shift.role == "reader"]
    if not shifts:
        named = {licence.account for licence in room.licences} if readers is None else readers
        if any(is_licensed(room, account, pool, at) for account in named):
            yield part
        return
    for shift in shifts:
        counts = pool in {shift.pool, ALL} and (readers is None or shift.account in readers)
        if counts and is_licensed(room, shift.account, pool, at):
            for begins, ends in spans(room, shift, at, days_before=1):
                if begins < part[1] and ends > part[0]:
                    yield max(begins, part[0]), min(ends, part[1])


def _joined(parts: Iterable[Span]) -> list[Span]:
    """Spans in order, those that touch as one."""
    found: list[Span] = []
    for begins, ends in sorted(parts):
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        else:
            found.append((begins, ends))
    return found


def _without(wanted: list[Span], covered: list[Span]) -> Iterator[Span]:
    """What is left of joined spans without others."""
    for begins, ends in wanted:
        for taken_from, taken_to in covered:
            if taken_to <= begins or taken_from >= ends:
                continue
            if taken_from > begins:
                yield begins, taken_from
            begins = max(begins, taken_to)
        if begins < ends:
            yield begins, ends
