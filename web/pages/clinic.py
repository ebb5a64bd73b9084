"""The clinic's pages: send a recording, and see what became of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.pipeline import identity_corrections
from teleread.pipeline.verdict import Verdict, verdict
from teleread.reading import corrections, notices, questions
from teleread.web import identity, queries
from teleread.web.api.upload import take
from teleread.web.errors import NotFound
from teleread.web.render import page
from teleread.web.security import Seat, allow
from teleread.web.sending import light

router = APIRouter()


@router.get("/upload")
def upload_page(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)]) -> Response:
    """Choose a recording and send it; what was sent lately, without names."""
    with seat.services.catalogue.read() as conn:
        sent = queries.sent_by(conn, seat.site_id)
        n_notices = notices.count_unseen(conn, seat.name, seat.site_id)
    limit: int = request.app.state.upload_limit_bytes
    return page(request, seat, "upload.html", sent=sent, limit=limit, n_notices=n_notices)


@router.post("/upload")
async def upload_form(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")]) -> Response:
    """The same as the program's way, for a browser without scripts."""
    sent = await take(request, seat)
    return RedirectResponse(f"/receipts/{sent.landed.receipt}", 303)


@router.get("/receipts/{receipt}")
def receipt_page(request: Request, seat: Annotated[Seat, allow("uploader", audit="view")], receipt: str) -> Response:
    """Receipt number, whose recording it is, the verdict, the state and the report."""
    found = _verdict(seat, receipt)
    with seat.services.catalogue.write() as conn:
        seat.record(conn, "arrival", found.arrival_id)
        acquired, sex, age = queries.study_of(conn, found.arrival_id)
        case_id = found.case_id or found.arrival_id
        asked = questions.questions_of_case(conn, case_id, site_id=seat.site_id)
        corrected = corrections.last_corrected(conn, case_id)
    people = identity.join(seat, [identity.Wanted(case_id, found.patient_pseudonym, sex, age)], "read_back")
    person = people.by_case[case_id]
    return page(
        request,
        seat,
        "receipt.html",
        person=person,
        corrected=corrected,
        issuers=identity_corrections.issuers(seat.services, [person.issuer, seat.site_id], seat.site_id),
        vault_answered=people.vault_answered,
        acquired_at=acquired,
        questions=asked,
        **_status(found),
    )


@router.get("/receipts/{receipt}/status")
def receipt_status(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)], receipt: str) -> Response:
    """The part of the page that changes, polled by it: verdict, state, report. No identity."""
    return page(request, seat, "_receipt_status.html", **_status(_verdict(seat, receipt)))


def _verdict(seat: Seat, receipt: str) -> Verdict:
    found = verdict(seat.services, receipt=receipt.upper(), site_id=seat.site_id)
    if found is None:
        raise NotFound()
    return found


def _status(found: Verdict) -> dict[str, Any]:
    return {"verdict": found, "light": light(found)}
