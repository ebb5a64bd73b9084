"""Access with a reason: taken by a reader, looked at by a coordinator, an auditor or an administrator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.reading import break_glass, worklist
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.render import page
from teleread.web.security import Seat, allow

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.get("/cases/{case_id}/break-glass")
def ask(request: Request, seat: Annotated[Seat, allow("reader", audit=None)], case_id: str) -> Response:
    """Why the case is closed to this reader, and how it opens."""
    with seat.services.catalogue.read() as conn:
        case = worklist.get_case(conn, case_id)
    if case is None:
        raise NotFound()
    return page(request, seat, "break_glass.html", case=case, reasons=break_glass.REASONS)


@router.post("/cases/{case_id}/break-glass")
def take(seat: Annotated[Seat, allow("reader", audit="break_glass")], case_id: str, fields: Fields) -> Response:
    """Open the case for an hour."""
    with seat.services.catalogue.write() as conn:
        if worklist.get_case(conn, case_id) is None:
            raise NotFound()
        break_glass.take(conn, seat.name, case_id, fields.get("reason", ""), seat.services.clock())
    return RedirectResponse(f"/cases/{case_id}", 303)


@router.get("/break-glass")
def unreviewed(
    request: Request, seat: Annotated[Seat, allow("coordinator", "auditor", "administrator", audit=None)]
) -> Response:
    """What nobody has looked at yet."""
    with seat.services.catalogue.read() as conn:
        found = break_glass.unreviewed(conn)
        cases = {one.case_id: worklist.get_case(conn, one.case_id) for one in found}
    return page(request, seat, "break_glass_review.html", taken=found, cases=cases)


@router.post("/break-glass/{number}/seen")
def review(
    seat: Annotated[Seat, allow("coordinator", "auditor", "administrator", audit="review_break_glass")], number: str
) -> Response:
    """It has been looked at."""
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InputRejected("request_invalid", "This is no number.")
    with seat.services.catalogue.write() as conn:
        break_glass.review(conn, int(number), seat.name, seat.services.clock())
    return RedirectResponse("/break-glass", 303)
