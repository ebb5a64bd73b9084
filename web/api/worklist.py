"""What changed since the worklist was shown, and what must be heard."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.reading import worklist
from teleread.web import queries
from teleread.web.format import EPOCH, milliseconds
from teleread.web.render import Renderer
from teleread.web.security import Seat, allow

router = APIRouter()

# a row's time is taken before its transaction ends; look back over the longest that one may wait for the writer
OVERLAP = timedelta(seconds=40)
_LATEST_MS = 32_503_680_000_000


@router.get("/api/worklist/changes")
def changes(
    request: Request,
    seat: Annotated[Seat, allow("reader", audit=None)],
    since: Annotated[int, Query(ge=0, le=_LATEST_MS)] = 0,
    modality: str = "",
    site: str = "",
    shown: Annotated[str, Query(max_length=2000)] = "",
) -> JSONResponse:
    """New cases since ``since`` (milliseconds), those of ``shown`` that wait no more, and unclaimed urgent ones.

    No identities: polled every few seconds.
    """
    services, now = seat.services, seat.services.clock()
    with services.catalogue.read() as conn:
        new = queries.newcomers(conn, EPOCH + timedelta(milliseconds=since) - OVERLAP, site or None, modality or None)
        gone = queries.no_longer_waiting(conn, [part for part in shown.split(",") if part])
        counts = worklist.counts(conn)
        urgent = queries.unclaimed_urgent(conn, now)
    renderer: Renderer = request.app.state.renderer
    return JSONResponse(
        {
            "now": milliseconds(now),
            "counts": counts,
            "new": new,
            "gone": gone,
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
