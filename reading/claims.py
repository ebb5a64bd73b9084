"""Claims: one reader per case, as a lease with a fencing token.

A claim holds while its heartbeats come. Every act on a claimed case names the token; one that is stale is refused,
however the clock of its sender goes. A claim that ends without a report cancels its work item and makes the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from teleread.errors import Conflict
from teleread.reading import history, ups
from teleread.reading.history import item_id_of, note_event
from teleread.reading.order import IN_PROGRESS, WAITING, Reach, within
from teleread.storage import audit
from teleread.storage.catalogue.schema import work_items

__all__ = [
    "LEASES",
    "Claim",
    "Reach",
    "check",
    "claim_case",
    "claim_next",
    "complete",
    "current",
    "expire",
    "give_back",
    "heartbeat",
    "item_id_of",
    "newest",
    "note_event",
]

LEASES: Mapping[str, timedelta] = MappingProxyType(
    {"urgent": timedelta(minutes=2), "high": timedelta(minutes=15), "routine": timedelta(minutes=15)}
)
"""How long a claim holds without a heartbeat, by the item's priority."""


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
    first = (
        select(work_items.c.id)
        .where(WAITING, within(reach))
        .order_by(work_items.c.band, work_items.c.order_at, work_items.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = conn.execute(first).one_or_none()
    return None if row is None else _claim(conn, row.id, reach.who, at)


def claim_case(conn: Connection, case_id: str, reach: Reach, at: datetime) -> Claim:
    """Claim one case; whoever has claimed it already gets the same claim again.

    Raises:
        Conflict: ``case_not_open``: it does not wait; ``case_claimed``: somebody else has it; ``case_not_yours``:
            this reader may not read it.
    """
    item = conn.execute(
        select(work_items)
        .where(work_items.c.case_id == case_id)
        .order_by(work_items.c.seq.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()
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
    return _claim(conn, item_id, reach.who, at)


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
    item = check(conn, item_id, who, fence, at)
    _move(conn, item, "completed", who, at, ended_at=at, lease_until=None)
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


def _claim(conn: Connection, item_id: str, who: str, at: datetime) -> Claim:
    item = conn.execute(select(work_items).where(work_items.c.id == item_id)).one()
    fence, until = item.fence + 1, at + LEASES[item.priority]
    _move(conn, item, "claimed", who, at, fence=fence, claimed_by=who, claimed_at=at, lease_until=until)
    audit.record(
        conn, at=at, actor=who, action="claim", object_type="case", object_id=item.case_id, detail={"fence": fence}
    )
    return Claim(item_id, item.case_id, fence, until)


def _give_back(conn: Connection, item: Row[Any], event: ups.Event, who: str, reason: str, at: datetime) -> str:
    if event not in ups.RETURNS:
        raise AssertionError("this event does not end a claim")
    _move(conn, item, event, who, at, {"reason": reason}, ended_at=at, end_reason=reason, lease_until=None)
    seq = item.seq + 1
    ended = {"claimed_by", "claimed_at", "lease_until", "ended_at", "end_reason"}
    successor = {name: value for name, value in item._mapping.items() if name not in ended}
    successor |= {"id": item_id_of(item.case_id, seq), "seq": seq, "state": "SCHEDULED", "created_at": at}
    conn.execute(insert(work_items).values(**successor))
    detail = {"after": event, "priority": item.priority}
    history.note_created(conn, item.case_id, successor["id"], who, at, fence=item.fence, detail=detail)
    audit.record(
        conn,
        at=at,
        actor=who,
        action="end_claim",
        object_type="case",
        object_id=item.case_id,
        detail={"event": event, "reason": reason, "was": item.claimed_by, "fence": item.fence},
    )
    return str(successor["id"])


def _move(
    conn: Connection,
    item: Row[Any],
    event: ups.Event,
    who: str,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    to_state = note_event(conn, item, event, who, at, detail, fence=values.get("fence"))
    moved = conn.execute(
        update(work_items)
        .where(work_items.c.id == item.id, work_items.c.state == item.state, work_items.c.fence == item.fence)
        .values(state=to_state, **values)
    )
    if moved.rowcount != 1:
        raise Conflict("case_not_open", "Somebody else has just taken this case.")


def newest(conn: Connection, case_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """The newest work item of each case."""
    rows = conn.execute(select(work_items).where(work_items.c.case_id.in_(list(case_ids))).order_by(work_items.c.seq))
    return {row.case_id: row for row in rows}
