"""Readings beside the first one: ask a colleague, withdraw what was asked, compare and grade a second reading.

What each act says of itself in the audit is written where it happens (reading/second.py).
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.alliance import PRIORITIES
from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.pipeline.route import placing
from teleread.reading import claims, desk, reports, second
from teleread.reading.second import Compared, Grade
from teleread.reading.worklist import get_case
from teleread.web import second_view
from teleread.web.case_report import display_name
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.render import page
from teleread.web.second_view import GRADES, MAY_WITHDRAW, Listed
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access, view

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.post("/cases/{case_id}/ask")
def ask(
    seat: Annotated[Seat, allow("reader", "coordinator", audit="enqueue")], case_id: str, fields: Fields
) -> Response:
    """Ask a second opinion, or specialists: it is queued at once, in the pool where the rules send it."""
    how, question = fields.get("how", ""), fields.get("question", "").strip()
    priority = fields.get("priority", "routine")
    if how not in {"go_on", "wait", "consultation"} or priority not in PRIORITIES:
        raise InputRejected("request_invalid", "The form cannot be understood.")
    services, now = seat.services, seat.services.clock()
    place = placing(services.room, now)
    with services.catalogue.write() as conn:
        if not desk.standing(conn, [case_id]):
            raise NotFound()
        check_access(conn, seat, "case", case_id)
        if not question:
            raise InputRejected("question_missing", "A question is asked.")
        if how == "consultation":
            _check_may_consult(conn, seat, case_id)
            second.consult(conn, case_id, seat.name, now, priority=priority, question=question, placing=place)
        else:
            held = claims.current(conn, case_id, seat.name, now)
            if held is None or str(held.fence) != fields.get("fence", ""):
                raise Conflict("claim_lost", "You no longer have this case.")
            waits = how == "wait"
            claim = held.item_id, seat.name, held.fence, now
            second.ask_opinion(conn, *claim, waits=waits, question=question, placing=place)
    if how == "wait":
        return RedirectResponse("/worklist?told=asked_waits", 303)
    return RedirectResponse(_back(seat, case_id) + "?told=asked", 303)


@router.post("/cases/{case_id}/not-needed")
def withdraw(seat: Annotated[Seat, allow("reader", "coordinator", audit="withdraw_request")], case_id: str) -> Response:
    """An opinion or a consultation that nobody has begun is not needed any more; ``case_id`` is its own case."""
    services = seat.services
    with services.catalogue.write() as conn:
        asked = second.asked_of(conn, case_id)
        if asked is None:
            raise NotFound()
        check_access(conn, seat, "case", asked.of_case)
        second.withdraw(conn, case_id, seat.name, services.clock(), by_role=seat.role in MAY_WITHDRAW)
    return RedirectResponse(_back(seat, asked.of_case) + "?told=not_needed", 303)


@router.get("/second-readings")
def listed(request: Request, seat: Annotated[Seat, allow("reader", audit=None)]) -> Response:
    """What the viewer has read a second time and not graded, and what was found in her own reports. No identities."""
    with seat.services.catalogue.read() as conn:
        ungraded, told = second.ungraded(conn, seat.name), second.feedback(conn, seat.name)
        receipts = desk.receipts_of(conn, [*(one.case_id for one in ungraded), *(one.case_id for one in told)])
    to_grade = [Listed(one.id, receipts.get(one.case_id, ""), one.ended_at) for one in ungraded]
    found = [Listed(one.item_id, receipts.get(one.case_id, ""), one.graded_at, one.grade) for one in told]
    return page(request, seat, "second_readings.html", to_grade=to_grade, found=found)


@router.get("/second-readings/{item_id}")
def compare(request: Request, seat: Annotated[Seat, allow("reader", audit="view")], item_id: str) -> Response:
    """Both reports side by side: for the second reader to grade, for the first reader with the grade. No identity."""
    with seat.services.catalogue.read() as conn:
        case_id = _compared(conn, seat, item_id).first.case_id

    def read(conn: Connection) -> tuple[Compared, str, str]:
        found = _compared(conn, seat, item_id)
        case = get_case(conn, found.first.case_id)
        return found, "" if case is None else case.item.receipt, display_name(conn, found.reading.claimed_by)

    # whose the reports are was asked above: a licence may have ended since
    viewed = view(seat, read, "case", case_id, of_patient=False)
    found, receipt, second_reader = viewed.value
    return page(
        request,
        seat,
        "second_reading.html",
        unrecorded=not viewed.recorded,
        found=found,
        receipt=receipt,
        second_reader=second_reader,
        first_only=second_view.only_here(found.first, found.second, seat.language),
        second_only=second_view.only_here(found.second, found.first, seat.language),
        is_mine=found.reading.claimed_by == seat.name,
        grades=GRADES,
    )


@router.post("/second-readings/{item_id}/grade")
def grade(seat: Annotated[Seat, allow("reader", audit="grade")], item_id: str, fields: Fields) -> Response:
    """Say how far the two reports differ; the next one to grade follows, else the worklist."""
    services, said = seat.services, fields.get("grade", "")
    if said not in GRADES:
        raise InputRejected("bad_grade", "A grade is 0, 1, 2 or 3.")
    with services.catalogue.write() as conn:
        if _compared(conn, seat, item_id).reading.claimed_by != seat.name:
            raise NotFound()
        note = fields.get("note", "").strip()
        second.grade(conn, item_id, cast(Grade, int(said)), seat.name, services.clock(), note=note)
        further = second.ungraded(conn, seat.name)
    return RedirectResponse(
        f"/second-readings/{further[0].id}?told=graded" if further else "/worklist?told=graded", 303
    )


@router.post("/second-readings/{item_id}/seen")
def seen(seat: Annotated[Seat, allow("reader", audit="notice_seen")], item_id: str) -> Response:
    """The first reader has seen what was found in her report."""
    services = seat.services
    with services.catalogue.write() as conn:
        found = _compared(conn, seat, item_id)
        if second.mark_seen(conn, item_id, seat.name, services.clock()):
            seat.record(conn, "case", found.first.case_id, {"item": item_id})
        further = second.feedback(conn, seat.name, limit=1)
    return RedirectResponse(f"/second-readings/{further[0].item_id}" if further else "/worklist", 303)


def _compared(conn: Connection, seat: Seat, item_id: str) -> Compared:
    found = second.compared(conn, item_id, seat.name)
    if found is None:
        raise NotFound()
    return found


def _check_may_consult(conn: Connection, seat: Seat, case_id: str) -> None:
    case = get_case(conn, case_id)
    claimed_by = None if case is None else case.item.claimed_by
    if not second_view.may_ask(seat, claimed_by, reports.reports_of(conn, case_id)):
        raise AccessDenied("not_yours_to_ask", "Only who reads or has read this case asks about it.")


def _back(seat: Seat, case_id: str) -> str:
    """A coordinator has no page of the case itself."""
    return f"/cases/{case_id}/explain" if seat.role == "coordinator" else f"/cases/{case_id}"
