"""Which case a reader goes on with: what lies in her hands already, unless something urgent waits; else the next one.

Two who ask at once get two cases. Whoever comes second to a case is led on to the next with a sentence, which
stands in the address as a code (``told``) and on the page in words (:data:`teleread.web.texts.TOLD`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from teleread.errors import Conflict
from teleread.reading import break_glass, claims, desk
from teleread.reading.access import NotLicensed
from teleread.reading.claims import Claim
from teleread.reading.order import Reach
from teleread.web.errors import NotFound
from teleread.web.room import reach_of
from teleread.web.security import Seat
from teleread.web.viewing import check_access

PAUSE_COOKIE = "teleread_pause"
"""Set while a reader rests: after signing nothing is claimed for her."""

TAKEN = frozenset({"case_claimed", "case_not_open"})
"""Codes that say that somebody else was faster."""


def take(seat: Seat, case_id: str) -> Claim:
    """Claim one case.

    Raises:
        NotFound: there is no such case.
        Conflict: as :func:`teleread.reading.claims.claim_case`, also for readers with another licence.
    """
    services = seat.services
    with services.catalogue.write() as conn:
        if not desk.standing(conn, [case_id]):
            raise NotFound()
        try:
            check_access(conn, seat, "case", case_id)
        except NotLicensed as error:
            raise Conflict("case_not_yours", "This case is for other readers.") from error
        reach, now = reach_of(seat), services.clock()
        if break_glass.holds(conn, seat.name, case_id, now):
            # opened with a reason: the pool that it waits in counts as hers for this case
            reach = replace(reach, pools=(*reach.pools, *desk.pools_of(conn, case_id)))
        return claims.claim_case(conn, case_id, reach, now)


def take_or_next(seat: Seat, case_id: str) -> str:
    """Claim a case, or the next one where somebody else was faster; returns where to go."""
    try:
        return f"/cases/{take(seat, case_id).case_id}"
    except Conflict as error:
        if error.code not in TAKEN:
            return f"/worklist?told={error.code}"
    return go_on(seat, "taken", "taken_last")


def go_on(seat: Seat, told: str, told_nothing: str, nothing: str = "/worklist") -> str:
    """Claim what this reader goes on with; returns where to go.

    Args:
        told: what is said on the next case, empty for nothing.
        told_nothing: what is said where nothing waits.
        nothing: where to go then.
    """
    services = seat.services
    with services.catalogue.write() as conn:
        found = _next(conn, reach_of(seat), services.clock())
    if found is None:
        return f"{nothing}?told={told_nothing}"
    claim, is_new = found
    words = told if is_new else "still_yours"
    return f"/cases/{claim.case_id}" + (f"?told={words}" if words else "")


def after_signing(request: Request, seat: Seat, case_id: str) -> str:
    """Where a reader goes who has just signed: to the next case, claimed for her; nowhere while she rests."""
    if is_paused(request):
        return f"/cases/{case_id}?told=paused"
    return go_on(seat, "signed", "signed_last", nothing=f"/cases/{case_id}")


def is_paused(request: Request) -> bool:
    """Whether the reader rests."""
    return request.cookies.get(PAUSE_COOKIE) == "1"


def pause(response: Response, *, on: bool, secure: bool) -> None:
    """Remember that the reader rests, or rests no more, until the browser is closed."""
    if on:
        response.set_cookie(PAUSE_COOKIE, "1", httponly=True, samesite="strict", secure=secure)
    else:
        response.delete_cookie(PAUSE_COOKIE)


def _next(conn: Connection, reach: Reach, at: datetime) -> tuple[Claim, bool] | None:
    """A claim, and whether it is a new one."""
    held = desk.page(conn, desk.View(show="mine"), reach, limit=1).rows
    if held and (held[0].band == 0 or not desk.page(conn, desk.View(priority="urgent"), reach, limit=1).rows):
        mine = claims.current(conn, held[0].case_id, reach.who, at)
        if mine is not None:
            return mine, False
    new = claims.claim_next(conn, reach, at)
    return None if new is None else (new, True)
