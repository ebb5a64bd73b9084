"""A tracing page by page and through filters, its usual beat, the earlier recording beside it, and its PDF."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teleread.alliance import EcgRules
from teleread.errors import Conflict
from teleread.reading import corrections, earlier, persons, worklist
from teleread.reading.persons import Prior
from teleread.reading.tracing import WINDOW_S, Keys, Tracings
from teleread.reading.tracing_sheet import PAGE_S, Setting, tracing_pdf
from teleread.reading.worklist import WorkItem
from teleread.signal.ecg.views import View
from teleread.storage.catalogue.lookups import derived_key
from teleread.web import format as formats
from teleread.web import identity, queries, readings
from teleread.web.api.frames import Lately
from teleread.web.errors import NotFound
from teleread.web.pages.worklist import wanted
from teleread.web.render import Renderer
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access, view

router = APIRouter()

_LATEST = 1 << 40

Reader = Annotated[Seat, allow("reader", audit="view")]


@router.get("/api/recordings/{arrival_id}/window")
def window(
    request: Request,
    seat: Reader,
    arrival_id: str,
    start: Annotated[int, Query(ge=0, le=_LATEST)] = 0,
    n: Annotated[int, Query(ge=1, le=_LATEST)] = 5000,
    shown: Annotated[View, Query(alias="view")] = "diagnostic",
) -> Response:
    """Samples from ``start`` on, a minute at the most, in one view; ``Window.to_bytes`` says in which form.

    An audit event per person and recording, not per page that is turned.
    """
    keys = _keys(request, seat, arrival_id)
    found = _tracings(request).window(keys, start, n, shown)
    return Response(found.to_bytes(), media_type="application/octet-stream")


@router.get("/api/ahead/{arrival_id}/window")
def ahead(request: Request, seat: Annotated[Seat, allow("reader", audit="prefetch")], arrival_id: str) -> Response:
    """What the page of a case asks for first, for a case that is not open yet. ``Content-Location`` says how it will
    ask. 404 where it asks for pages of a long recording.
    """
    keys = view(seat, lambda conn: keys_of(conn, arrival_id), "arrival", arrival_id).value
    display = _tracings(request).head(keys).display
    n_samples = int(display["n_samples"])
    if n_samples > WINDOW_S * display["fs_hz"]:
        raise NotFound()
    found = _tracings(request).window(keys, 0, n_samples, "diagnostic")
    place = f"/api/recordings/{arrival_id}/window?start=0&n={n_samples}&view=diagnostic"
    return Response(found.to_bytes(), media_type="application/octet-stream", headers={"content-location": place})


@router.get("/api/recordings/{arrival_id}/beat")
def beat(
    request: Request, seat: Reader, arrival_id: str, at: Annotated[int, Query(ge=0, le=_LATEST)] = 0
) -> JSONResponse:
    """The usual beat with its marks, of the part of the recording in which sample ``at`` lies; null where there is
    none. Without marks where the alliance's rules keep measurements from readers."""
    keys = _keys(request, seat, arrival_id)
    found = _tracings(request).beat(keys, at)
    if found is not None and not _rules(seat).measurement:
        found = found | {"marks": dict.fromkeys(found["marks"])}
    return JSONResponse(found)


@router.get("/api/cases/{case_id}/earlier")
def comparison(request: Request, seat: Reader, case_id: str, of: str = "") -> JSONResponse:
    """One earlier ECG of the same person and what has changed since, in words; the newest where none is named.

    404 for a recording that is not this person's by a standing link, also where it may "possibly" be theirs.
    """
    now = seat.services.clock()

    def read(conn: Connection) -> tuple[WorkItem, Prior, Keys, Keys]:
        item, priors = _priors(conn, case_id, now)
        prior = next((one for one in priors if of in ("", one.case_id)), None)
        if prior is None:
            raise NotFound()
        return item, prior, keys_of(conn, item.arrival_id), keys_of(conn, str(prior.case_id))

    viewed = view(seat, read, "case", case_id, lambda found: {"earlier": found[1].case_id})
    _item, prior, own, before = viewed.value
    analyses = [_analysis(seat, keys) for keys in (own, before)]
    lines: list[dict[str, Any]] = []
    if analyses[0] is not None and analyses[1] is not None:
        changes = earlier.changes(analyses[0], analyses[1])
        lines = [{"text": one.text, "significant": one.significant} for one in earlier.lines(changes, seat.language)]
    renderer: Renderer = request.app.state.renderer
    zone = formats.zone(seat.services.alliance.utc_offset_minutes)
    display = _tracings(request).head(before).display
    return JSONResponse(
        {
            "arrival": prior.case_id,
            "acquired": formats.time_text(prior.acquired_at, zone),
            "site": renderer.site_name(prior.site_id, seat.language),
            "leads": list(display["leads"]),
            "fs_hz": display["fs_hz"],
            "n_samples": display["n_samples"],
            "compared": all(one is not None for one in analyses),
            "lines": lines,
        }
    )


