"""Claims: one reader per case, as a lease with a fencing token.

A claim holds while its heartbeats come. Every act on a claimed case names the token; one that is stale is refused,
however the clock of its sender goes. A claim that ends without a report cancels its work item and makes the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, insert, literal_column, select, update

from teleread.errors import Conflict
from teleread.reading import escalation, history, ups
from teleread.reading.history import item_id_of, note_event
from teleread.reading.order import IN_PROGRESS, KEY, WAITING, Reach, Shape, asked, head_ids, keep_plan, within
from teleread.reading.queue import URGENT_LEASE, is_set_aside, lock_latest
from teleread.storage import audit
from teleread.storage.catalogue.schema import item_events, work_items

__all__ = [
    "BREAK_REASONS",
    "LEASES",
    "RELEASE_REASONS",
    "Claim",
    "Reach",
    "check",
    "claim_case",
    "claim_next",
    "complete",
    "current",
    "expire",
    "give_back",
    "hand_over",
    "heartbeat",
    "item_id_of",
    "newest",
    "note_event",
    "resume",
    "set_aside",
    "wait_again",
]

LEASES: Mapping[str, timedelta] = MappingProxyType(
    {"urgent": URGENT_LEASE, "high": timedelta(minutes=15), "routine": timedelta(minutes=15)}
)
"""How long a claim holds without a heartbeat, by the item's priority."""

RELEASE_REASONS = ("interrupted", "not_my_field", "poor_recording", "knows_the_patient", "other")
"""Why a reader gives a case back."""

BREAK_REASONS = ("reader_absent", "needed_elsewhere", "asked_by_reader", "other")
"""Why a coordinator takes a case from its reader."""

_LOOK_AT = (8, 128, 4096)  # rows from the front of each pool, until one is found that nobody else is taking
_ALONE = (1,)  # where only one writes at a time


@dataclass(frozen=True, slots=True)
class Claim:
    """A work item in a reader's hands; ``fence`` goes with every act on it."""

    item_id: str
    case_id: str
    fence: int
    lease_until: datetime


def current(conn: Connection, case_id: str, who: str, at: datetime) -> Claim | None:
    """The claim that somebody has on a case now; None when they have none."""
    row = conn.execute(
        select(work_items.c.id, work_items.c.fence, work_items.c.lease_until).where(
            work_items.c.case_id == case_id,
            IN_PROGRESS,
            work_items.c.claimed_by == who,
            work_items.c.lease_until > at,
        )
    ).one_or_none()
    return None if row is None else Claim(row.id, case_id, row.fence, row.lease_until)


def claim_next(conn: Connection, reach: Reach, at: datetime) -> Claim | None:
    """Claim the most urgent case that this reader may read; None when there is none.

    Two who ask at once get two cases.
    """
    keep_plan(conn)
    for n in _ALONE if conn.dialect.name == "sqlite" else _LOOK_AT:
        shape, values = asked(limit=n, reach=reach)
        taken = _take(conn, _take_first(shape, _at_once(conn)), values, reach.who, at)
        if taken is not None:
            return taken
    return None


def claim_case(conn: Connection, case_id: str, reach: Reach, at: datetime) -> Claim:
    """Claim one case; whoever has claimed it already gets the same claim again.

    Raises:
        Conflict: ``case_not_open``: it does not wait; ``case_claimed``: somebody else has it; ``case_not_yours``:
            this reader may not read it.
    """
    item = lock_latest(conn, case_id)
    if item is None or item.state in {"COMPLETED", "CANCELED"}:
        raise Conflict("case_not_open", "This case does not wait for a reader.")
    if item.state == "IN PROGRESS" and item.lease_until > at:
        if item.claimed_by != reach.who:
            raise Conflict("case_claimed", "Somebody else is reading this case.")
        return Claim(item.id, item.case_id, item.fence, item.lease_until)
    if item.state == "IN PROGRESS":
        item_id = _give_back(conn, item, "expired", "teleread", "no_heartbeat", at)
    else:
        item_id = item.id
    if conn.execute(select(work_items.c.id).where(work_items.c.id == item_id, within(reach))).first() is None:
        raise Conflict("case_not_yours", "This case is for other readers.")
    taken = _take(conn, _take_one(_at_once(conn)), {"this": item_id}, reach.who, at)
    if taken is None:
        raise Conflict("case_not_open", "Somebody else has just taken this case.")
    return taken


