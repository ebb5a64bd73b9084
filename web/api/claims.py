"""Claims for the pages' scripts: heartbeats, a claim without leaving the list, the reader's rest, and the samples of
the case that is likely next.

What is fetched ahead is no view: nobody may ever look at it. So it has an address and an audit event of its own
(``prefetch``), holds samples without identity, and the view is recorded when the case's page is opened.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teleread.reading import claims, desk
from teleread.web import next_case
from teleread.web.format import milliseconds
from teleread.web.room import reach_of
from teleread.web.security import Seat, allow

router = APIRouter()


@router.post("/api/claims/{item_id}/heartbeat")
def heartbeat(
    seat: Annotated[Seat, allow("reader", audit=None)],
    item_id: str,
    fence: Annotated[int, Body(embed=True, ge=0, le=2**31 - 1)],
) -> JSONResponse:
    """The reader is still there: until when the claim holds now; 409 ``claim_lost`` where it does not."""
    services = seat.services
    with services.catalogue.write() as conn:
        until = claims.heartbeat(conn, item_id, seat.name, fence, services.clock())
    return JSONResponse({"until": milliseconds(until), "now": milliseconds(services.clock())})


@router.post("/api/cases/{case_id}/claim")
def claim(seat: Annotated[Seat, allow("reader", audit="claim")], case_id: str) -> JSONResponse:
    """Take this case and stay where one is."""
    found = next_case.take(seat, case_id)
    answer: dict[str, Any] = {"item_id": found.item_id, "case_id": found.case_id, "fence": found.fence}
    return JSONResponse(answer | {"until": milliseconds(found.lease_until)})


@router.post("/api/claims/pause")
def pause(
    request: Request, seat: Annotated[Seat, allow("reader", audit=None)], on: Annotated[bool, Body(embed=True)]
) -> Response:
    """Rest, or go on: whether signing leads to the next case."""
    response = Response(status_code=204)
    next_case.pause(response, on=on, secure=request.url.scheme == "https")
    return response


@router.get("/api/claims/ahead")
def ahead(seat: Annotated[Seat, allow("reader", audit=None)]) -> JSONResponse:
    """The recording of the case that this reader would get next; nothing is claimed."""
    with seat.services.catalogue.read() as conn:
        rows = desk.page(conn, desk.View(), reach_of(seat), limit=1).rows
    return JSONResponse({"arrival_id": rows[0].arrival_id if rows and rows[0].modality == "ECG" else None})
