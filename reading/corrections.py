"""Whether a case's identity is under correction, and what follows from it for whoever shows or gives back.

While one is open the case stays in its place, can be claimed, read and signed, and is marked; only what would be
given back is held.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, func, insert, or_, select, update

from teleread.reading.paging import Place, Seen, behind
from teleread.storage.catalogue.schema import arrivals, identity_corrections, studies, work_items

HELD = "identity_under_correction"
RECALL = "report_to_recall"  # a report lies in the site's system under the wrong name, and we cannot take it back


@dataclass(frozen=True, slots=True)
class Correction:
    """An open correction."""

    id: str
    case_id: str
    pseudonym: str
    reason: str
    opened_by: str
    opened_at: datetime
    site_id: str
    receipt: str
    priority: str
    case_state: str


@dataclass(frozen=True, slots=True)
class Corrected:
    """The newest correction that gave a case another identity."""

    by: str
    at: datetime


def is_under_correction(case_id: Column[Any]) -> ColumnElement[bool]:
    """The condition that the case of a row is under correction."""
    return (
        select(identity_corrections.c.id)
        .where(identity_corrections.c.case_id == case_id, identity_corrections.c.closed_at.is_(None))
        .correlate(case_id.table)
        .exists()
    )


def open_correction(conn: Connection, case_id: str) -> Correction | None:
    """The case's open correction."""
    row = conn.execute(_open().where(identity_corrections.c.case_id == case_id)).one_or_none()
    return None if row is None else Correction(**row._mapping)


def open_corrections(
    conn: Connection,
    *,
    site_id: str | None = None,
    seen: Seen | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> list[Correction]:
    """The cases under correction, the oldest first; of one site or of all.

    Args:
        seen: only those that may be seen.
        after: the last one of the page before.
    """
    query = _open()
    if site_id is not None:
        query = query.where(work_items.c.site_id == site_id)
    if seen is not None:
        query = query.where(seen(identity_corrections.c.case_id))
    if after is not None:
        query = query.where(behind(identity_corrections.c.opened_at, identity_corrections.c.id, after))
    query = query.order_by(identity_corrections.c.opened_at, identity_corrections.c.id).limit(limit)
    return [Correction(**row._mapping) for row in conn.execute(query)]


def how_often_corrected(conn: Connection, case_id: str) -> int:
    """How many corrections gave the case another identity. What left before the last of them names another patient."""
    query = select(func.count()).where(
        identity_corrections.c.case_id == case_id, identity_corrections.c.outcome == "corrected"
    )
    return int(conn.execute(query).scalar_one())


def last_corrected(conn: Connection, case_id: str) -> Corrected | None:
    """Who corrected the case's identity last, and when; None where it stands as it came."""
    query = (
        select(identity_corrections.c.closed_by, identity_corrections.c.closed_at)
        .where(identity_corrections.c.case_id.in_(family(conn, case_id)), identity_corrections.c.outcome == "corrected")
        .order_by(identity_corrections.c.closed_at.desc(), identity_corrections.c.id)
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else Corrected(row.closed_by, row.closed_at)


def count_open(conn: Connection) -> int:
    """How many cases are under correction."""
    query = select(func.count()).where(identity_corrections.c.closed_at.is_(None))
    return int(conn.execute(query).scalar_one())


def lock_case(conn: Connection, case_id: str) -> Row[Any] | None:
    """The case's newest work item, locked: who opens or closes a correction and who gives back take turns."""
    query = select(work_items).where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)
    return conn.execute(query.with_for_update()).one_or_none()


def family(conn: Connection, case_id: str) -> list[str]:
    """The case, and the cases under which its arrivals stood alone while they could not be read."""
    return [
        case_id,
        *conn.scalars(select(arrivals.c.id).where(arrivals.c.case_id == case_id, arrivals.c.id != case_id)),
    ]


def write_down(
    conn: Connection, case_id: str, *, pseudonym: str | None, reason: str, opened_by: str, at: datetime
) -> str:
    """Insert an open correction and return its id; the case must have none."""
    before = conn.scalar(select(func.count()).where(identity_corrections.c.case_id == case_id)) or 0
    key = hashlib.sha256(f"correction\0{case_id}\0{before}".encode()).hexdigest()[:32]
    conn.execute(
        insert(identity_corrections).values(
            id=key, case_id=case_id, pseudonym=pseudonym or "", reason=reason, opened_by=opened_by, opened_at=at
        )
    )
    return key


def follow(conn: Connection, left: str, joined: str) -> None:
    """What could not be read stood as a case of its own and now belongs to another: its correction goes along."""
    row = conn.execute(
        select(identity_corrections).where(
            identity_corrections.c.case_id == left, identity_corrections.c.closed_at.is_(None)
        )
    ).one_or_none()
    if row is None or open_correction(conn, joined) is not None:
        return
    write_down(conn, joined, pseudonym=row.pseudonym, reason=row.reason, opened_by=row.opened_by, at=row.opened_at)


def close_all(
    conn: Connection, case_ids: list[str], *, outcome: str, new_pseudonym: str | None, who: str, at: datetime
) -> int:
    """Close the open corrections of these cases and return how many that was."""
    return conn.execute(
        update(identity_corrections)
        .where(identity_corrections.c.case_id.in_(case_ids), identity_corrections.c.closed_at.is_(None))
        .values(outcome=outcome, new_pseudonym=new_pseudonym, closed_by=who, closed_at=at)
    ).rowcount


def was_corrected(conn: Connection, study_id: str, stated: str, standing: str) -> bool:
    """Whether a correction is why a study that states one patient stands under another."""
    cases = select(arrivals.c.case_id).where(arrivals.c.study_id == study_id)
    query = select(identity_corrections.c.id).where(
        or_(identity_corrections.c.case_id == study_id, identity_corrections.c.case_id.in_(cases)),
        identity_corrections.c.pseudonym == stated,
        identity_corrections.c.new_pseudonym == standing,
    )
    return conn.execute(query.limit(1)).first() is not None


def corrected_to(conn: Connection, study_id: str) -> str | None:
    """Whose a study is because somebody corrected it; None where the study stands under what it states."""
    cases = select(arrivals.c.case_id).where(arrivals.c.study_id == study_id)
    query = (
        select(studies.c.patient_pseudonym)
        .join(identity_corrections, identity_corrections.c.new_pseudonym == studies.c.patient_pseudonym)
        .where(
            studies.c.id == study_id,
            or_(identity_corrections.c.case_id == study_id, identity_corrections.c.case_id.in_(cases)),
            identity_corrections.c.outcome == "corrected",
        )
    )
    return conn.scalar(query.limit(1))


def _open() -> Any:
    latest = (
        select(func.max(work_items.c.seq))
        .where(work_items.c.case_id == identity_corrections.c.case_id)
        .correlate(identity_corrections)
        .scalar_subquery()
    )
    own = ("id", "case_id", "pseudonym", "reason", "opened_by", "opened_at")
    return (
        select(
            *(identity_corrections.c[name] for name in own),
            work_items.c.site_id,
            arrivals.c.receipt,
            work_items.c.priority,
            work_items.c.state.label("case_state"),
        )
        .join(work_items, (work_items.c.case_id == identity_corrections.c.case_id) & (work_items.c.seq == latest))
        .join(arrivals, arrivals.c.id == work_items.c.arrival_id)
        .where(identity_corrections.c.closed_at.is_(None))
    )
