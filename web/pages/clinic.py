"""The clinic's pages: send recordings, and see what became of them.

The page sends by itself (``static/js/upload.js``) and takes what it shows of a receipt from here in pieces; each piece
is also part of a whole page with plain forms, for a browser without scripts.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.pipeline import identity_corrections
from teleread.pipeline.verdict import Verdict
from teleread.reading import clinic, corrections, notices, questions
from teleread.reading.symptoms import Form, fields
from teleread.storage.catalogue.lookups import derived_key
from teleread.web import clinic_state, identity, queries
from teleread.web.api import forms
from teleread.web.api.forms import Fields
from teleread.web.api.upload import take
from teleread.web.pages import offline
from teleread.web.render import Renderer, page
from teleread.web.security import Seat, allow
from teleread.web.sending import ANALYSIS_WAIT_S

router = APIRouter()

_LOOK_EVERY_S = 0.05


@router.get("/upload")
def upload_page(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)]) -> Response:
    """Choose a recording and send it; what was sent lately, without names."""
    with seat.services.catalogue.read() as conn:
        sent = queries.sent_by(conn, seat.site_id)
        n_notices = notices.count_unseen(conn, seat.name, seat.site_id)
    limit: int = request.app.state.upload_limit_bytes
    answer = page(
        request,
        seat,
        "upload.html",
        site_id=seat.site_id,
        scripts=offline.SCRIPTS,
        shell=False,
        sent=sent,
        limit=limit,
        n_notices=n_notices,
        answers=Form(),
    )
    answer.headers.update(offline.marks(request, seat))
    return answer


@router.post("/upload")
async def upload_form(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")]) -> Response:
    """The same as the program's way, for a browser without scripts."""
    sent = await take(request, seat)
    return RedirectResponse(f"/receipts/{sent.landed.receipt}", 303)


@router.get("/receipts/{receipt}")
def receipt_page(request: Request, seat: Annotated[Seat, allow("uploader", audit="view")], receipt: str) -> Response:
    """Receipt number, whose recording it is, the verdict, the state and the report."""
    found = forms.own(seat, receipt)
    values = _person(seat, found)
    issuers = identity_corrections.issuers(seat.services, [values["person"].issuer, seat.site_id], seat.site_id)
    return page(request, seat, "receipt.html", issuers=issuers, **values, **_marked(request, seat, found))


@router.get("/receipts/{receipt}/card")
def receipt_card(
    request: Request,
    seat: Annotated[Seat, allow("uploader", audit="view")],
    receipt: str,
    wait: Annotated[float, Query(ge=0, le=ANALYSIS_WAIT_S)] = 0,
) -> Response:
    """Whose recording it is, the verdict and the state, as a piece of a page.

    Args:
        wait: seconds to wait at the most for the verdict, so that one question over a slow line is enough.
    """
    ends = time.monotonic() + wait
    found = forms.own(seat, receipt)
    # the queue follows the verdict at once
    while (found.state == "landed" or found.case_id is None) and time.monotonic() < ends:
        time.sleep(_LOOK_EVERY_S)
        found = forms.own(seat, receipt)
    return page(request, seat, "_receipt_card.html", **_person(seat, found), **_marked(request, seat, found))


@router.get("/receipts/{receipt}/status")
def receipt_status(
    request: Request, seat: Annotated[Seat, allow("uploader", audit=None)], receipt: str, seen: str = ""
) -> Response:
    """The part of the page that changes, polled by it: verdict, state, report. No identity.

    Args:
        seen: the state that the page shows; where it is still that, nothing is sent (204).
    """
    values = _marked(request, seat, forms.own(seat, receipt))
    if values["state_mark"] == seen:
        return Response(status_code=204)
    answer = page(request, seat, "_receipt_status.html", **values)
    answer.headers["teleread-state"] = values["state_mark"]
    return answer


@router.post("/receipts/{receipt}/form")
def form(seat: Annotated[Seat, allow("uploader", audit="form")], receipt: str, fields: Fields) -> Response:
    """The form of a browser without scripts."""
    forms.save(seat, receipt, fields)
    return _back(receipt)


@router.post("/receipts/{receipt}/patient")
def patient(seat: Annotated[Seat, allow("uploader", audit="form")], receipt: str) -> Response:
    """The name that was read back is the patient's."""
    forms.confirm(seat, receipt)
    return _back(receipt)


@router.post("/receipts/{receipt}/urgent")
def urgent(seat: Annotated[Seat, allow("uploader", audit="raise")], receipt: str) -> Response:
    """It is urgent after all."""
    forms.make_urgent(seat, receipt)
    return _back(receipt)


@router.post("/receipts/{receipt}/read")
def read(seat: Annotated[Seat, allow("uploader", audit="acknowledge")], receipt: str, fields: Fields) -> Response:
    """A critical report has been read."""
    forms.acknowledge(seat, receipt, fields.get("report", ""))
    return _back(receipt)


def _back(receipt: str) -> Response:
    return RedirectResponse(f"/receipts/{receipt}", 303)


def _marked(request: Request, seat: Seat, found: Verdict) -> dict[str, Any]:
    """The state with a mark of how it looks, by which a page asks whether it has changed."""
    values = clinic_state.state(seat, found)
    renderer: Renderer = request.app.state.renderer
    html = renderer.html(request, seat.language, "_receipt_status.html", seat, **values)
    return values | {"state_mark": clinic_state.fingerprint(html)}


def _person(seat: Seat, found: Verdict) -> dict[str, Any]:
    """Whose recording it is, joined from the vault, and what the clinic has said of it. The caller is a view."""
    case_id = found.case_id or found.arrival_id
    with seat.services.catalogue.write() as conn:
        seat.record(conn, "arrival", found.arrival_id)
        acquired, sex, age = queries.study_of(conn, found.arrival_id)
        asked = questions.questions_of_case(conn, case_id, site_id=seat.site_id)
        corrected = corrections.last_corrected(conn, case_id)
        saved = clinic.form_of(conn, found.arrival_id)
        display_key = derived_key(conn, found.arrival_id, "display.json")
    people = identity.join(seat, [identity.Wanted(case_id, found.patient_pseudonym, sex, age)], "read_back")
    return {
        "person": people.by_case[case_id],
        "vault_answered": people.vault_answered,
        "acquired_at": acquired,
        # what was made before it was kept has none
        "device": json.loads(seat.services.store.get(display_key)).get("device", "") if display_key else "",
        "corrected": corrected,
        "questions": asked,
        "saved": saved,
        "answers": saved.form if saved else Form(),
        "answered": fields(saved.form) if saved else {},
    }
