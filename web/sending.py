"""A clinic's upload: bytes are landed first, then prepared and queued, then answered. What fails later is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor, wait
from dataclasses import dataclass

from sqlalchemy import select
from starlette.datastructures import FormData, UploadFile

from teleread.alliance import Priority
from teleread.errors import Conflict, InputRejected, PeerError, StorageError, TelereadError
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.fast_lane import prepare_here
from teleread.pipeline.given_states import given_states
from teleread.pipeline.land import Landed, land
from teleread.pipeline.services import Services
from teleread.pipeline.verdict import Verdict, verdict
from teleread.storage.catalogue.schema import arrivals
from teleread.web import queries
from teleread.web.security import Seat

log = logging.getLogger(__name__)

# the nurse waits for this answer; what takes longer goes on without her and is shown on the receipt's page
ANALYSIS_WAIT_S = 2.0
_NAME_LIMIT = 120


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of an upload."""

    landed: Landed
    verdict: Verdict


def files_of(form: FormData) -> dict[str, bytes]:
    """The files of an upload, by a name without folders that stands once.

    Raises:
        InputRejected: ``empty_upload``: no file at all.
    """
    found: dict[str, bytes] = {}
    for _field, value in form.multi_items():
        if not isinstance(value, UploadFile):
            continue
        data = value.file.read()
        if not data and not value.filename:
            continue  # what a browser sends for a file field that nobody used
        base = plain_name(value.filename or "")
        name, number = base, 1
        while name in found:
            number += 1
            name = f"{number}-{base}"
        found[name] = data
    if not found:
        raise InputRejected("empty_upload", "Nothing was sent: no file was chosen.")
    return found


def plain_name(path: str) -> str:
    """The last part of a name that a browser or an agent gave, whatever separates its folders."""
    return path.replace("\\", "/").rpartition("/")[2][-_NAME_LIMIT:] or "file"


def prepare_soon(seat: Seat, lane: Executor, receipt: str) -> None:
    """Prepare and queue what has landed, at once and beside the answer."""
    with seat.services.catalogue.read() as conn:
        arrival_id = conn.scalar(select(arrivals.c.id).where(arrivals.c.receipt == receipt))
    if arrival_id is not None:
        lane.submit(_at_once, seat.services, arrival_id)


def _at_once(services: Services, arrival_id: str) -> None:
    try:
        prepare_here(services, arrival_id)
    except TelereadError as error:
        log.warning("upload %s goes on later: %s", arrival_id, error.code)
        _show_unprepared(services, arrival_id)


def send(seat: Seat, lane: Executor, files: Mapping[str, bytes], urgent: bool) -> Sent:
    """Land, prepare, enqueue, judge. Once landed, nothing takes the receipt away: neither a full parser nor a fault.

    Args:
        lane: threads that finish what this answer does not wait for.

    Raises:
        InputRejected: nothing was landed: ``empty_upload``.
        StorageError: nothing was landed.
    """
    services = seat.services
    site_id = seat.site_id
    landed = land(
        services,
        site_id=site_id,
        source="web",
        files=files,
        clinic_priority=priority_of(services, site_id, urgent),
        actor=seat.name,
    )
    work = lane.submit(prepare_here, services, landed.arrival_id)
    finished, _ = wait([work], ANALYSIS_WAIT_S)
    failure = work.exception() if finished else TimeoutError()
    if failure is not None:
        log.warning("upload %s goes on later: %s", landed.arrival_id, getattr(failure, "code", type(failure).__name__))
        _show_unprepared(services, landed.arrival_id)
    found = verdict(services, receipt=landed.receipt, site_id=site_id)
    if found is None:
        raise StorageError("receipt_missing", "The receipt was written and cannot be read.")
    return Sent(landed, found)


def _show_unprepared(services: Services, arrival_id: str) -> None:
    """A reader sees it at once as "not analysed"; where even that fails, the sweep does it."""
    try:
        enqueue(services, arrival_id)
    except (StorageError, PeerError, Conflict) as error:
        log.warning("upload %s left to the sweep: %s", arrival_id, error.code)


def light(found: Verdict) -> str:
    """The verdict as a traffic light: ``green``, ``amber``, ``red``, or ``none`` where nothing is judged yet.

    Red: it must be recorded again or looked at now. Amber: usable, with a finding; or no verdict could be made.
    An image has no verdict of its own.
    """
    if found.state == "quarantined":
        return "amber"
    if found.state != "prepared" or found.acceptable is None:
        return "none"
    if not found.acceptable:
        return "red"
    return "amber" if found.findings else "green"


def as_json(seat: Seat, found: Verdict) -> dict[str, object]:
    """A verdict for a program. No identity: the sender has it already."""
    with seat.services.catalogue.read() as conn:
        acquired, sex, age = queries.study_of(conn, found.arrival_id)
    state = given_states(seat.services, found.site_id, [found.receipt]).get(found.receipt) if found.reports else None
    report, newest = found.report, found.reports[-1] if found.reports else None
    return {
        "state": found.state,
        "case_state": found.case_state,
        "priority": found.priority,
        "position": found.position,
        "light": light(found),
        "analysed": found.analysed,
        "acceptable": found.acceptable,
        "score": found.score,
        "findings": list(found.findings),
        "heart_rate_bpm": found.heart_rate_bpm,
        "failure_code": found.failure_code,
        "identity_under_correction": found.under_correction,
        "sex": sex,
        "age_years": age,
        "acquired_at": acquired.isoformat() if acquired else None,
        "telephone": seat.services.alliance.telephone,
        "report": report
        and newest
        and {
            "version": report.version,
            "text": report.text,
            "critical": report.critical,
            "signed_by": report.signed_by,
            "signed_at": report.signed_at.isoformat(),
            "kind": report.kind,
            "versions": len(found.reports),
            "sha256": report.sha256,
            "newest": {"version": newest.version, "kind": newest.kind, "critical": newest.critical},
            "state": state.word if state else "",
            "files": [f"/api/receipts/{found.receipt}/report.{ending}" for ending in ("json", "pdf")],
        },
    }


def priority_of(services: Services, site_id: str, urgent: bool) -> Priority:
    """What the clinic says, else the site's own default."""
    if urgent:
        return "urgent"
    connection = services.alliance.connection(site_id, services.clock().date())
    return connection.default_priority if connection else "routine"
