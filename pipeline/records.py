"""The rows of one prepared arrival: study, series, instance, recording and derived objects."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from teleread.pipeline.adopt import object_row
from teleread.pipeline.identifiers import derived_id, uid_from
from teleread.pipeline.products import Lineage, made_with
from teleread.pipeline.services import PIPELINE_VERSION
from teleread.reading import indicators
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import (
    arrivals,
    conflicts,
    derived,
    instances,
    objects,
    quarantine,
    recordings,
    series,
    studies,
)
from teleread.storage.objects.protocol import StoredObject


def put_study(conn: Connection, arrival: Row[Any], facts: dict[str, Any], pseudonym: str, now: datetime) -> str:
    """The study that the arrival belongs to, made when absent. Returns its id."""
    header = facts["header"]
    study_uid = _study_uid(arrival, facts)
    study_id = study_id_of(arrival, facts)
    acquired = acquired_at(facts)
    age_years = (header or facts).get("age_years")
    if age_years is None:
        age_years = _age(facts["patient"]["birth_date"], acquired)
    row = {
        "id": study_id,
        "site_id": arrival.site_id,
        "study_uid": study_uid,
        "modality": facts["modality"],
        "body_part": header["body_part"] if header else None,
        "patient_pseudonym": pseudonym,
        "patient_sex": facts["patient"]["sex"],
        "patient_age_years": age_years,
        "acquired_at": acquired,
        "created_at": now,
    }
    insert_missing(conn, studies, [row], ["id"])
    return study_id


def study_id_of(arrival: Row[Any], facts: dict[str, Any]) -> str:
    """The study that the arrival states, whether or not there is a row of it."""
    return derived_id("study", arrival.site_id, _study_uid(arrival, facts))


def _study_uid(arrival: Row[Any], facts: dict[str, Any]) -> str:
    # a recording without a study of its own is one; its UID follows from the arrival, so it is always the same
    return str(facts["header"]["study_uid"]) if facts["header"] else uid_from("study", arrival.id)


def acquired_at(facts: dict[str, Any]) -> datetime | None:
    """When the study says that it was made."""
    stated = (facts["header"] or facts).get("acquired_at") or facts.get("acquired_at")
    return None if stated is None else datetime.fromisoformat(stated)


def _age(birth_date: str | None, acquired: datetime | None) -> float | None:
    if birth_date is None or acquired is None:
        return None
    days = (acquired.date() - date.fromisoformat(birth_date)).days
    return round(days / 365.25, 1) if 0 <= days <= 130 * 366 else None


def put_instance(conn: Connection, arrival: Row[Any], facts: dict[str, Any], study_id: str, now: datetime) -> None:
    """The instance and its series; the same UID with other bytes is a conflict, and both stay."""
    header = facts["header"]
    if header is None:
        return
    series_id = derived_id("series", study_id, header["series_uid"])
    insert_missing(
        conn,
        series,
        [
            {
                "id": series_id,
                "study_id": study_id,
                "series_uid": header["series_uid"],
                "modality": header["modality"],
                "number": header["series_number"],
            }
        ],
        ["id"],
    )
    same_uid = conn.execute(
        select(instances.c.arrival_id)
        .join(arrivals, arrivals.c.id == instances.c.arrival_id)
        .where(
            instances.c.sop_uid == header["sop_uid"],
            arrivals.c.site_id == arrival.site_id,
            instances.c.arrival_id != arrival.id,
        )
        .order_by(arrivals.c.arrived_at)
        .limit(1)
    ).scalar_one_or_none()
    insert_missing(
        conn,
        instances,
        [
            {
                "arrival_id": arrival.id,
                "series_id": series_id,
                "sop_class_uid": header["sop_class_uid"],
                "sop_uid": header["sop_uid"],
                "number": header["instance_number"],
                "n_frames": header["n_frames"],
                "rows": header["rows"],
                "columns": header["columns"],
            }
        ],
        ["arrival_id"],
    )
    if same_uid is not None:
        # the same instance with other bytes: both are kept, and the contradiction is shown
        row = {"arrival_id": arrival.id, "other_arrival_id": same_uid, "sop_uid": header["sop_uid"], "found_at": now}
        insert_missing(conn, conflicts, [row], ["arrival_id"])


def put_recording(conn: Connection, arrival: Row[Any], recording: dict[str, Any], device: str, now: datetime) -> None:
    """What the queue and the lists need of an ECG, read from the analysis of this code version.

    Its first quality counts for the indicators: what the clinic sent, by which device, sent by whom.
    """
    row = {"arrival_id": arrival.id, "code_version": PIPELINE_VERSION, **recording}
    if insert_missing(conn, recordings, [row], ["arrival_id"]):
        names = ("upload",) if recording["quality_acceptable"] else ("upload", "upload_fault")
        for name in names:
            whose = {"at": now, "site_id": arrival.site_id, "case_id": arrival.id}
            indicators.note(conn, name, label=device, **whose)
            indicators.note(conn, name.replace("upload", "operator_upload", 1), label=arrival.sent_by or "", **whose)
    else:
        conn.execute(update(recordings).where(recordings.c.arrival_id == arrival.id).values(**row))


def put_derived(
    conn: Connection, arrival: Row[Any], name: str, item: StoredObject, lineage: Lineage, now: datetime
) -> None:
    """One derived object with what it was made from, by which code and with which parameters."""
    put_object(conn, item, now)
    row = {
        "arrival_id": arrival.id,
        "name": name,
        "code_version": PIPELINE_VERSION,
        "object_key": item.key,
        "input_sha256": arrival.sha256,
        "parameters": lineage.to_json(),
        "made_with": made_with(),
        "made_at": now,
    }
    if not insert_missing(conn, derived, [row], ["arrival_id", "name", "code_version"]):
        this = (derived.c.arrival_id == arrival.id, derived.c.name == name, derived.c.code_version == PIPELINE_VERSION)
        conn.execute(update(derived).where(*this, derived.c.object_key != item.key).values(**row))


def put_object(conn: Connection, item: StoredObject, now: datetime) -> None:
    """The row of a stored object; one that is there stays."""
    insert_missing(conn, objects, [object_row(item, now)], ["key"])


def quarantine_arrival(
    conn: Connection, arrival_id: str, code: str, safe_message: str, at: datetime, *where: ColumnElement[bool]
) -> None:
    """Note why an arrival cannot be read; its state follows where ``where`` holds too."""
    conn.execute(delete(quarantine).where(quarantine.c.arrival_id == arrival_id))
    row = {"arrival_id": arrival_id, "code": code, "safe_message": safe_message, "quarantined_at": at}
    conn.execute(insert(quarantine).values(**row))
    conn.execute(
        update(arrivals)
        .where(arrivals.c.id == arrival_id, *where)
        .values(state="quarantined", prepared_at=at, attempts=arrivals.c.attempts + 1)
    )
    audit.record(
        conn,
        at=at,
        actor="teleread",
        action="quarantine",
        object_type="arrival",
        object_id=arrival_id,
        detail={"code": code},
    )