@router.get("/cases/{case_id}/tracing.pdf")
def pdf(
    request: Request,
    seat: Annotated[Seat, allow("reader", audit="download")],
    case_id: str,
    start: Annotated[int, Query(ge=0, le=_LATEST)] = 0,
    shown: Annotated[View, Query(alias="view")] = "diagnostic",
    layout: Annotated[str, Query(pattern="^(3x4|6x2|12x1)$")] = "3x4",
    order: Annotated[str, Query(pattern="^(standard|cabrera)$")] = "standard",
    rhythm: Annotated[str, Query(pattern="^(I{1,3}|aV[RLF]|V[1-6])$")] = "II",
    speed: Annotated[int, Query(ge=25, le=50, multiple_of=25)] = 25,
    gain: Annotated[int, Query(ge=5, le=20, multiple_of=5)] = 10,
) -> Response:
    """Ten seconds of the tracing on A4, as they are drawn on the screen, with whose they are."""

    def read(conn: Connection) -> tuple[WorkItem, Keys, datetime | None]:
        case = worklist.get_case(conn, case_id)
        if case is None:
            raise NotFound()
        return case.item, keys_of(conn, case.item.arrival_id), queries.acquired_at(conn, case.item.study_id)

    viewed = view(seat, read, "case", case_id, lambda _: {"part": "tracing.pdf"})
    item, keys, acquired = viewed.value
    tracings = _tracings(request)
    found = tracings.window(keys, start, round(PAGE_S * tracings.head(keys).fs_hz), shown)
    setting = Setting(layout, order, rhythm, float(speed), float(gain))
    language = seat.language
    person = _person(request, seat, item, acquired)
    data = tracing_pdf(found, _seen(seat, keys), setting, person=person, language=language)
    headers = {"content-disposition": f'attachment; filename="{item.receipt}.pdf"'}
    return Response(data, media_type="application/pdf", headers=headers)


def keys_of(conn: Connection, arrival_id: str) -> Keys:
    """Where a tracing lies. Raises ``NotFound`` where there is none."""
    display, wave, analysis = (derived_key(conn, arrival_id, f) for f in ("display.json", "wave.i16", "analysis.json"))
    if display is None or wave is None:
        raise NotFound()
    return Keys(display, wave, analysis)


def _keys(request: Request, seat: Seat, arrival_id: str) -> Keys:
    with seat.services.catalogue.read() as conn:
        check_access(conn, seat, "arrival", arrival_id)  # each time: what is recorded once is not allowed for ever
        keys = keys_of(conn, arrival_id)
    looks: Lately = request.app.state.looks
    if looks.first(seat.name, f"tracing {arrival_id}", seat.services.clock()):
        view(seat, lambda _conn: None, "arrival", arrival_id, lambda _: {"part": "tracing"})
    return keys


def _priors(conn: Connection, case_id: str, now: datetime) -> tuple[WorkItem, tuple[Prior, ...]]:
    """The case's work item and the ECGs that may stand beside it, the newest first."""
    case = worklist.get_case(conn, case_id)
    if case is None or case.item.patient_pseudonym is None:
        raise NotFound()
    item = case.item
    # of a case under correction nobody knows whose earlier studies would be
    if corrections.open_correction(conn, case_id) is not None:
        raise NotFound()
    before = queries.acquired_at(conn, item.study_id) or now
    try:
        found = persons.priors(conn, str(item.patient_pseudonym), before)
    except Conflict:
        raise NotFound() from None  # linked beyond measure: no study is called theirs
    return item, tuple(one for one in earlier.comparable(found) if one.study_id != item.study_id)


def _person(request: Request, seat: Seat, item: WorkItem, acquired: datetime | None) -> list[str]:
    """Whose a printed tracing is, in at most six lines."""
    renderer: Renderer = request.app.state.renderer
    _ = renderer.translate(seat.language)
    people = identity.join(seat, [wanted(item)], "read")
    who = people.by_case[item.case_id]
    zone = formats.zone(seat.services.alliance.utc_offset_minutes)
    return [
        formats.person_name(who.name, seat.language) or _("name unknown"),
        f"{formats.sex_text(who.sex, _)}   {formats.age_text(who.age_years, _)}",
        f"{_('Patient number')} {who.patient_id or _('unknown')}",
        f"{_('Site')} {renderer.site_name(item.site_id, seat.language)}",
        f"{_('Acquired')} {formats.time_text(acquired, zone) or _('unknown')}",
        f"{_('Receipt')} {item.receipt}",
    ]


def _rules(seat: Seat) -> EcgRules:
    return seat.services.alliance.ecg_rules(seat.services.clock().date())


def _analysis(seat: Seat, keys: Keys) -> Mapping[str, Any] | None:
    if keys.analysis is None:
        return None
    found: Mapping[str, Any] = json.loads(seat.services.store.get(keys.analysis))
    return found


def _seen(seat: Seat, keys: Keys) -> Mapping[str, Any]:
    """The analysis without what the alliance's rules keep from readers."""
    found = _analysis(seat, keys)
    if found is None:
        display = json.loads(seat.services.store.get(keys.display))
        return readings.nothing(display) | {"quality": {"findings": [], "acceptable": False, "score": 0.0}}
    rules = _rules(seat)
    return {
        **found,
        "measurements": found["measurements"] if rules.measurement else {},
        "flags": [flag for flag in found["flags"] if rules.takes(flag.get("kind", ""))],
        "not_judged": [one for one in found.get("not_judged", ()) if rules.takes(one.get("kind", ""))],
    }


def _tracings(request: Request) -> Tracings:
    kept: Tracings = request.app.state.tracings
    return kept
