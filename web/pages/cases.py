"""One case for its reader: an ECG, images, or what could not be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.ingest.imaging import WINDOW_PRESETS
from teleread.pipeline.services import PIPELINE_VERSION, Services
from teleread.reading import reports, worklist
from teleread.reading.worklist import Case, InstanceRow
from teleread.storage.objects.raw import get_raw
from teleread.web import identity, queries
from teleread.web.errors import NotFound
from teleread.web.limits import small_form
from teleread.web.pages.worklist import wanted
from teleread.web.render import page
from teleread.web.security import Seat, allow

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
    with services.catalogue.write() as conn:
        case = _case(worklist.get_case(conn, case_id))
        seat.record(conn, "case", case_id)
        acquired = queries.acquired_at(conn, case.item.study_id)
        signed = reports.reports_of(conn, case_id)
        keys = {
            name: queries.derived_key(conn, case.item.arrival_id, name, PIPELINE_VERSION)
            for name in ("analysis.json", "display.json")
        }
    people = identity.join(seat, [wanted(case.item)], "read")
    common: dict[str, Any] = {
        "case": case,
        "item": case.item,
        "person": people.by_case[case.item.case_id],
        "vault_answered": people.vault_answered,
        "acquired_at": acquired,
        "reports": signed,
    }
    if all(keys.values()):
        display, analysis = (_json(services, str(keys[name])) for name in ("display.json", "analysis.json"))
        filters = dict.fromkeys(("high_pass_hz", "low_pass_hz", "notch_hz")) | display.get("filters", {})
        return page(request, seat, "case_ecg.html", display=display, analysis=analysis, filters=filters, **common)
    found = _series(case)
    if found:
        shown = next((one for one in found if one.id == series), found[0])
        presets = list(WINDOW_PRESETS) if shown.modality == "CT" else ["default", "full"]
        return page(request, seat, "case_image.html", series=found, shown=shown, presets=presets, **common)
    return page(request, seat, "case_other.html", **common)


@router.post("/cases/{case_id}/report")
def sign(
    seat: Annotated[Seat, allow("reader", audit="sign")],
    case_id: str,
    fields: Annotated[dict[str, str], Depends(small_form)],
) -> Response:
    """Sign a report on an ECG; its audit event is written with it. Images cannot be signed from here."""
    services, now = seat.services, seat.services.clock()
    with services.catalogue.write() as conn:
        case = _case(worklist.get_case(conn, case_id))
        if _series(case) and case.item.modality != "ECG":
            raise NotFound()
        connection = services.alliance.connection(case.item.site_id, now.date())
        reports.sign_report(
            conn,
            case_id,
            text=fields.get("text", "").replace("\r\n", "\n"),
            critical=fields.get("critical") == "1",
            signed_by=seat.name,
            channel=connection.report_back if connection else "web",
            at=now,
        )
    return RedirectResponse(f"/cases/{case_id}", 303)


@router.get("/cases/{case_id}/raw")
def raw(seat: Annotated[Seat, allow("reader", audit="download")], case_id: str) -> Response:
    """The bytes exactly as they arrived, never to be opened by the browser itself."""
    with seat.services.catalogue.write() as conn:
        case = _case(worklist.get_case(conn, case_id))
        seat.record(conn, "case", case_id)
        found = queries.raw_of(conn, case.item.arrival_id)
    if found is None:
        raise NotFound()
    receipt, sha256 = found
    data = get_raw(seat.services.store, sha256)
    disposition = f'attachment; filename="{receipt}.bin"'
    return Response(data, media_type="application/octet-stream", headers={"content-disposition": disposition})


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
