"""Acts on claims: take a case, take the next, give one back, hand one over, take one from a reader who is away.

Each is a plain form; what the act says of itself in the audit is written where it happens (reading/claims.py).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.reading import claims, desk
from teleread.reading.ups import Event
from teleread.web import next_case
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.security import Seat, allow
from teleread.web.texts import BREAK_REASONS, RELEASE_REASONS

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.post("/cases/{case_id}/claim")
def claim(seat: Annotated[Seat, allow("reader", audit="claim")], case_id: str) -> Response:
    """Take this case; whoever comes second gets the next one."""
    return RedirectResponse(next_case.take_or_next(seat, case_id), 303)


@router.post("/claims/next")
def claim_next(seat: Annotated[Seat, allow("reader", audit="claim")]) -> Response:
    """Take the most urgent case that this reader may read, or go back to the one that she has."""
    return RedirectResponse(next_case.go_on(seat, "", "nothing_waits"), 303)


@router.post("/cases/{case_id}/release")
def release(
    request: Request, seat: Annotated[Seat, allow("reader", audit="end_claim")], case_id: str, fields: Fields
) -> Response:
    """Give a case back: it waits again, in its place, with what was typed."""
    reason = _reason(fields, RELEASE_REASONS)
    event: Event = "handed_over" if reason == "shift_end" else "released"
    _end(seat, case_id, event, reason, _fence(fields))
    return RedirectResponse(f"/worklist?told={event}", 303)


@router.post("/cases/{case_id}/hand-over")
def hand_over(
    request: Request, seat: Annotated[Seat, allow("reader", audit="end_claim")], case_id: str, fields: Fields
) -> Response:
    """Hand a case over at the end of a shift, with the draft, which whoever takes it next goes on with."""
    _end(seat, case_id, "handed_over", "shift_end", _fence(fields))
    return RedirectResponse("/worklist?told=handed_over", 303)


@router.post("/cases/{case_id}/break")
def break_claim(
    seat: Annotated[Seat, allow("coordinator", audit="end_claim")], case_id: str, fields: Fields
) -> Response:
    """Take a case from its reader: it waits again; the reader's page says so, and the draft is kept."""
    _end(seat, case_id, "broken", _reason(fields, BREAK_REASONS), None)
    return RedirectResponse("/coordinator?told=broken", 303)


def _end(seat: Seat, case_id: str, event: Event, reason: str, fence: int | None) -> None:
    services = seat.services
    with services.catalogue.write() as conn:
        if not desk.standing(conn, [case_id]):
            raise NotFound()
        claims.give_back(conn, case_id, event, seat.name, reason, services.clock(), fence=fence)


def _reason(fields: dict[str, str], known: dict[str, str]) -> str:
    reason = fields.get("reason", "")
    if reason not in known:
        raise InputRejected("reason_missing", "An act like this names a reason.")
    return reason


def _fence(fields: dict[str, str]) -> int:
    """The token of the claim that the form was shown for: without it a form from before could end a later claim."""
    text = fields.get("fence", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputRejected("request_invalid", "The form names no claim.")
    return int(text)
