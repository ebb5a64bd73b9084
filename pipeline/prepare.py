"""Step 2, prepare: parse, analyse and pseudonymise one arrival, and store what was derived."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.ingest.bounded import Product
from teleread.pipeline.adopt import object_row
from teleread.pipeline.deletion import refuse_deleted
from teleread.pipeline.identifiers import derived_id, uid_from
from teleread.pipeline.patients import note_patient
from teleread.pipeline.services import PIPELINE_VERSION, Services
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
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
from teleread.storage.objects.raw import get_raw
from teleread.storage.vault import Enrolled, Identity

EXPORT_PROJECT = "default-export"


def prepare(services: Services, arrival_id: str, *, timeout_s: float | None = None) -> str:
    """Prepare one arrival; one that is prepared or quarantined already is left as it is.

    What cannot be parsed or analysed is quarantined with its reason, its bytes stay, and it is read by a person.

    Returns:
        The arrival's state: ``prepared`` or ``quarantined``.

    Raises:
        StorageError: nothing was decided; run again later.
        Conflict: ``no_such_arrival``.
    """
    arrival, mark = _begin(services, arrival_id)
    if arrival.state != "landed":
        return str(arrival.state)
    try:
        data = get_raw(services.store, arrival.sha256)
    except StorageError as error:
        if error.code not in {"object_corrupt", "object_missing"}:
            raise
        # waiting mends nothing here: an operator and a reader must see it
        return _set_aside(services, arrival_id, error.code, error.safe_message)
    options = {
        "export_key": services.vault.project_key(EXPORT_PROJECT).hex(),
        "issuer": arrival.site_id,
        "utc_offset_minutes": services.alliance.utc_offset_minutes,
    }
    try:
        product = services.pool.run("teleread.pipeline.derive:derive", data, options, timeout_s=timeout_s)
    except InputRejected as error:
        return _set_aside(services, arrival_id, error.code, error.safe_message)
    enrolled = services.vault.enroll(
        _identity(product.facts["patient"], arrival),
        at=services.clock(),
        arrival_id=arrival_id,
        data_keys=[services.store.data_key(arrival.sha256)],
    )
    stored = {
        name: services.store.put(_key(arrival_id, name, blob), blob, root=arrival.sha256)
        for name, blob in product.blobs.items()
    }
    try:
        with services.catalogue.write() as conn:
            sweeping.check(conn, [arrival.object_key, *(item.key for item in stored.values())], mark)
            refuse_deleted(conn, enrolled.pseudonym)
            return _record(conn, services, arrival, product, enrolled, stored)
    except StorageError as error:
        if error.code != "catalogue_bad_value":
            raise
        # a hostile header: trying again would fail for ever, and nobody would see the study
        return _set_aside(services, arrival_id, "header_out_of_range", "A value of the header is out of range.")


def _key(arrival_id: str, name: str, blob: bytes) -> str:
    """Where a derived object lies. Other bytes, made after a fix, lie elsewhere; nothing is written over."""
    return f"derived/{PIPELINE_VERSION}/{arrival_id}/{hashlib.sha256(blob).hexdigest()[:16]}-{name}"


def _begin(services: Services, arrival_id: str) -> tuple[Row[Any], int]:
    with services.catalogue.read() as conn:
        mark = sweeping.mark(conn)
        arrival = conn.execute(select(arrivals).where(arrivals.c.id == arrival_id)).one_or_none()
    if arrival is None:
        raise Conflict("no_such_arrival", "No arrival has this id.")
    return arrival, mark


def _identity(patient: dict[str, Any], arrival: Row[Any]) -> Identity:
    """The vault's key of a patient. Without an identifier of their own, two arrivals are two patients."""
    born = patient["birth_date"]
    return Identity(
        issuer=str(patient["issuer"]) if patient["id"] else "teleread",
        patient_id=str(patient["id"] or f"unidentified-{arrival.id}"),
        name=patient["name"],
        birth_date=None if born is None else date.fromisoformat(born),
        sex=patient["sex"],
    )


