"""What changed since the worklist was shown, and what must be heard."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.reading import blind, desk
from teleread.reading.desk import View
from teleread.reading.order import Reach
from teleread.web import worklist_view
from teleread.web.format import milliseconds
from teleread.web.render import Renderer
from teleread.web.room import reach_of
from teleread.web.security import Seat, allow

router = APIRouter()

URGENT_HEARD_AFTER = timedelta(seconds=60)
COORDINATOR_HEARS_AFTER = timedelta(minutes=2)
_MOST_SHOWN = 2 * worklist_view.ROWS


@router.get("/api/worklist/changes")
def changes(
    request: Request,
    seat: Annotated[Seat, allow("reader", "coordinator", audit=None)],
    since: Annotated[int, Query(ge=0, le=2**53)] = 0,
    shown: Annotated[str, Query(max_length=34 * _MOST_SHOWN)] = "",
) -> JSONResponse:
    """What came into the list after an event, how the cases of ``shown`` stand, and unclaimed urgent ones.

    The list's filters stand in this address as in the page's. No identities: asked every few seconds.
    """
    services, now = seat.services, seat.services.clock()
    coordinates = seat.role == "coordinator"
    reach = None if coordinates else reach_of(seat)
    heard_after = COORDINATOR_HEARS_AFTER if coordinates else URGENT_HEARD_AFTER
    wanted = worklist_view.asked(request.query_params)
    ids = [part for part in shown.split(",") if part][:_MOST_SHOWN]
    with services.catalogue.read() as conn:
        event = desk.newest_event(conn)
        view = wanted.view(conn)
        new = desk.newcomers(conn, view, reach, max(0, since - worklist_view.OVERLAP_EVENTS))
        tally = desk.tally(conn, View(wanted.show, view.modality, view.site, view.pool), reach)
        standing = desk.standing(conn, ids, reach)
        urgent = desk.unclaimed_urgent(conn, reach, now - heard_after)
        mine = [] if reach is None else _mine(conn, seat, reach)
        n_read = desk.being_read(conn, reach)
        hidden = blind.hidden_cases(conn, seat.name)
    renderer: Renderer = request.app.state.renderer
    return JSONResponse(
        {
            "now": milliseconds(now),
            "event": event,
            "counts": {name: count_text(getattr(tally, name)) for name in ("urgent", "high", "routine")},
            "shows": {"mine": str(len(mine)), "read": n_read},
            "new": [{"case_id": case_id, "priority": priority} for case_id, priority in new],
            "shown": {
                case_id: {"state": state, "by": "" if case_id in hidden else by or "", "mine": by == seat.name}
                for case_id, (state, by) in standing.items()
                if state != "SCHEDULED"
            }
            | {case_id: {"state": "", "by": "", "mine": False} for case_id in ids if case_id not in standing},
            "mine": mine,
            "unclaimed_urgent": [
                {
                    "case_id": one.case_id,
                    "receipt": one.receipt,
                    "site": renderer.site_name(one.site_id, seat.language),
                    "since": milliseconds(one.arrived_at),
                }
                for one in urgent
            ],
        }
    )


def _mine(conn: Connection, seat: Seat, reach: Reach) -> list[dict[str, Any]]:
    rows = desk.page(conn, View(show="mine"), reach, limit=worklist_view.ROWS).rows
    return [
        {"item_id": row.id, "case_id": row.case_id, "until": milliseconds(row.lease_until)}
        for row in rows
        if row.lease_until is not None
    ]


def count_text(count: desk.Count) -> str:
    """A count for people: with a plus where there are more."""
    return f"{count.n}+" if count.more else str(count.n)
