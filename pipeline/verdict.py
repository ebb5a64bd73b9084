"""What a clinic is told about what it sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from teleread.pipeline.same_recordings import read_with
from teleread.pipeline.services import Services
from teleread.reading import queue, second
from teleread.reading.corrections import open_correction
from teleread.reading.reports import Report, in_force, reports_of
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.catalogue.schema import arrivals, deliveries, quarantine, recordings, reports, studies


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of one arrival, for the site that sent it. No identity: that is joined where it is shown."""

    receipt: str
    arrival_id: str
    site_id: str
    state: str  # landed | prepared | quarantined
    case_id: str | None
    case_state: str | None  # SCHEDULED | IN PROGRESS | COMPLETED | CANCELED
    priority: str
    clinic_priority: str
    flagged: bool  # whether a flag of the program raises its priority, or would if the clinic's were lower
    position: int | None
    analysed: bool
    acceptable: bool | None
    score: float | None
    findings: tuple[dict[str, Any], ...]  # lead, fault, remedy
    heart_rate_bpm: float | None
    failure_code: str | None
    patient_pseudonym: str | None
    report: Report | None  # the version that holds; only when it has been given back
    reports: tuple[Report, ...]  # every version that has been given back, oldest first
    under_correction: bool  # whose it is is being corrected: what is not given back yet is held
    held_critical: bool | None  # whether the report that is held is critical; None when none is
    consultations: tuple[Report, ...]  # what specialists have said beside it, as it holds, with addenda
    same_as: str | None  # receipt of the earlier arrival that this recording came with before, and is read with

    @property
    def addenda(self) -> tuple[Report, ...]:
        """What was added to the version that holds."""
        return in_force(self.reports)[1]

    @property
    def earlier(self) -> tuple[Report, ...]:
        """The versions that no longer hold, which stay readable."""
        now = {one.id for one in (self.report, *self.addenda) if one is not None}
        return tuple(one for one in self.reports if one.id not in now)


def verdict(services: Services, *, receipt: str, site_id: str) -> Verdict | None:
    """The verdict on one arrival; None when this site has none of that receipt."""
    query = (
        select(
            arrivals,
            studies.c.patient_pseudonym,
            recordings.c.quality_acceptable,
            recordings.c.quality_score,
            recordings.c.heart_rate_bpm,
            quarantine.c.code,
        )
        .outerjoin(studies, studies.c.id == arrivals.c.study_id)
        .outerjoin(recordings, recordings.c.arrival_id == arrivals.c.id)
        .outerjoin(quarantine, (quarantine.c.arrival_id == arrivals.c.id) & quarantine.c.resolved_at.is_(None))
        .where(arrivals.c.receipt == receipt, arrivals.c.site_id == site_id)
    )
    with services.catalogue.read() as conn:
        row = conn.execute(query).one_or_none()
        if row is None:
            return None
        item = None if row.case_id is None else queue.latest_item(conn, row.case_id)
        place = None if row.case_id is None else queue.position(conn, row.case_id)
        given = _given_back(conn, row.case_id) or _given_back(conn, row.id)
        correction = open_correction(conn, row.case_id or row.id) or open_correction(conn, row.id)
        held = _held(conn, row.case_id, row.id) if correction else None
        analysis_key = derived_key(conn, row.id, "analysis.json")
        same_as = _same_as(conn, row.id, row.case_id)
        consultations = _consultations(conn, row.case_id)
    findings = () if analysis_key is None else _findings(services.store.get(analysis_key))
    return Verdict(
        receipt=row.receipt,
        arrival_id=row.id,
        site_id=row.site_id,
        state=row.state,
        case_id=row.case_id,
        case_state=None if item is None else queue.shown_state(item),
        priority=row.clinic_priority if item is None else item.priority,
        clinic_priority=row.clinic_priority,
        flagged=item is not None and "flagged" in item.reasons,
        position=place,
        analysed=row.state == "prepared",
        acceptable=row.quality_acceptable,
        score=row.quality_score,
        findings=findings,
        heart_rate_bpm=row.heart_rate_bpm,
        failure_code=row.code,
        patient_pseudonym=row.patient_pseudonym,
        report=in_force(given)[0],
        reports=given,
        under_correction=correction is not None,
        held_critical=held,
        consultations=consultations,
        same_as=same_as,
    )


def _same_as(conn: Connection, arrival_id: str, case_id: str | None) -> str | None:
    other = read_with(conn, arrival_id)
    if other is None:
        return None
    # one that was read by itself before anybody knew stays a case of its own
    there = arrivals.c.id == other, arrivals.c.case_id == case_id
    return conn.scalar(select(arrivals.c.receipt).where(*there))


def _held(conn: Connection, *case_ids: str | None) -> bool | None:
    """Whether the newest report that is signed and not given back is critical; None when there is none."""
    query = (
        select(reports.c.critical)
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .where(reports.c.case_id.in_([one for one in case_ids if one]), deliveries.c.delivered_at.is_(None))
        .order_by(reports.c.signed_at.desc())
        .limit(1)
    )
    return conn.scalar(query)


def _given_back(conn: Connection, case_id: str | None) -> tuple[Report, ...]:
    """The versions of a case's report that its site has been given."""
    if case_id is None:
        return ()
    given = set(
        conn.scalars(
            select(deliveries.c.report_id)
            .join(reports, reports.c.id == deliveries.c.report_id)
            .where(reports.c.case_id == case_id, deliveries.c.delivered_at.is_not(None))
        )
    )
    return tuple(report for report in reports_of(conn, case_id) if report.id in given)


def _consultations(conn: Connection, case_id: str | None) -> tuple[Report, ...]:
    """The reports of a case's consultations that its site has been given: those that hold, each with its addenda."""
    found: list[Report] = []
    for item in [] if case_id is None else second.children(conn, case_id):
        if item.kind == "consultation":
            holding, addenda = in_force(_given_back(conn, item.case_id))
            found += [] if holding is None else [holding, *addenda]
    return tuple(found)


def _findings(analysis: bytes) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(analysis)["quality"]["findings"])