def _record(
    conn: Connection,
    services: Services,
    arrival: Row[Any],
    product: Product,
    enrolled: Enrolled,
    stored: dict[str, StoredObject],
) -> str:
    # a failure of another process, a time-out perhaps, does not stand against what we have read
    if _locked_state(conn, arrival.id) == "prepared":
        return "prepared"
    now = services.clock()
    facts = product.facts
    study_id = _put_study(conn, arrival, facts, enrolled.pseudonym, now)
    _put_instance(conn, arrival, facts, study_id, now)
    if (recording := facts.get("recording")) is not None:
        insert_missing(conn, recordings, [{"arrival_id": arrival.id, **recording}], ["arrival_id"])
    for name, item in stored.items():
        _put_derived(conn, arrival, name, item, now)
    # one that was parted from its study by a correction stays apart
    study_id = arrival.study_id or study_id
    note_patient(
        conn,
        enrolled=enrolled,
        identified=bool(facts["patient"]["id"]),
        arrival_id=arrival.id,
        site_id=arrival.site_id,
        study_id=study_id,
        acquired_at=_acquired(facts),
        at=now,
    )
    state = "prepared"
    if (failure := facts["failure"]) is not None:
        state = "quarantined"
        _quarantine(conn, services, arrival.id, failure["code"], failure["safe_message"])
    else:
        conn.execute(
            update(quarantine)
            .where(quarantine.c.arrival_id == arrival.id, quarantine.c.resolved_at.is_(None))
            .values(resolved_at=now)
        )
    conn.execute(
        update(arrivals)
        .where(arrivals.c.id == arrival.id)
        .values(state=state, prepared_at=now, study_id=study_id, kind="ecg" if recording else arrival.kind)
    )
    audit.record(conn, at=now, actor="teleread", action="prepare", object_type="arrival", object_id=arrival.id)
    return state


def _put_study(conn: Connection, arrival: Row[Any], facts: dict[str, Any], pseudonym: str, now: datetime) -> str:
    header = facts["header"]
    # a recording without a study of its own is one; its UID follows from the arrival, so it is always the same
    study_uid = header["study_uid"] if header else uid_from("study", arrival.id)
    study_id = derived_id("study", arrival.site_id, study_uid)
    acquired = _acquired(facts)
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


def _acquired(facts: dict[str, Any]) -> datetime | None:
    acquired = (facts["header"] or facts).get("acquired_at") or facts.get("acquired_at")
    return None if acquired is None else datetime.fromisoformat(acquired)


def _age(birth_date: str | None, acquired_at: datetime | None) -> float | None:
    if birth_date is None or acquired_at is None:
        return None
    days = (acquired_at.date() - date.fromisoformat(birth_date)).days
    return round(days / 365.25, 1) if 0 <= days <= 130 * 366 else None


def _put_instance(conn: Connection, arrival: Row[Any], facts: dict[str, Any], study_id: str, now: datetime) -> None:
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


def _put_derived(conn: Connection, arrival: Row[Any], name: str, item: StoredObject, now: datetime) -> None:
    insert_missing(conn, objects, [object_row(item, now)], ["key"])
    row = {
        "arrival_id": arrival.id,
        "name": name,
        "code_version": PIPELINE_VERSION,
        "object_key": item.key,
        "input_sha256": arrival.sha256,
        "parameters": {"export_project": EXPORT_PROJECT},
    }
    if not insert_missing(conn, derived, [row], ["arrival_id", "name", "code_version"]):
        this = (derived.c.arrival_id == arrival.id, derived.c.name == name, derived.c.code_version == PIPELINE_VERSION)
        conn.execute(update(derived).where(*this).values(object_key=item.key))


def _set_aside(services: Services, arrival_id: str, code: str, safe_message: str) -> str:
    with services.catalogue.write() as conn:
        if (state := _locked_state(conn, arrival_id)) != "landed":
            return state
        _quarantine(conn, services, arrival_id, code, safe_message)
    return "quarantined"


def _locked_state(conn: Connection, arrival_id: str) -> str:
    """The state as it is now: another process may have prepared the arrival while we did, and was first."""
    query = select(arrivals.c.state).where(arrivals.c.id == arrival_id).with_for_update()
    return str(conn.execute(query).scalar_one())


def _quarantine(conn: Connection, services: Services, arrival_id: str, code: str, safe_message: str) -> None:
    now = services.clock()
    conn.execute(delete(quarantine).where(quarantine.c.arrival_id == arrival_id))
    conn.execute(
        quarantine.insert().values(
            arrival_id=arrival_id, code=code, safe_message=safe_message, quarantined_at=now, resolved_at=None
        )
    )
    conn.execute(
        update(arrivals)
        .where(arrivals.c.id == arrival_id)
        .values(state="quarantined", prepared_at=now, attempts=arrivals.c.attempts + 1)
    )
    audit.record(
        conn,
        at=now,
        actor="teleread",
        action="quarantine",
        object_type="arrival",
        object_id=arrival_id,
        detail={"code": code},
    )
