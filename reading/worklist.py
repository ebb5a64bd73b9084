"""The worklist: what waits, in the order in which it should be read. Only ids and pseudonyms; the vault joins names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from teleread.reading.corrections import is_under_correction
from teleread.storage.catalogue.schema import arrivals, instances, quarantine, recordings, series, work_items


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One case that waits for a reader, or was read."""

    id: str
    case_id: str
    state: str
    priority: str
    rank: int
    reasons: tuple[str, ...]
    site_id: str
    modality: str
    arrival_id: str
    study_id: str | None
    receipt: str
    patient_pseudonym: str | None
    patient_sex: str | None
    patient_age_years: float | None
    analysed: bool
    quality_acceptable: bool | None
    quality_findings: int | None
    heart_rate_bpm: float | None
    arrived_at: datetime
    under_correction: bool  # whose it is is being corrected; it keeps its place all the same


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One stored instance of an imaging case."""

    arrival_id: str
    series_id: str
    series_number: int | None
    modality: str
    number: int | None
    n_frames: int | None
    rows: int | None
    columns: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """A work item with what a case page needs: its instances, and why it could not be analysed."""

    item: WorkItem
    instances: tuple[InstanceRow, ...]
    failure: tuple[str, str] | None  # stable code and sentence


Cursor = tuple[int, datetime, str]  # rank, arrived_at, id of the last row seen


def list_items(
    conn: Connection,
    *,
    site_ids: Sequence[str] | None = None,
    modality: str | None = None,
    after: Cursor | None = None,
    limit: int = 50,
) -> list[WorkItem]:
    """A page of the waiting cases: urgent, high, routine, each oldest first.

    Args:
        after: the key of the last row of the page before (:func:`cursor`); pages go by key, never by number.
    """
    query = _items().where(work_items.c.state == "SCHEDULED")
    if site_ids is not None:
        query = query.where(work_items.c.site_id.in_(list(site_ids)))
    if modality is not None:
        query = query.where(of_modality(modality))
    if after is not None:
        rank, arrived_at, item_id = after
        query = query.where(
            or_(
                work_items.c.rank > rank,
                and_(work_items.c.rank == rank, work_items.c.arrived_at > arrived_at),
                and_(work_items.c.rank == rank, work_items.c.arrived_at == arrived_at, work_items.c.id > item_id),
            )
        )
    query = query.order_by(work_items.c.rank, work_items.c.arrived_at, work_items.c.id).limit(limit)
    return [_item(row) for row in conn.execute(query)]


def of_modality(modality: str) -> ColumnElement[bool]:
    """The condition of a modality filter. What nobody could read yet may be an ECG, so it stands among the ECGs."""
    same = work_items.c.modality == modality
    if modality != "ECG":
        return same
    return or_(same, and_(work_items.c.modality == "OT", work_items.c.analysed.is_(False)))


def cursor(item: WorkItem) -> Cursor:
    """The key after which the next page begins."""
    return item.rank, item.arrived_at, item.id


def counts(conn: Connection) -> dict[str, int]:
    """How many cases wait, by priority."""
    query = select(work_items.c.priority, func.count()).where(work_items.c.state == "SCHEDULED")
    found = {str(priority): int(n) for priority, n in conn.execute(query.group_by(work_items.c.priority))}
    return {"urgent": 0, "high": 0, "routine": 0} | found


def facets(conn: Connection) -> dict[str, list[str]]:
    """The sites and modalities that have waiting cases, for the filters."""
    waiting = work_items.c.state == "SCHEDULED"
    return {
        "sites": list(conn.scalars(select(work_items.c.site_id).where(waiting).distinct().order_by("site_id"))),
        "modalities": list(conn.scalars(select(work_items.c.modality).where(waiting).distinct().order_by("modality"))),
    }


def get_case(conn: Connection, case_id: str) -> Case | None:
    """A case by its id, waiting or read; None when there is none."""
    row = conn.execute(
        _items().where(work_items.c.case_id == case_id).order_by(work_items.c.seq.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return None
    item = _item(row)
    failure = conn.execute(
        select(quarantine.c.code, quarantine.c.safe_message).where(
            quarantine.c.arrival_id == item.arrival_id, quarantine.c.resolved_at.is_(None)
        )
    ).one_or_none()
    return Case(item, _instances(conn, case_id), None if failure is None else (failure.code, failure.safe_message))


def _instances(conn: Connection, case_id: str) -> tuple[InstanceRow, ...]:
    query = (
        select(
            instances.c.arrival_id,
            instances.c.series_id,
            series.c.number.label("series_number"),
            series.c.modality,
            instances.c.number,
            instances.c.n_frames,
            instances.c.rows,
            instances.c.columns,
        )
        .join(series, series.c.id == instances.c.series_id)
        .join(arrivals, arrivals.c.id == instances.c.arrival_id)
        .where(arrivals.c.case_id == case_id)
        .order_by(series.c.number, series.c.id, instances.c.number, instances.c.arrival_id)
    )
    return tuple(InstanceRow(**row._mapping) for row in conn.execute(query))


def _items() -> Any:
    columns = [column for column in work_items.c if column.name in WorkItem.__dataclass_fields__]
    return (
        select(
            *columns,
            arrivals.c.receipt,
            recordings.c.quality_findings,
            is_under_correction(work_items.c.case_id).label("under_correction"),
        )
        .join(arrivals, arrivals.c.id == work_items.c.arrival_id)
        .outerjoin(recordings, recordings.c.arrival_id == work_items.c.arrival_id)
    )


def _item(row: Row[Any]) -> WorkItem:
    # SQLite says 0 and 1
    return WorkItem(**{**row._mapping, "reasons": tuple(row.reasons), "under_correction": bool(row.under_correction)})
