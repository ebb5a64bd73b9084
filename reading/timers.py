"""What must happen at a time unless something else has happened before: due rows, taken by lease by whoever runs.

A timer that was taken by a process that died is due again when its lease ends. Whoever takes one asks first whether
there is still anything to do, acts, and writes the outcome in the transaction of the act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, or_, select, update

from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import timers

LEASE = timedelta(seconds=4)


@dataclass(frozen=True, slots=True)
class Timer:
    """A due timer, held by its taker until ``lease_until``."""

    id: int
    kind: str
    subject: str
    due_at: datetime
    lease_until: datetime
    tries: int


def set_timer(conn: Connection, kind: str, subject: str, due_at: datetime) -> bool:
    """Set a timer; one of this kind and subject that stands already stays as it is. Returns whether it is new."""
    return set_timers(conn, subject, [(kind, due_at)]) == 1


def set_timers(conn: Connection, subject: str, due: Sequence[tuple[str, datetime]]) -> int:
    """Set several timers of one subject, as :func:`set_timer`; returns how many are new."""
    rows = [{"kind": kind, "subject": subject, "due_at": due_at} for kind, due_at in due]
    return insert_missing(conn, timers, rows, ["kind", "subject"])


def bring_forward(conn: Connection, kind: str, subject: str, due_at: datetime) -> None:
    """Set a timer, or let the one that stands come sooner; one that is done stays done."""
    if set_timer(conn, kind, subject, due_at):
        return
    sooner = timers.c.kind == kind, timers.c.subject == subject, timers.c.done_at.is_(None), timers.c.due_at > due_at
    conn.execute(update(timers).where(*sooner).values(due_at=due_at))


def due_at(conn: Connection, kind: str, subject: str) -> datetime | None:
    """For when a timer was set, done or not; None when there is none."""
    return conn.scalar(select(timers.c.due_at).where(timers.c.kind == kind, timers.c.subject == subject))


def any_due(conn: Connection, at: datetime, kinds: Sequence[str]) -> bool:
    """Whether there is anything to take; writes nothing, and so waits for nobody."""
    found = select(timers.c.id).where(timers.c.done_at.is_(None), timers.c.due_at <= at, timers.c.kind.in_(list(kinds)))
    return conn.execute(found.limit(1)).first() is not None


def take_due(
    conn: Connection,
    at: datetime,
    *,
    kinds: Sequence[str] | None = None,
    limit: int = 16,
    lease: timedelta = LEASE,
    in_turn: bool = False,
) -> list[Timer]:
    """Take what is due, oldest first; nobody else takes it before the lease ends.

    Args:
        in_turn: what was put off is as old as its new time, and does not stand before what came due meanwhile.
    """
    since = func.coalesce(timers.c.lease_until, timers.c.due_at) if in_turn else timers.c.due_at
    due = (
        select(timers.c.id)
        .where(
            timers.c.done_at.is_(None),
            timers.c.due_at <= at,
            or_(timers.c.lease_until.is_(None), timers.c.lease_until <= at),
            *([] if kinds is None else [timers.c.kind.in_(list(kinds))]),
        )
        .order_by(since, timers.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    # a part of its own, so that it is run once and locks no more than it gives
    chosen = due.cte("chosen")
    taken = (
        update(timers)
        .where(timers.c.id.in_(select(chosen.c.id)))
        .values(lease_until=at + lease, tries=timers.c.tries + 1)
        .returning(timers.c.id, timers.c.kind, timers.c.subject, timers.c.due_at, timers.c.lease_until, timers.c.tries)
    )
    found = [Timer(**row._mapping) for row in conn.execute(taken)]
    return sorted(found, key=lambda timer: (timer.due_at, timer.id))


def finish(conn: Connection, timer: Timer, outcome: str, at: datetime) -> bool:
    """Write down what became of a timer; False when its lease was lost and somebody else has it: then roll back."""
    done = conn.execute(
        update(timers)
        .where(timers.c.id == timer.id, timers.c.done_at.is_(None), timers.c.lease_until == timer.lease_until)
        .values(done_at=at, outcome=outcome)
    )
    return done.rowcount == 1


def put_off(conn: Connection, timer: Timer, until: datetime) -> bool:
    """Try again later: nobody takes the timer before then. False when its lease was lost: then roll back."""
    done = conn.execute(
        update(timers)
        .where(timers.c.id == timer.id, timers.c.done_at.is_(None), timers.c.lease_until == timer.lease_until)
        .values(lease_until=until)
    )
    return done.rowcount == 1


def is_done(conn: Connection, kind: str, subject: str) -> bool:
    """Whether this timer was taken to its end."""
    query = select(timers.c.id).where(timers.c.kind == kind, timers.c.subject == subject, timers.c.done_at.is_not(None))
    return conn.execute(query).first() is not None
