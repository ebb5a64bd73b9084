"""What persons say that decides how long records are kept: legal holds, visits and stays.

Each is written down with who said it, and so is each correction: what a mistyped day was stays in the audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, delete, insert, select, update

from teleread.errors import Conflict
from teleread.pipeline.retention import Kind
from teleread.reading.persons import checked_name, checked_reason, lock_person, person_of
from teleread.storage import audit
from teleread.storage.catalogue.schema import encounters, legal_holds, patients


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold; ``lifted_at`` is None while it stands."""

    id: int
    pseudonym: str
    reason: str
    placed_by: str
    placed_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A visit or a stay as somebody recorded it; ``ended_at`` is None while the stay lasts."""

    id: int
    pseudonym: str
    kind: Kind
    ended_at: datetime | None
    recorded_by: str
    recorded_at: datetime


def place_hold(conn: Connection, pseudonym: str, *, who: str, reason: str, at: datetime) -> int:
    """Keep a person's records whatever their age, until the hold is lifted. Returns its number.

    Raises:
        InputRejected: as ``checked_reason`` and ``checked_name``.
        Conflict: ``no_such_patient``; ``being_deleted`` when the deletion of anybody who is the person has begun.
    """
    values = {"reason": checked_reason(reason), "placed_by": checked_name(who), "placed_at": at}
    lock_person(conn, pseudonym)
    _known(conn, pseudonym)
    row = insert(legal_holds).values(pseudonym=pseudonym, **values)
    number = int(conn.execute(row.returning(legal_holds.c.id)).scalar_one())
    _record(conn, at, who, "hold", pseudonym, {"hold": number})
    return number


def lift_hold(conn: Connection, number: int, *, who: str, at: datetime) -> str:
    """Lift a hold; others on the same patient stay. Returns the patient's pseudonym.

    Raises:
        InputRejected: as ``checked_name``.
        Conflict: ``no_such_hold``, also for one that was lifted already.
    """
    lifted_by = checked_name(who)
    pseudonym = conn.execute(
        update(legal_holds)
        .where(legal_holds.c.id == number, legal_holds.c.lifted_at.is_(None))
        .values(lifted_by=lifted_by, lifted_at=at)
        .returning(legal_holds.c.pseudonym)
    ).scalar_one_or_none()
    if pseudonym is None:
        raise Conflict("no_such_hold", "No legal hold of this number stands.")
    _record(conn, at, who, "lift_hold", pseudonym, {"hold": number})
    return str(pseudonym)


def holds(conn: Connection, pseudonym: str | None = None, *, lifted: bool = False) -> list[Hold]:
    """Legal holds by number.

    Args:
        pseudonym: only those on the person who this patient is.
        lifted: also those that stand no more.
    """
    query = select(legal_holds).order_by(legal_holds.c.id)
    if pseudonym is not None:
        query = query.where(legal_holds.c.pseudonym.in_(person_of(conn, pseudonym)))
    if not lifted:
        query = query.where(legal_holds.c.lifted_at.is_(None))
    return [Hold(**row._mapping) for row in conn.execute(query)]


def record_encounter(
    conn: Connection, pseudonym: str, kind: Kind, ended_at: datetime | None, *, who: str, at: datetime
) -> int:
    """Record a visit, or a stay; a stay that is recorded without its end is ended by :func:`end_encounter`.

    Raises:
        InputRejected: as ``checked_name``.
        Conflict: ``no_such_patient``; ``being_deleted`` as for a hold.
    """
    recorded = {"recorded_by": checked_name(who), "recorded_at": at}
    lock_person(conn, pseudonym)
    _known(conn, pseudonym)
    row = insert(encounters).values(pseudonym=pseudonym, kind=kind, ended_at=ended_at, **recorded)
    number = int(conn.execute(row.returning(encounters.c.id)).scalar_one())
    _record(conn, at, who, "encounter", pseudonym, {"encounter": number, "kind": kind})
    return number


def end_encounter(conn: Connection, number: int, ended_at: datetime, *, who: str, at: datetime) -> None:
    """Say when a stay ended.

    Raises:
        InputRejected: as ``checked_name``.
        Conflict: ``no_such_encounter``; ``encounter_ended``, see :func:`amend_encounter`; ``being_deleted``.
    """
    row = _locked(conn, number, who)
    if row.ended_at is not None:
        raise Conflict("encounter_ended", "This stay or visit has its end; a wrong day is corrected with `amend`.")
    conn.execute(update(encounters).where(encounters.c.id == number).values(ended_at=ended_at))
    _record(conn, at, who, "discharge", row.pseudonym, {"encounter": number})


def amend_encounter(
    conn: Connection, number: int, *, kind: Kind, ended_at: datetime | None, who: str, at: datetime
) -> None:
    """Correct what was recorded of a visit or a stay; what stood there before stays in the audit event.

    Raises:
        InputRejected: as ``checked_name``.
        Conflict: ``no_such_encounter``; ``being_deleted``.
    """
    row = _locked(conn, number, who)
    conn.execute(update(encounters).where(encounters.c.id == number).values(kind=kind, ended_at=ended_at))
    now_is = {"kind": kind, "ended_at": ended_at and ended_at.isoformat()}
    _record(conn, at, who, "encounter_amended", row.pseudonym, {"encounter": number, "was": _said(row), "is": now_is})


def withdraw_encounter(conn: Connection, number: int, *, who: str, at: datetime) -> str:
    """Take back a visit or a stay that there never was. Returns the patient's pseudonym.

    Raises:
        InputRejected: as ``checked_name``.
        Conflict: ``no_such_encounter``; ``being_deleted``.
    """
    row = _locked(conn, number, who)
    conn.execute(delete(encounters).where(encounters.c.id == number))
    _record(conn, at, who, "encounter_withdrawn", row.pseudonym, {"encounter": number, "was": _said(row)})
    return str(row.pseudonym)


def encounter(conn: Connection, number: int) -> Recorded:
    """One visit or stay.

    Raises:
        Conflict: ``no_such_encounter``.
    """
    row = conn.execute(select(encounters).where(encounters.c.id == number)).one_or_none()
    if row is None:
        raise Conflict("no_such_encounter", "There is no visit or stay of this number.")
    return Recorded(**row._mapping)


def encounters_of(conn: Connection, pseudonym: str) -> list[Recorded]:
    """What is recorded of the person who this patient is, by number."""
    query = select(encounters).where(encounters.c.pseudonym.in_(person_of(conn, pseudonym)))
    return [Recorded(**row._mapping) for row in conn.execute(query.order_by(encounters.c.id))]


def _locked(conn: Connection, number: int, who: str) -> Row[Any]:
    """The row, while nobody decides the deletion of the person whose it is."""
    checked_name(who)
    lock_person(conn, encounter(conn, number).pseudonym)
    query = select(encounters).where(encounters.c.id == number).with_for_update()
    if (row := conn.execute(query).one_or_none()) is None:
        raise Conflict("no_such_encounter", "There is no visit or stay of this number.")
    return row


def _said(row: Row[Any]) -> dict[str, str | None]:
    ended_at = cast("datetime | None", row.ended_at)
    return {"kind": row.kind, "ended_at": ended_at and ended_at.isoformat()}


def _known(conn: Connection, pseudonym: str) -> None:
    if conn.execute(select(patients.c.pseudonym).where(patients.c.pseudonym == pseudonym)).first() is None:
        raise Conflict("no_such_patient", "The catalogue has no patient of this pseudonym.")


def _record(conn: Connection, at: datetime, who: str, action: str, pseudonym: str, detail: dict[str, Any]) -> None:
    audit.record(conn, at=at, actor=who, action=action, object_type="patient", object_id=pseudonym, detail=detail)
