"""The auditor's page: who did what, when, to which thing. Identifiers only; no patient's name stands in the trail."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from teleread.errors import InputRejected, StorageError
from teleread.storage.audit import read_head
from teleread.storage.audit.searching import Wanted, search
from teleread.web.render import page
from teleread.web.security import Seat, allow

router = APIRouter()

ROWS = 100


@router.get("/audit")
def show(
    request: Request,
    seat: Annotated[Seat, allow("auditor", audit="read_audit")],
    trail: str = "catalogue",
    actor: str = "",
    action: str = "",
    object: str = "",
    since: str = "",
    until: str = "",
    before: int | None = None,
) -> Response:
    """A page of events, newest first; looking is an event too."""
    services = seat.services
    chosen = next((one for one in services.trails if one.name == trail), services.trails[0])
    offset = timezone(timedelta(minutes=services.alliance.utc_offset_minutes))
    wanted = Wanted(actor[:64], action[:32], object[:64], _day(since, offset), _day(until, offset, after=1))
    with services.catalogue.write() as conn:
        seat.record(conn, "audit", chosen.name, {"action": wanted.action, "object": wanted.object_id[:16]})
    with chosen.database.snapshot() as conn:
        rows = search(conn, chosen, wanted, before=before, limit=ROWS + 1)
        head, broken = None, False
        try:
            head = read_head(conn, chosen.tables, services.audit_key, chosen.database.is_sqlite)
        except StorageError as error:
            if error.code != "audit_broken":
                raise
            broken = True
    asked = {"actor": actor, "action": action, "object": object, "since": since, "until": until}
    filters = {"trail": chosen.name} | {key: value for key, value in asked.items() if value}
    further = urlencode(filters | {"before": rows[ROWS - 1].id}) if len(rows) > ROWS else ""
    return page(
        request,
        seat,
        "audit.html",
        rows=[asdict(row) for row in rows[:ROWS]],
        trails=[one.name for one in services.trails],
        trail=chosen.name,
        asked=asked,
        further=further,
        head=head,
        sealed_at=None if head is None else datetime.fromisoformat(head.sealed_at).replace(tzinfo=UTC),
        broken=broken,
    )


def _day(text: str, zone: timezone, after: int = 0) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=after), time(), zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputRejected("request_invalid", "This is no day.") from error
