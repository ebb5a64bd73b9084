"""What a clinic and a reader know of each other's part in a case: form, openings, acknowledged critical reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from teleread.errors import Conflict
from teleread.reading import criticals
from teleread.reading.symptoms import Form
from teleread.storage import audit
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import (
    acknowledgements,
    arrivals,
    case_openings,
    clinic_forms,
    deliveries,
    reports,
    work_items,
)


@dataclass(frozen=True, slots=True)
class SavedForm:
    """A form with who saved it last, and when."""

    form: Form
    receipt: str
    saved_by: str
    saved_at: datetime


@dataclass(frozen=True, slots=True)
class Opening:
    """A reader who has opened a case."""

    opened_by: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who at the clinic has read a critical report."""

    read_by: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Critical:
    """A critical report of late, and who at its clinic has read it."""

    case_id: str
    receipt: str
    site_id: str
    signed_by: str
    signed_at: datetime
    read_by: str | None
    read_at: datetime | None


def save_form(conn: Connection, arrival_id: str, form: Form, who: str, at: datetime) -> None:
    """Keep a clinic's form in the place of the one before. Its answers do not enter the audit trail."""
    values: dict[str, Any] = {**asdict(form), "drugs": list(form.drugs)}
    del values["is_the_patient"]  # said by itself, and not taken back by a form
    _save(conn, arrival_id, values, who, at)


def confirm_patient(conn: Connection, arrival_id: str, who: str, at: datetime) -> None:
    """The clinic has looked: the name that was read back is the patient's."""
    _save(conn, arrival_id, {"is_the_patient": True}, who, at)


def _save(conn: Connection, arrival_id: str, values: dict[str, Any], who: str, at: datetime) -> None:
    values |= {"saved_by": who, "saved_at": at}
    insert_missing(conn, clinic_forms, [{"drugs": [], "arrival_id": arrival_id} | values], ["arrival_id"])
    conn.execute(update(clinic_forms).where(clinic_forms.c.arrival_id == arrival_id).values(**values))
    audit.record(conn, at=at, actor=who, action="form", object_type="arrival", object_id=arrival_id)


def form_of(conn: Connection, arrival_id: str) -> SavedForm | None:
    """The form of one arrival."""
    found = _forms(conn, clinic_forms.c.arrival_id == arrival_id)
    return found[0] if found else None


def forms_of_case(conn: Connection, case_id: str) -> list[SavedForm]:
    """The forms of a case's arrivals, the last saved first."""
    # a second reading or an opinion is a case beside the one that the arrival is in
    arrived = arrivals.alias()
    asked_by = (
        select(arrived.c.case_id)
        .join(work_items, work_items.c.arrival_id == arrived.c.id)
        .where(work_items.c.case_id == case_id)
    )
    return _forms(conn, arrivals.c.case_id.in_(asked_by) | (arrivals.c.case_id == case_id) | (arrivals.c.id == case_id))


def _forms(conn: Connection, condition: Any) -> list[SavedForm]:
    query = (
        select(clinic_forms, arrivals.c.receipt)
        .join(arrivals, arrivals.c.id == clinic_forms.c.arrival_id)
        .where(condition)
        .order_by(clinic_forms.c.saved_at.desc())
    )
    return [SavedForm(_form(row), row.receipt, row.saved_by, row.saved_at) for row in conn.execute(query)]


def _form(row: Row[Any]) -> Form:
    names = [name for name in Form.__dataclass_fields__ if name != "drugs"]
    return Form(**{name: getattr(row, name) for name in names}, drugs=tuple(row.drugs))


def note_opening(conn: Connection, case_id: str, who: str, at: datetime) -> None:
    """A reader has a case before them; the first time is kept."""
    insert_missing(
        conn, case_openings, [{"case_id": case_id, "opened_by": who, "opened_at": at}], ["case_id", "opened_by"]
    )


def last_opening(conn: Connection, case_id: str) -> Opening | None:
    """Who opened a case for the first time last."""
    query = (
        select(case_openings.c.opened_by, case_openings.c.opened_at)
        .where(case_openings.c.case_id == case_id)
        .order_by(case_openings.c.opened_at.desc(), case_openings.c.opened_by)
        .limit(1)
    )
    row = conn.execute(query).first()
    return None if row is None else Opening(*row)


def acknowledge(conn: Connection, report_id: str, site_id: str, who: str, at: datetime) -> None:
    """Somebody at the clinic has read a critical report; the first one's name and time stay.

    The critical value that it tells of is acknowledged with it.

    Raises:
        Conflict: ``no_such_report``: none that is critical and has been given back to this site.
    """
    given = (
        select(reports.c.case_id)
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .where(
            reports.c.id == report_id,
            reports.c.critical.is_(True),
            deliveries.c.site_id == site_id,
            deliveries.c.delivered_at.is_not(None),
        )
    )
    case_id = conn.scalar(given)
    if case_id is None:
        raise Conflict("no_such_report", "There is no such critical report.")
    row = {"report_id": report_id, "site_id": site_id, "read_by": who, "read_at": at}
    if insert_missing(conn, acknowledgements, [row], ["report_id"]):
        audit.record(conn, at=at, actor=who, action="acknowledge", object_type="report", object_id=report_id)
    criticals.acknowledge_report(conn, case_id, report_id, site_id, who, at)


def acknowledged(conn: Connection, report_ids: Sequence[str]) -> dict[str, Acknowledgement]:
    """Who has read which of these reports."""
    rows = conn.execute(select(acknowledgements).where(acknowledgements.c.report_id.in_(list(report_ids))))
    return {row.report_id: Acknowledgement(row.read_by, row.read_at) for row in rows}


def critical_since(conn: Connection, since: datetime, limit: int = 20) -> list[Critical]:
    """Critical reports signed since a moment: those that nobody has read first, then the newest."""
    query = (
        select(
            reports.c.case_id,
            arrivals.c.receipt,
            arrivals.c.site_id,
            reports.c.signed_by,
            reports.c.signed_at,
            acknowledgements.c.read_by,
            acknowledgements.c.read_at,
        )
        .join(arrivals, arrivals.c.id == reports.c.case_id)
        .outerjoin(acknowledgements, acknowledgements.c.report_id == reports.c.id)
        .where(reports.c.critical.is_(True), reports.c.signed_at >= since)
        .order_by(acknowledgements.c.read_at.is_not(None), reports.c.signed_at.desc())
        .limit(limit)
    )
    return [Critical(**row._mapping) for row in conn.execute(query)]
