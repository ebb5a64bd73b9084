"""Access that no licence gives, taken with a reason, for an hour, told at once and looked at afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from teleread.errors import Conflict, InputRejected
from teleread.reading import alarms
from teleread.storage import audit
from teleread.storage.catalogue.schema import break_glass

LASTS = timedelta(hours=1)
REASONS = ("emergency", "asked_by_clinic", "no_reader", "handed_over")
ALARM = "break_glass"


@dataclass(frozen=True, slots=True)
class Taken:
    """One access that somebody took."""

    id: int
    account: str
    case_id: str
    reason: str
    begun_at: datetime
    ends_at: datetime
    reviewed_by: str | None
    reviewed_at: datetime | None


def take(conn: Connection, account: str, case_id: str, reason: str, at: datetime) -> Taken:
    """Take access to one case; coordinators and auditors are told at once. Taken already: it stays as it is.

    Raises:
        InputRejected: ``break_glass_reason``.
    """
    if reason not in REASONS:
        raise InputRejected("break_glass_reason", f"a reason is one of {', '.join(REASONS)}")
    standing = _holding(conn, account, case_id, at)
    if standing is not None:
        return standing
    values = {"account": account, "case_id": case_id, "reason": reason, "begun_at": at, "ends_at": at + LASTS}
    row_id = int(conn.execute(insert(break_glass).values(**values).returning(break_glass.c.id)).scalar_one())
    detail: Mapping[str, str] = MappingProxyType({"account": account, "case": case_id, "reason": reason})
    alarms.raise_alarm(conn, ALARM, str(row_id), at, detail=detail)
    audit.record(
        conn,
        at=at,
        actor=account,
        action="break_glass",
        object_type="case",
        object_id=case_id,
        detail={"reason": reason},
    )
    return Taken(row_id, account, case_id, reason, at, at + LASTS, None, None)


def holds(conn: Connection, account: str, case_id: str, at: datetime) -> bool:
    """Whether somebody has taken access to a case, and it has not ended."""
    return _holding(conn, account, case_id, at) is not None


def held(account: str, case_id: ColumnElement[Any], at: datetime) -> ColumnElement[bool]:
    """The same as :func:`holds`, as a condition on the case whose id is in a column."""
    taken = break_glass.alias("taken")
    mine = taken.c.account == account, taken.c.case_id == case_id, taken.c.ends_at > at
    return select(taken.c.id).where(*mine).correlate_except(taken).exists()


def unreviewed(conn: Connection, limit: int = 100) -> list[Taken]:
    """What nobody has looked at yet, oldest first."""
    query = select(break_glass).where(break_glass.c.reviewed_at.is_(None)).order_by(break_glass.c.id).limit(limit)
    return [Taken(**row._mapping) for row in conn.execute(query)]


def review(conn: Connection, row_id: int, who: str, at: datetime) -> None:
    """Somebody else has looked at an access.

    Raises:
        Conflict: ``own_break_glass``; ``no_such_break_glass``: there is none, or somebody has looked already.
    """
    row = conn.execute(
        select(break_glass).where(break_glass.c.id == row_id, break_glass.c.reviewed_at.is_(None)).with_for_update()
    ).one_or_none()
    if row is None:
        raise Conflict("no_such_break_glass", "Somebody has looked at this already.")
    if row.account == who:
        raise Conflict("own_break_glass", "Somebody else must look at this.")
    conn.execute(update(break_glass).where(break_glass.c.id == row_id).values(reviewed_by=who, reviewed_at=at))
    alarms.clear(conn, [ALARM], str(row_id), who, at)
    audit.record(
        conn,
        at=at,
        actor=who,
        action="review_break_glass",
        object_type="case",
        object_id=row.case_id,
        detail={"account": row.account},
    )


def _holding(conn: Connection, account: str, case_id: str, at: datetime) -> Taken | None:
    row = conn.execute(
        select(break_glass)
        .where(break_glass.c.account == account, break_glass.c.case_id == case_id, break_glass.c.ends_at > at)
        .order_by(break_glass.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Taken(**row._mapping)
