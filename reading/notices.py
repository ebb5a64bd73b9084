"""What somebody who acknowledged must be told: kept until they have seen it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update

from teleread.reading.paging import Place, behind
from teleread.storage import audit
from teleread.storage.catalogue.schema import (
    accounts,
    arrivals,
    audit_events,
    deliveries,
    notices,
    reports,
    work_items,
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What an account, or its site, must be told of a case, however often it was said and nobody has looked.

    Args:
        id: of the newest.
        created_at: of the newest.
        times: how many there are.
    """

    id: int
    case_id: str
    code: str
    created_at: datetime
    receipt: str
    site_id: str
    times: int


@dataclass(frozen=True, slots=True)
class Known:
    """Who has looked at a case's report, as far as the audit goes up to one of its events."""

    accounts: frozenset[str]
    up_to: int


def viewers(conn: Connection, case_ids: list[str], before: Known | None = None) -> Known:
    """Accounts that opened a receipt's page after a report of these cases had been given back.

    The audit trail is long and has no index by object: read it in a transaction that holds nobody up, then once
    more with what was found, which reads only what came since.
    """
    given = conn.scalar(
        select(func.min(deliveries.c.delivered_at))
        .join(reports, reports.c.id == deliveries.c.report_id)
        .where(reports.c.case_id.in_(case_ids))
    )
    up_to = int(conn.scalar(select(func.max(audit_events.c.id))) or 0)
    found = before.accounts if before else frozenset()
    if given is None:
        return Known(found, up_to)
    ours = select(arrivals.c.id).where(or_(arrivals.c.case_id.in_(case_ids), arrivals.c.id.in_(case_ids)))
    query = (
        select(audit_events.c.actor)
        .where(
            audit_events.c.id > (before.up_to if before else 0),
            audit_events.c.action == "view",
            audit_events.c.object_type == "arrival",
            audit_events.c.object_id.in_(ours),
            audit_events.c.at >= given,
        )
        .distinct()
    )
    return Known(found | frozenset(conn.scalars(query)), up_to)


def signers(conn: Connection, case_ids: list[str]) -> frozenset[str]:
    """Accounts that signed a report of these cases."""
    return frozenset(conn.scalars(select(reports.c.signed_by).where(reports.c.case_id.in_(case_ids)).distinct()))


def told(conn: Connection, case_id: str, code: str, since: datetime) -> frozenset[str]:
    """Accounts that were told something of a case since a moment."""
    query = select(notices.c.account).where(
        notices.c.case_id == case_id,
        notices.c.code == code,
        notices.c.created_at >= since,
        notices.c.account.is_not(None),
    )
    return frozenset(str(name) for name in conn.scalars(query))


def tell(conn: Connection, case_id: str, code: str, names: Iterable[str], site_id: str | None, at: datetime) -> None:
    """Leave a notice to each of these accounts that exist, and one to a site."""
    wanted = select(accounts.c.name).where(accounts.c.name.in_(sorted(set(names)))).order_by(accounts.c.name)
    rows = [{"account": name, "site_id": None} for name in conn.scalars(wanted)]
    if site_id is not None:
        rows.append({"account": None, "site_id": site_id})
    if rows:
        common = {"case_id": case_id, "code": code, "created_at": at}
        conn.execute(insert(notices), [row | common for row in rows])


def unseen(
    conn: Connection, account: str, site_id: str | None, limit: int = 50, *, after: Place | None = None
) -> list[Notice]:
    """What this account has not seen yet, of its own or of its site, the newest first; the same twice is one.

    Args:
        after: the last one of the page before.
    """
    latest = (
        select(func.max(work_items.c.seq))
        .where(work_items.c.case_id == notices.c.case_id)
        .correlate(notices)
        .scalar_subquery()
    )
    query = (
        select(
            func.max(notices.c.id).label("id"),
            notices.c.case_id,
            notices.c.code,
            func.max(notices.c.created_at).label("created_at"),
            arrivals.c.receipt,
            arrivals.c.site_id,
            func.count().label("times"),
        )
        .join(work_items, (work_items.c.case_id == notices.c.case_id) & (work_items.c.seq == latest))
        .join(arrivals, arrivals.c.id == work_items.c.arrival_id)
        .where(notices.c.seen_at.is_(None), _addressed(account, site_id))
        .group_by(notices.c.case_id, notices.c.code, arrivals.c.receipt, arrivals.c.site_id)
        .order_by(func.max(notices.c.created_at).desc(), func.max(notices.c.id).desc())
        .limit(limit)
    )
    if after is not None:
        newest = func.max(notices.c.created_at), func.max(notices.c.id)
        query = query.having(behind(*newest, after, newest_first=True))
    return [Notice(**row._mapping) for row in conn.execute(query)]


def count_unseen(conn: Connection, account: str | None = None, site_id: str | None = None) -> int:
    """How many notices nobody has seen: as one account and its site are shown them, or all."""
    query = select(notices.c.case_id, notices.c.code).where(notices.c.seen_at.is_(None))
    if account is not None:
        query = query.where(_addressed(account, site_id)).distinct()
    return int(conn.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def mark_seen(conn: Connection, notice_id: int, account: str, site_id: str | None, at: datetime) -> bool:
    """Note that somebody has seen it and the same of before, with an audit event.

    Returns:
        False when it is not theirs or was seen before.
    """
    mine = notices.c.seen_at.is_(None), _addressed(account, site_id)
    query = select(notices.c.case_id, notices.c.code).where(notices.c.id == notice_id, *mine)
    shown = conn.execute(query.with_for_update()).one_or_none()
    if shown is None:
        return False
    seen = conn.execute(
        update(notices)
        .where(notices.c.case_id == shown.case_id, notices.c.code == shown.code, notices.c.id <= notice_id, *mine)
        .values(seen_at=at, seen_by=account)
    ).rowcount
    audit.record(
        conn,
        at=at,
        actor=account,
        action="notice_seen",
        object_type="case",
        object_id=shown.case_id,
        detail={"notice": notice_id, "times": seen},
    )
    return True


def _addressed(account: str, site_id: str | None) -> ColumnElement[bool]:
    mine = notices.c.account == account
    return mine if site_id is None else or_(mine, notices.c.site_id == site_id)
