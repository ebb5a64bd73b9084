"""What a case's page asks for while a report is written, and the report given back as JSON and as a sheet."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teleread.errors import Conflict, InputRejected
from teleread.pipeline.given_states import AT_ONCE, given_states
from teleread.pipeline.report_files import report_json, report_pdf
from teleread.pipeline.verdict import Verdict
from teleread.reading import drafts
from teleread.reading.statements import lexicon
from teleread.web import case_report, signing
from teleread.web.api import forms
from teleread.web.errors import NotFound
from teleread.web.limits import RateLimiter, small_body, small_form
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]
Body = Annotated[bytes, Depends(small_body)]


@router.get("/api/statements")
def statements(seat: Annotated[Seat, allow("reader", audit=None)]) -> JSONResponse:
    """The statements, as the page searches them: by code, number, Chinese, pinyin initials or English."""
    words = lexicon()
    critical = words.critical_on(seat.services.clock().date())
    found = [
        {
            "code": one.code,
            "category": words.categories[one.category][seat.language if seat.language == "zh" else "en"],
            "aha": list(one.aha),
            "zh": one.zh,
            "en": one.en,
            "initials": one.initials,
            "critical": one.code in critical,
            "excludes": sorted(words.excludes.get(one.code, ())),
        }
        for one in words.statements.values()
    ]
    macros = [
        {"name": one.name, "key": one.key, "statements": list(one.statements), "normal": one.normal}
        for one in words.macros
    ]
    answers = {code: list(said) for code, said in words.flags.items()}
    return JSONResponse({"version": words.version, "statements": found, "macros": macros, "answers": answers})


@router.put("/api/cases/{case_id}/draft")
def save_draft(seat: Annotated[Seat, allow("reader", audit=None)], case_id: str, body: Body) -> JSONResponse:
    """Keep what has been typed: ``{item_id, fence, revision, body}``; the answer's revision goes with the next one.

    Saving is part of the claim, which has its own audit event: one for each second of typing would hide the others.
    """
    wanted = _object(body)
    services = seat.services
    try:
        item_id, fence, revision = str(wanted["item_id"]), int(wanted["fence"]), int(wanted["revision"])
        typed = wanted["body"]
        if not isinstance(typed, dict):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise InputRejected("request_invalid", "The draft cannot be understood.") from error
    with services.catalogue.write() as conn:
        revision = drafts.save(conn, case_id, item_id, fence, seat.name, typed, revision, services.clock())
    return JSONResponse({"revision": revision})


@router.get("/api/cases/{case_id}/draft")
def show_draft(seat: Annotated[Seat, allow("reader", audit="view")], case_id: str) -> JSONResponse:
    """The case's draft with its author, for the page that has found another one there than its own."""
    with seat.services.catalogue.write() as conn:
        found = drafts.draft_of(conn, case_id)
        if found is None:
            raise NotFound()
        check_access(conn, seat, "case", case_id)
        seat.record(conn, "case", case_id)
        name = case_report.display_name(conn, found.saved_by)
    body = {"body": found.body, "revision": found.revision, "saved_by": name, "saved_at": found.saved_at.isoformat()}
    return JSONResponse(body)


@router.post("/api/cases/{case_id}/report")
def sign(
    request: Request, seat: Annotated[Seat, allow("reader", audit="sign")], case_id: str, fields: Fields
) -> JSONResponse:
    """Sign, as the page's form does; errors as JSON, so that the page keeps what is typed on it."""
    wanted = signing.asked(fields)
    try:
        report = signing.sign(request, seat, case_id, wanted)
    except Conflict as error:
        again = signing.signed_already(seat, case_id, wanted)
        if again is None:
            if error.code == "claim_lost":
                signing.keep_typed(seat, case_id, wanted)
            raise
        report = again
    body = {"id": report.id, "version": report.version, "kind": report.kind, "critical": report.critical}
    return JSONResponse(
        body | {"sha256": report.sha256, "page": signing.then(request, seat, case_id, report.kind)}, 201
    )


@router.get("/api/receipts/-/reports")
def given(seat: Annotated[Seat, allow("uploader", audit=None)], of: Annotated[str, Query()] = "") -> JSONResponse:
    """``{reports: {receipt: {state, critical}}}`` of the receipts ``of``, separated by commas, that were given one.

    The state is a word that changes with what the files say; no text, no name and no other site's receipt is in it.
    """
    receipts = list(dict.fromkeys(filter(None, of.upper().split(","))))
    if len(receipts) > AT_ONCE:
        raise InputRejected("request_invalid", f"At most {AT_ONCE} receipts are asked for at once.")
    states = given_states(seat.services, seat.site_id, receipts)
    return JSONResponse({"reports": {of: {"state": one.word, "critical": one.critical} for of, one in states.items()}})


@router.get("/api/receipts/{receipt}/report.json")
def given_json(request: Request, seat: Annotated[Seat, allow("uploader", audit="download")], receipt: str) -> Response:
    """What was given back under a receipt, as JSON: the versions with their signatures, and whose they are."""
    found, state = _given(request, seat, receipt)
    data = report_json(seat.services, found, who=seat.name)
    return _file(data, "application/json", f"{found.receipt}.json", state)


@router.get("/api/receipts/{receipt}/report.pdf")
def given_pdf(request: Request, seat: Annotated[Seat, allow("uploader", audit="download")], receipt: str) -> Response:
    """What was given back under a receipt, as a sheet to print, with the tracing at its true scale."""
    found, state = _given(request, seat, receipt)
    data = report_pdf(seat.services, found, seat.language, who=seat.name)
    return _file(data, "application/pdf", f"{found.receipt}.pdf", state)


def _given(request: Request, seat: Seat, receipt: str) -> tuple[Verdict, str]:
    """What was given back to the seat's own site, and the state that it is in or was in a moment before; every look at
    it is in the audit before it is answered.
    """
    limiter: RateLimiter = request.app.state.download_limiter
    if not limiter.admit(seat.name, seat.services.clock()):
        raise InputRejected("too_many_downloads", "Too many reports were fetched within a minute.")
    state = given_states(seat.services, seat.site_id, [receipt.upper()]).get(receipt.upper())
    found = forms.own(seat, receipt)
    if not found.reports:
        raise NotFound()
    with seat.services.catalogue.write() as conn:
        seat.record(conn, "case", found.case_id or found.arrival_id, {"versions": len(found.reports)})
    return found, state.word if state else ""


def _file(data: bytes, kind: str, name: str, state: str) -> Response:
    """The file with the hash of its bytes (RFC 9530), by which a program sees that it has come through whole."""
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {"repr-digest": f"sha-256=:{digest}:", "teleread-report": state}
    return Response(data, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"', **headers})


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputRejected("request_invalid", "The draft cannot be understood.") from error
    if not isinstance(found, dict):
        raise InputRejected("request_invalid", "The draft cannot be understood.")
    return found
