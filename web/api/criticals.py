"""The red banner, asked for every few seconds by every page of everybody on duty, and the press that answers it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teleread.web import critical_view
from teleread.web.pages.criticals import acknowledged
from teleread.web.render import page
from teleread.web.security import Seat, allow

router = APIRouter()

MARK = "teleread-state"


@router.get("/api/criticals/live")
def live(
    request: Request,
    seat: Annotated[Seat, allow("uploader", "reader", "coordinator", "administrator", audit=None)],
    seen: str = "",
) -> Response:
    """The banner as a piece of a page. No identity.

    Args:
        seen: the mark of what the page shows; where it is still that, nothing is sent (204).
    """
    with seat.services.catalogue.read() as conn:
        shown = critical_view.banner_rows(conn, seat)
    critical_view.note_shown(seat, shown)
    mark = critical_view.mark(seat, shown)
    if mark == seen:
        return Response(status_code=204)
    answer = page(request, seat, "_critical_banner.html", shown=shown)
    answer.headers[MARK] = mark
    return answer


@router.post("/api/criticals/{critical_id}/acknowledge")
def acknowledge(seat: Annotated[Seat, allow("uploader", audit="acknowledge")], critical_id: str) -> JSONResponse:
    """A person of the clinic has read it: the name and the time that stand now."""
    done = acknowledged(seat, critical_id)
    at = done.told_at.isoformat() if done.told_at else None
    return JSONResponse({"read_by": done.told_to, "read_at": at})
