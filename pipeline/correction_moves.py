"""What a correction moves: the case, its study and its work items become the named patient's; copies for export go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from teleread.pipeline.deletion import refuse_deleted
from teleread.pipeline.identifiers import derived_id, uid_from
from teleread.pipeline.patients import note_patient
from teleread.storage.catalogue.schema import arrivals, derived, objects, studies, work_items
from teleread.storage.vault import Enrolled


@dataclass(frozen=True, slots=True)
class Whose:
    """The patient who was named, as the catalogue may know it."""

    enrolled: Enrolled
    sex: str | None
    birth_date: date | None


def move_case(conn: Connection, case_id: str, whose: Whose, at: datetime) -> None:
    """Make the case, and the study that it stands in, the named patient's."""
    refuse_deleted(conn, whose.enrolled.pseudonym)
    for study_id in sorted({row.study_id for row in arrivals_of(conn, case_id) if row.study_id is not None}):
        _move_study(conn, case_id, study_id, whose, at)


def _move_study(conn: Connection, case_id: str, study_id: str, whose: Whose, at: datetime) -> None:
    study = conn.execute(select(studies).where(studies.c.id == study_id).with_for_update()).one()
    ours = or_(arrivals.c.case_id == case_id, arrivals.c.id == case_id)
    shared = select(arrivals.c.id).where(arrivals.c.study_id == study_id, ~ours)
    values = {
        "patient_pseudonym": whose.enrolled.pseudonym,
        "patient_sex": whose.sex if whose.sex in {"M", "F", "O"} else None,
        "patient_age_years": _age(whose.birth_date, study.acquired_at),
    }
    if case_id != study_id and conn.execute(shared.limit(1)).first() is not None:
        # another case's recording lies in the same study, and nobody has looked whose that is
        study_id = _part(conn, study, case_id, values, at)
        conn.execute(update(arrivals).where(ours).values(study_id=study_id))
        conn.execute(update(work_items).where(work_items.c.case_id == case_id).values(study_id=study_id))
    else:
        conn.execute(update(studies).where(studies.c.id == study_id).values(**values))
    conn.execute(
        update(work_items)
        .where(or_(work_items.c.case_id == case_id, work_items.c.study_id == study_id))
        .values(**values)
    )
    arrival = conn.execute(
        select(arrivals.c.id, arrivals.c.site_id).where(ours).order_by(arrivals.c.arrived_at, arrivals.c.id).limit(1)
    ).one()
    note_patient(
        conn,
        # a name that was typed otherwise is asked about by itself, once for all studies of the case
        enrolled=replace(whose.enrolled, changed=tuple(one for one in whose.enrolled.changed if one != "name")),
        identified=True,
        arrival_id=arrival.id,
        site_id=arrival.site_id,
        study_id=study_id,
        acquired_at=study.acquired_at,
        at=at,
    )


def _part(conn: Connection, study: Row[Any], case_id: str, values: dict[str, Any], at: datetime) -> str:
    uid = uid_from("corrected study", study.id, case_id)
    key = derived_id("study", study.site_id, uid)
    own = {"id": key, "study_uid": uid, "created_at": at, **values}
    if conn.execute(select(studies.c.id).where(studies.c.id == key)).first() is None:
        conn.execute(insert(studies).values(**{**study._mapping, **own}))
    else:
        conn.execute(update(studies).where(studies.c.id == key).values(**values))
    return key


def _age(birth_date: date | None, acquired_at: datetime | None) -> float | None:
    if birth_date is None or acquired_at is None:
        return None
    days = (acquired_at.date() - birth_date).days
    return round(days / 365.25, 1) if 0 <= days <= 130 * 366 else None


def drop_export_copies(conn: Connection, arrival_ids: list[str]) -> None:
    """A copy made for export stands under the other patient's project pseudonym, so it counts no more.

    Its bytes are an orphan then, which the sweeper removes.
    """
    for arrival_id in arrival_ids:
        query = select(derived.c.object_key).where(
            derived.c.arrival_id == arrival_id, derived.c.name.startswith("pseudonymised.")
        )
        keys = list(conn.scalars(query))
        conn.execute(delete(derived).where(derived.c.arrival_id == arrival_id, derived.c.object_key.in_(keys)))
        conn.execute(delete(objects).where(objects.c.key.in_(keys)))


def arrivals_of(conn: Connection, case_id: str) -> list[Row[Any]]:
    query = select(arrivals.c.id, arrivals.c.sha256, arrivals.c.study_id)
    ours = or_(arrivals.c.case_id == case_id, arrivals.c.id == case_id)
    return list(conn.execute(query.where(ours).order_by(arrivals.c.arrived_at, arrivals.c.id)))
