"""Reports: signed once, never changed; a later one is a new version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from teleread.errors import Conflict, InputRejected
from teleread.reading import criticals
from teleread.reading.critical_ladder import Ladder
from teleread.reading.queue import latest_item
from teleread.storage import audit
from teleread.storage.catalogue.schema import deliveries, reports, work_items

TEXT_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Report:
    """A signed report."""

    id: str
    case_id: str
    version: int
    text: str
    critical: bool
    signed_by: str
    signed_at: datetime


def sign_report(
    conn: Connection,
    case_id: str,
    *,
    text: str,
    critical: bool,
    signed_by: str,
    channel: str,
    at: datetime,
    ladders: Sequence[Ladder] | None = None,
) -> Report:
    """Sign a report: the case's work item is completed and the report waits to be given back to its site.

    Raises:
        InputRejected: ``report_empty`` or ``report_too_long``.
        Conflict: ``case_not_open``: the case is unknown, or somebody has reported it already.
    """
    if not text.strip():
        raise InputRejected("report_empty", "A report needs a text.")
    if len(text) > TEXT_LIMIT:
        raise InputRejected("report_too_long", f"A report has at most {TEXT_LIMIT} characters.")
    item = latest_item(conn, case_id)
    if item is None or item.state not in {"SCHEDULED", "IN PROGRESS"}:
        raise Conflict("case_not_open", "This case is not waiting for a report.")
    claimed = conn.execute(
        update(work_items).where(work_items.c.id == item.id, work_items.c.state == item.state).values(state="COMPLETED")
    )
    if claimed.rowcount != 1:
        raise Conflict("case_not_open", "Somebody has just reported this case.")
    last = conn.execute(select(func.max(reports.c.version)).where(reports.c.case_id == case_id)).scalar() or 0
    report = Report(
        id=hashlib.sha256(f"report\0{case_id}\0{last + 1}".encode()).hexdigest()[:32],
        case_id=case_id,
        version=last + 1,
        text=text.strip(),
        critical=critical,
        signed_by=signed_by,
        signed_at=at,
    )
    conn.execute(
        insert(reports).values(
            id=report.id,
            case_id=case_id,
            version=report.version,
            text=report.text,
            critical=critical,
            signed_by=signed_by,
            signed_at=at,
        )
    )
    conn.execute(insert(deliveries).values(report_id=report.id, site_id=item.site_id, channel=channel))
    audit.record(conn, at=at, actor=signed_by, action="sign", object_type="case", object_id=case_id)
    criticals.reported(
        conn, case_id, report_id=report.id, critical=critical, codes=(), who=signed_by, at=at, ladders=ladders
    )
    return report


def given_back(conn: Connection, case_id: str) -> bool:
    """Whether a report of the case has been given back."""
    query = (
        select(deliveries.c.report_id)
        .join(reports, reports.c.id == deliveries.c.report_id)
        .where(reports.c.case_id == case_id, deliveries.c.delivered_at.is_not(None))
    )
    return conn.execute(query.limit(1)).first() is not None


def reports_of(conn: Connection, case_id: str) -> list[Report]:
    """All versions of a case's report, oldest first."""
    columns = [reports.c[name] for name in Report.__dataclass_fields__]
    rows = conn.execute(select(*columns).where(reports.c.case_id == case_id).order_by(reports.c.version))
    return [Report(**row._mapping) for row in rows]
