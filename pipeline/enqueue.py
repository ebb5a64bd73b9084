"""Step 3, enqueue: a case with its priority and its site, waiting for a reader."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, Row, select, update

from teleread.alliance import EcgRules, Priority
from teleread.errors import Conflict
from teleread.pipeline import same_recordings
from teleread.pipeline.route import placing, question_of
from teleread.pipeline.services import Services
from teleread.reading import corrections, queue
from teleread.reading.priority import decide
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, clinic_forms, recordings, studies


def enqueue(services: Services, arrival_id: str) -> str:
    """Put an arrival's case into the reading queue, or bring its work item up to date.

    An ECG is a case of its own, and so is what could not be read; images are read study by study. An arrival that
    is not prepared yet is queued all the same, as "not analysed", and corrected when it is. A recording that came
    before, in another format perhaps, is in that arrival's case, which it may raise.

    Returns:
        The case's id.

    Raises:
        Conflict: ``no_such_arrival``.
    """
    now = services.clock()
    if (case_id := _join(services, arrival_id)) is not None:
        return case_id
    with services.catalogue.write() as conn:
        row = _locked(conn, arrival_id)
        facts = _facts(row)
        decision = decide(
            cast(Priority, row.clinic_priority),
            analysed=facts.analysed,
            acceptable=facts.quality_acceptable,
            severities=_severities(row, services.alliance.ecg_rules(now.date())),
        )
        new = queue.put_item(
            conn,
            facts,
            decision,
            now,
            joined=row.case_id != facts.case_id,
            placing=placing(services.room, now),
        )
        if row.case_id != facts.case_id:
            if row.case_id is not None:
                # queued by itself while it could not be read; now it is part of its study's case
                queue.cancel_item(conn, row.case_id, now)
                corrections.follow(conn, row.case_id, facts.case_id)
            conn.execute(update(arrivals).where(arrivals.c.id == arrival_id).values(case_id=facts.case_id))
        if new:
            audit.record(
                conn,
                at=now,
                actor="teleread",
                action="enqueue",
                object_type="case",
                object_id=facts.case_id,
                detail={"priority": decision.priority},
            )
    return facts.case_id


def _locked(conn: Connection, arrival_id: str) -> Row[Any]:
    """The arrival with all that decides about its place in the queue."""
    row: Row[Any] | None = conn.execute(
        select(
            arrivals,
            studies.c.modality,
            studies.c.patient_pseudonym,
            studies.c.patient_sex,
            studies.c.patient_age_years,
            studies.c.body_part,
            clinic_forms.c.chest_pain,
            clinic_forms.c.pressure,
            recordings.c.quality_acceptable,
            recordings.c.heart_rate_bpm,
            recordings.c.flags,
        )
        .outerjoin(studies, studies.c.id == arrivals.c.study_id)
        .outerjoin(recordings, recordings.c.arrival_id == arrivals.c.id)
        .outerjoin(clinic_forms, clinic_forms.c.arrival_id == arrivals.c.id)
        .where(arrivals.c.id == arrival_id)
        # whoever prepares, raises or queues the same arrival now goes before us or after us
        .with_for_update(of=arrivals)
    ).one_or_none()
    if row is None:
        raise Conflict("no_such_arrival", "No arrival has this id.")
    return row


def _join(services: Services, arrival_id: str) -> str | None:
    """Put an arrival that is the same recording as an earlier one into that one's case; None where there is none.

    One that a reader has begun or read by itself meanwhile stays where it is.
    """
    with services.catalogue.read() as conn:
        other = same_recordings.read_with(conn, arrival_id)
        known = None if other is None else conn.scalar(select(arrivals.c.case_id).where(arrivals.c.id == other))
    if other is None:
        return None
    if known is None:
        known = enqueue(services, other)
    now = services.clock()
    with services.catalogue.write() as conn:
        this = arrivals.c.id == arrival_id
        row = conn.execute(select(arrivals).where(this).with_for_update()).one()
        if row.case_id != known:
            if row.case_id is not None:
                item = queue.latest_item(conn, row.case_id)
                if item is not None and item.state != "SCHEDULED":
                    return None
                # queued by itself while nobody knew what it holds
                queue.cancel_item(conn, row.case_id, now)
                corrections.follow(conn, row.case_id, known)
            conn.execute(update(arrivals).where(this).values(case_id=known))
            audit.record(
                conn,
                at=now,
                actor="teleread",
                action="enqueue",
                object_type="case",
                object_id=known,
                detail={"same_recording": arrival_id},
            )
        place = placing(services.room, now)
        queue.raise_priority(conn, known, cast(Priority, row.clinic_priority), "clinic", now, placing=place)
    return known


def _severities(row: Row[Any], rules: EcgRules) -> list[str]:
    return [severity for _code, kind, severity in row.flags or () if rules.takes(kind)]


def _facts(row: Row[Any]) -> queue.CaseFacts:
    # what is in its study's case stays there, also while it is prepared once more
    by_study = row.kind != "ecg" and (
        row.state == "prepared" or (row.case_id is not None and row.case_id == row.study_id)
    )
    return queue.CaseFacts(
        case_id=row.study_id if by_study else row.id,
        site_id=row.site_id,
        modality=row.modality or ("ECG" if row.kind == "ecg" else "OT"),
        arrival_id=row.id,
        study_id=row.study_id,
        patient_pseudonym=row.patient_pseudonym,
        patient_sex=row.patient_sex,
        patient_age_years=row.patient_age_years,
        analysed=row.state == "prepared",
        quality_acceptable=row.quality_acceptable,
        heart_rate_bpm=row.heart_rate_bpm,
        arrived_at=row.arrived_at,
        body_part=row.body_part,
        question=question_of(row.chest_pain, row.pressure),
    )
