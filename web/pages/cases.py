"""One case for its reader: an ECG, images, or what could not be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.ingest.imaging import WINDOW_PRESETS
from teleread.pipeline import identity_corrections
from teleread.pipeline.services import Services
from teleread.reading import access, claims, reports, worklist
from teleread.reading.blind import Blind
from teleread.reading.claims import Claim
from teleread.reading.reports import Report
from teleread.reading.worklist import Case, InstanceRow
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.objects.raw import get_raw
from teleread.web import (
    case_clinic,
    case_identity,
    case_report,
    case_tracing,
    identity,
    next_case,
    queries,
    readings,
    second_view,
)
from teleread.web.case_clinic import CaseClinic
from teleread.web.case_identity import CaseIdentity
from teleread.web.case_report import ReportView
from teleread.web.errors import NotFound
from teleread.web.pages.worklist import wanted
from teleread.web.render import page
from teleread.web.second_view import Beside
from teleread.web.security import Seat, allow, token_of
from teleread.web.texts import FLAG_REASONS, RELEASE_REASONS
from teleread.web.viewing import check_access, view

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Series:
    """A series as the image page lists it: its instances, each with the number of its first frame."""

    id: str
    number: int | None
    modality: str
    instances: tuple[InstanceRow, ...]
    n_frames: int


@router.get("/cases/{case_id}")
def show(
    request: Request, seat: Annotated[Seat, allow("reader", audit="view")], case_id: str, series: str = ""
) -> Response:
    """The case's page; opening it is an audit event."""
    services = seat.services

    try:
        viewed = view(seat, lambda conn: _read(conn, case_id, seat), "case", case_id)
    except access.NotLicensed:
        return RedirectResponse(f"/cases/{case_id}/break-glass", 303)
    except Blind as error:
        return RedirectResponse(f"/cases/{error.reading}?told=blind", 303)
    case, keys = viewed.value.case, viewed.value.keys
    if viewed.recorded:
        case_clinic.opened(seat, case_id)
    people = identity.join(seat, [wanted(case.item)], "read")
    person = people.by_case[case.item.case_id]
    common: dict[str, Any] = {
        "case": case,
        "item": case.item,
        "person": person,
        "vault_answered": people.vault_answered,
        "acquired_at": viewed.value.acquired_at,
        "reports": viewed.value.reports,
        "about": viewed.value.about,
        "clinic": viewed.value.clinic,
        "issuers": identity_corrections.issuers(services, [person.issuer, case.item.site_id]),
        "unrecorded": not viewed.recorded,
        "shown_as": viewed.value.shown_as,
        "claim": viewed.value.claim,
        "beside": viewed.value.beside,
        "paused": next_case.is_paused(request),
        "release_reasons": RELEASE_REASONS,
    }
    analysis = None if keys[1] is None else _json(services, keys[1])
    rules = services.alliance.ecg_rules(services.clock().date())
    common["writing"] = _writing(request, seat, viewed.value, analysis)
    if keys[0] is not None:
        display = _json(services, keys[0])
        analysis = analysis or readings.nothing(display)
        filters = dict.fromkeys(("high_pass_hz", "low_pass_hz", "notch_hz")) | display.get("filters", {})
        common |= {
            "display": display,
            "analysis": analysis,
            "filters": filters,
            "reading": readings.reading(analysis, rules),
            "lead_columns": list(readings.LEAD_COLUMNS.values()),
            "flag_reasons": FLAG_REASONS,
            "st_doubt": readings.st_doubt(analysis, filters),
            "tracing": case_tracing.read(
                seat,
                case.item.case_id,
                analysis,
                viewed.value.about,
                request.app.state.renderer.translate(seat.language),
            ),
        }
        return page(request, seat, "case_ecg.html", **common)
    found = _series(case)
    if found:
        shown = next((one for one in found if one.id == series), found[0])
        presets = list(WINDOW_PRESETS) if shown.modality == "CT" else ["default", "full"]
        return page(request, seat, "case_image.html", series=found, shown=shown, presets=presets, **common)
    return page(request, seat, "case_other.html", is_image=viewed.value.is_image, **common)


@router.get("/cases/{case_id}/raw")
def raw(seat: Annotated[Seat, allow("reader", audit="download")], case_id: str) -> Response:
    """The bytes exactly as they arrived, never to be opened by the browser itself."""
    services = seat.services
    with services.catalogue.write() as conn:
        case = _case(worklist.get_case(conn, case_id))
        check_access(conn, seat, "case", case_id)
        seat.record(conn, "case", case_id)
        found = queries.raw_of(conn, case.item.arrival_id)
    if found is None:
        raise NotFound()
    receipt, sha256 = found
    data = get_raw(seat.services.store, sha256)
    disposition = f'attachment; filename="{receipt}.bin"'
    return Response(data, media_type="application/octet-stream", headers={"content-disposition": disposition})


@dataclass(frozen=True, slots=True)
class _Read:
    """What a case's page reads from the catalogue."""

    case: Case
    is_image: bool
    acquired_at: datetime | None
    reports: list[Report]
    keys: tuple[str | None, str | None]  # of display.json and analysis.json
    shown_as: list[str]  # pictures and documents
    about: CaseIdentity
    clinic: CaseClinic
    claim: Claim | None  # the viewer's own
    beside: Beside


def _read(conn: Connection, case_id: str, seat: Seat) -> _Read:
    case = _case(worklist.get_case(conn, case_id))
    item, now = case.item, seat.services.clock()
    # an image stays one when it cannot be read, and has no series then
    is_image = item.modality != "ECG" and (bool(_series(case)) or queries.kind_of(conn, item.arrival_id) == "image")
    display, analysis = (derived_key(conn, item.arrival_id, name) for name in ("display.json", "analysis.json"))
    acquired_at = queries.acquired_at(conn, item.study_id)
    signed = reports.reports_of(conn, case_id)
    claim = claims.current(conn, case_id, seat.name, now)
    return _Read(
        case,
        is_image,
        acquired_at,
        signed,
        (display, analysis),
        queries.shown_of(conn, item.arrival_id),
        case_identity.read(conn, item, acquired_at, now),
        case_clinic.read(conn, case_id, signed),
        claim,
        second_view.read(conn, seat, item, claim, signed),
    )


def _writing(request: Request, seat: Seat, read: _Read, analysis: dict[str, Any] | None) -> ReportView:
    services, (token, _by_cookie) = seat.services, token_of(request)
    rules = services.alliance.ecg_rules(services.clock().date())
    with services.catalogue.read() as conn:
        return case_report.read(conn, seat, token, read.case.item, read.reports, analysis, rules)


def _case(case: Case | None) -> Case:
    if case is None:
        raise NotFound()
    return case


def _json(services: Services, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(services.store.get(key))
    return found


def _series(case: Case) -> list[Series]:
    by_id: dict[str, list[InstanceRow]] = {}
    for instance in case.instances:
        if instance.n_frames:
            by_id.setdefault(instance.series_id, []).append(instance)
    return [
        Series(key, rows[0].series_number, rows[0].modality, tuple(rows), sum(row.n_frames or 0 for row in rows))
        for key, rows in by_id.items()
    ]