def heartbeat(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> datetime:
    """The reader is still there; returns until when the claim holds now.

    Raises:
        Conflict: ``claim_lost``.
    """
    item = check(conn, item_id, who, fence, at)
    until = at + LEASES[item.priority]
    conn.execute(update(work_items).where(work_items.c.id == item_id).values(lease_until=until))
    return until


def check(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Row[Any]:
    """The claimed work item, locked; every act on a claimed case begins with this.

    Raises:
        Conflict: ``claim_lost``: the claim has ended, or the token is stale.
    """
    item = conn.execute(select(work_items).where(work_items.c.id == item_id).with_for_update()).one_or_none()
    if (
        item is None
        or item.state != "IN PROGRESS"
        or item.claimed_by != who
        or item.fence != fence
        or item.lease_until <= at
    ):
        raise Conflict("claim_lost", "You no longer have this case. What you typed is kept as a draft.")
    return item


def complete(conn: Connection, item_id: str, who: str, fence: int, at: datetime) -> Row[Any]:
    """The case has been read; returns its work item as it was.

    Raises:
        Conflict: ``claim_lost``.
    """
    # who raises a case locks it before the readings that it has asked for, and so does this
    parent = select(work_items.c.parent_id).where(work_items.c.id == item_id).scalar_subquery()
    conn.execute(select(work_items.c.id).where(work_items.c.id == parent).with_for_update())
    item = check(conn, item_id, who, fence, at)
    _move(conn, item, "completed", who, at, ended_at=at, lease_until=None)
    if item.parent_id is not None:
        resume(conn, item.parent_id, item.kind, at)
    return item


def give_back(
    conn: Connection, case_id: str, event: ups.Event, who: str, reason: str, at: datetime, *, fence: int | None = None
) -> str:
    """End a claim without a report: the case waits again as a new work item, whose id is returned.

    Args:
        event: of :data:`teleread.reading.ups.RETURNS`.
        fence: the reader's own token; None when somebody else ends the claim.

    Raises:
        Conflict: ``claim_lost``.
    """
    item = conn.execute(
        select(work_items).where(work_items.c.case_id == case_id, IN_PROGRESS).with_for_update()
    ).one_or_none()
    if item is None or (fence is not None and (item.fence != fence or item.claimed_by != who)):
        raise Conflict("claim_lost", "You no longer have this case. What you typed is kept as a draft.")
    return _give_back(conn, item, event, who, reason, at)


def any_stopped(conn: Connection, at: datetime) -> bool:
    """Whether there is a claim to end; writes nothing, and so waits for nobody."""
    return (
        conn.execute(select(work_items.c.id).where(IN_PROGRESS, work_items.c.lease_until <= at).limit(1)).first()
        is not None
    )


def expire(conn: Connection, at: datetime, limit: int = 64) -> list[str]:
    """End the claims whose heartbeats have stopped; returns the ids of the new work items."""
    stopped = conn.execute(
        select(work_items)
        .where(IN_PROGRESS, work_items.c.lease_until <= at)
        .order_by(work_items.c.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    return [_give_back(conn, item, "expired", "teleread", "no_heartbeat", at) for item in stopped]


OnDuty = Callable[[str, str, datetime], bool]
"""Whether an account may go on reading for a pool at a time: its shift, and the grace after it."""


def off_duty(conn: Connection, on_duty: OnDuty, at: datetime) -> list[str]:
    """The work items whose readers' time is over; writes nothing. What has no pool is anybody's, always."""
    columns = work_items.c.id, work_items.c.claimed_by, work_items.c.pool, work_items.c.overflow_pool
    rows = conn.execute(select(*columns).where(IN_PROGRESS, work_items.c.pool.is_not(None)))
    return [
        row.id
        for row in rows
        if not any(on_duty(row.claimed_by, pool, at) for pool in (row.pool, row.overflow_pool) if pool is not None)
    ]


def hand_over(conn: Connection, item_ids: Sequence[str], at: datetime) -> list[str]:
    """Take cases from readers who have gone off duty, for whoever comes next, who finds the draft; the new ids.

    Args:
        item_ids: of :func:`off_duty`; what has ended meanwhile is left out.
    """
    rows = conn.execute(
        select(work_items).where(work_items.c.id.in_(list(item_ids)), IN_PROGRESS).with_for_update(skip_locked=True)
    ).all()
    return [_give_back(conn, item, "handed_over", "teleread", "shift_ended", at) for item in rows]


def set_aside(conn: Connection, item: Row[Any], who: str, at: datetime, reason: str) -> None:
    """A claimed case waits for another one to be read, and for no reader; :func:`resume` queues it again."""
    _move(conn, item, "withdrawn", who, at, {"reason": reason}, ended_at=at, end_reason=reason, lease_until=None)


def resume(conn: Connection, item_id: str, after: str, at: datetime) -> str | None:
    """Queue a case that was set aside; the id of its new work item, None when it does not wait for that any more.

    Args:
        item_id: the work item that was set aside.
        after: what has come: a kind of work item.
    """
    item = conn.execute(select(work_items).where(work_items.c.id == item_id).with_for_update()).one_or_none()
    if item is None or not is_set_aside(item):
        return None
    last = select(work_items.c.id).where(work_items.c.case_id == item.case_id, work_items.c.seq > item.seq)
    if conn.execute(last.limit(1)).first() is not None:
        return None
    return _next(conn, item, "teleread", at, {"after": after, "priority": item.priority})


def wait_again(conn: Connection, case_id: str, who: str, at: datetime, after: str) -> str | None:
    """Queue a case again that has been read, because its report does not hold; None where it waits or is read.

    Args:
        after: a code of what happened to the report.
    """
    item = lock_latest(conn, case_id)
    if item is None or item.state in ups.OPEN:
        return None
    return _next(conn, item, who, at, {"after": after, "priority": item.priority})


def newest(conn: Connection, case_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """The newest work item of each case."""
    rows = conn.execute(select(work_items).where(work_items.c.case_id.in_(list(case_ids))).order_by(work_items.c.seq))
    return {row.case_id: row for row in rows}


def _at_once(conn: Connection) -> bool:
    """Whether a claim and its event can be one statement, which spares a round trip."""
    return conn.dialect.name == "postgresql"


def _taking(this: ColumnElement[bool], at_once: bool) -> Any:
    """The statement that claims a waiting work item: built once, with all its values as parameters."""
    until = case((work_items.c.band == 0, _given("urgent_until")), else_=_given("until"))
    claimed = {"state": literal_column(f"'{_CLAIMED}'"), "fence": work_items.c.fence + literal_column("1")}
    claimed |= {"claimed_by": bindparam("who"), "claimed_at": _given("now"), "lease_until": until}
    taking = update(work_items).where(this, WAITING).values(**claimed).returning(*_TAKEN)
    if not at_once:
        return taking
    taken = taking.cte("taken")
    event = {"case_id": taken.c.case_id, "item_id": taken.c.id, "at": _given("now"), "who": bindparam("who")}
    event |= {name: literal_column(f"'{word}'") for name, word in _EVENT.items()} | {"fence": taken.c.fence}
    noting = insert(item_events).from_select(list(event), select(*event.values()))
    return select(taken).add_cte(noting.cte("noted"))


def _given(name: str) -> Any:
    return bindparam(name, type_=work_items.c.lease_until.type)


_CLAIMED = ups.after("SCHEDULED", "claimed")
_EVENT = {"event": "claimed", "from_state": "SCHEDULED", "to_state": _CLAIMED, "detail": "{}"}
_TAKEN = [work_items.c[name] for name in ("id", "case_id", "fence", "lease_until", "band", "arrived_at", "due_at")]


@lru_cache(maxsize=2)
def _take_one(at_once: bool) -> Any:
    return _taking(work_items.c.id == bindparam("this"), at_once)


@lru_cache(maxsize=256)
def _take_first(shape: Shape, at_once: bool) -> Any:
    first = (
        select(work_items.c.id)
        .where(WAITING, work_items.c.id.in_(head_ids(shape)))
        .order_by(*KEY)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return _taking(work_items.c.id == first.scalar_subquery(), at_once)


def _take(conn: Connection, taking: Any, values: Mapping[str, Any], who: str, at: datetime) -> Claim | None:
    """Claim a work item in one statement; None when there is none, or somebody else was first."""
    until = {"urgent_until": at + LEASES["urgent"], "until": at + LEASES["routine"]}
    row = conn.execute(taking, {**values, **until, "who": who, "now": at}).one_or_none()
    if row is None:
        return None
    if not _at_once(conn):
        history.note(conn, row.case_id, row.id, "claimed", "SCHEDULED", who, at, row.fence)
    if escalation.may_have_alarms(row.band, row.arrived_at, row.due_at, at):
        escalation.hush(conn, row.id, who, at)
    escalation.begin_reading(conn, row.id, urgent=row.band == 0, since=at)
    audit.record(
        conn, at=at, actor=who, action="claim", object_type="case", object_id=row.case_id, detail={"fence": row.fence}
    )
    return Claim(row.id, row.case_id, row.fence, row.lease_until)


def _give_back(conn: Connection, item: Row[Any], event: ups.Event, who: str, reason: str, at: datetime) -> str:
    if event not in ups.RETURNS:
        raise AssertionError("this event does not end a claim")
    _move(conn, item, event, who, at, {"reason": reason}, ended_at=at, end_reason=reason, lease_until=None)
    successor = _next(conn, item, who, at, {"after": event, "priority": item.priority})
    audit.record(
        conn,
        at=at,
        actor=who,
        action="end_claim",
        object_type="case",
        object_id=item.case_id,
        detail={"event": event, "reason": reason, "was": item.claimed_by, "fence": item.fence},
    )
    return successor


def _next(conn: Connection, item: Row[Any], who: str, at: datetime, detail: Mapping[str, Any]) -> str:
    """Queue a case again as its next work item."""
    seq = item.seq + 1
    ended = {"claimed_by", "claimed_at", "lease_until", "ended_at", "end_reason"}
    successor = {name: value for name, value in item._mapping.items() if name not in ended}
    item_id = item_id_of(item.case_id, seq)
    successor |= {"id": item_id, "seq": seq, "state": "SCHEDULED", "created_at": at}
    conn.execute(insert(work_items).values(**successor))
    history.note_created(conn, item.case_id, item_id, who, at, fence=item.fence, detail=detail)
    escalation.follow(conn, item.id, item_id, urgent=item.band == 0, at=at)
    return item_id


def _move(
    conn: Connection,
    item: Row[Any],
    event: ups.Event,
    who: str,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """End a claimed work item, and what its alarms asked for."""
    to_state = note_event(conn, item, event, who, at, detail)
    moved = conn.execute(
        update(work_items)
        .where(work_items.c.id == item.id, work_items.c.state == item.state, work_items.c.fence == item.fence)
        .values(state=to_state, **values)
    )
    if moved.rowcount != 1:
        raise Conflict("case_not_open", "Somebody else has just taken this case.")
    if escalation.may_have_alarms(item.band, item.arrived_at, item.due_at, at):
        escalation.hush(conn, item.id, who, at)
