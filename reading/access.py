"""Which cases a reader may see: those of pools that she is licensed for, those that are or were hers, and those that
she has taken access to with a reason. What nobody has routed yet is everybody's: nothing blocks an urgent ECG.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from teleread.errors import AccessDenied
from teleread.reading import break_glass, eligibility, persons
from teleread.reading.paging import Seen
from teleread.reading_room import ALL, ReadingRoom
from teleread.storage.catalogue.schema import arrivals, reports, studies, work_items

_NAMED_NOWHERE = "?"
"""No pool has this id: what was routed to one that the rules do not name any more."""


class NotLicensed(AccessDenied):
    """The case is for readers with another licence; it opens with a reason."""

    def __init__(self) -> None:
        super().__init__("case_not_licensed", "This case is for readers with another licence.")


def may_see(conn: Connection, room: ReadingRoom, account: str, role: str, case_id: str, at: datetime) -> bool:
    """Whether a reader may see a case. A shift is not asked for: she may look at what she is licensed to read."""
    if role not in eligibility.READING_ROLES:
        return False
    items = conn.execute(
        select(work_items.c.pool, work_items.c.overflow_pool, work_items.c.claimed_by).where(
            work_items.c.case_id == case_id
        )
    ).all()
    if not items:
        return True  # nobody has routed it; whether there is such a case, says whoever reads it
    pools = {one for item in items for one in (item.pool, item.overflow_pool) if one is not None}
    if any(item.pool is None for item in items):
        return True
    if any(eligibility.is_licensed(room, account, one, at) for one in pools):
        return True
    return (
        any(item.claimed_by == account for item in items)
        or _signed(conn, account, case_id)
        or break_glass.holds(conn, account, case_id, at)
    )


def visible(room: ReadingRoom, account: str, at: datetime) -> Seen:
    """What :func:`may_see` says to one of :data:`eligibility.READING_ROLES`, as a condition of a query."""
    items, signed = work_items.alias("seen_items"), reports.alias("seen_reports")
    named = {ALL, *(one.id for one in room.pools), *(one.pool for one in room.routes)}
    named |= {pool for one in room.licences for pool in one.pool}
    licensed = [pool for pool in sorted(named) if eligibility.is_licensed(room, account, pool, at)]
    of_others = eligibility.is_licensed(room, account, _NAMED_NOWHERE, at)

    def within(pool: ColumnElement[Any]) -> ColumnElement[bool]:
        gone = and_(pool.is_not(None), pool.not_in(sorted(named)))
        return or_(pool.in_(licensed), gone) if of_others else pool.in_(licensed)

    hers = or_(
        items.c.pool.is_(None), within(items.c.pool), within(items.c.overflow_pool), items.c.claimed_by == account
    )

    def seen(case_id: ColumnElement[Any]) -> ColumnElement[bool]:
        of_case = select(items.c.id).where(items.c.case_id == case_id).correlate_except(items)
        by_her = signed.c.case_id == case_id, signed.c.signed_by == account
        return or_(
            ~of_case.exists(),
            of_case.where(hers).exists(),
            select(signed.c.id).where(*by_her).correlate_except(signed).exists(),
            break_glass.held(account, case_id, at),
        )

    return seen


def check(conn: Connection, room: ReadingRoom, account: str, role: str, case_id: str, at: datetime) -> None:
    """Go on only with a case that this reader may see.

    Raises:
        NotLicensed: ``case_not_licensed``.
    """
    if not may_see(conn, room, account, role, case_id, at):
        raise NotLicensed


def check_arrival(conn: Connection, room: ReadingRoom, account: str, role: str, arrival_id: str, at: datetime) -> None:
    """As :func:`check`, for the case that an arrival belongs to; one that belongs to none yet is everybody's, and an
    earlier recording of the person whose case this reader has in hand is hers as well.

    Raises:
        NotLicensed: ``case_not_licensed``.
    """
    row = conn.execute(
        select(arrivals.c.case_id, studies.c.patient_pseudonym)
        .outerjoin(studies, studies.c.id == arrivals.c.study_id)
        .where(arrivals.c.id == arrival_id)
    ).one_or_none()
    if row is None or row.case_id is None or may_see(conn, room, account, role, row.case_id, at):
        return
    if row.patient_pseudonym is None or not _in_hand(conn, account, row.patient_pseudonym):
        raise NotLicensed


def _in_hand(conn: Connection, account: str, pseudonym: str) -> bool:
    mine = select(work_items.c.id).where(
        work_items.c.claimed_by == account,
        work_items.c.state == "IN PROGRESS",
        work_items.c.patient_pseudonym.in_(persons.person_of(conn, pseudonym)),
    )
    return conn.execute(mine.limit(1)).first() is not None


def _signed(conn: Connection, account: str, case_id: str) -> bool:
    query = select(reports.c.id).where(reports.c.case_id == case_id, reports.c.signed_by == account)
    return conn.execute(query.limit(1)).first() is not None
