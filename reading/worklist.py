"""The worklist: what waits, in the order in which it should be read. Only ids and pseudonyms; the vault joins names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from teleread.alliance import PRIORITIES
from teleread.reading.corrections import is_under_correction
from teleread.reading.order import (
    IN_PROGRESS,
    KEY,
    WAITING,
    Cursor,
    Reach,
    Shape,
    asked,
    head,
    keep_plan,
    most,
    of_modality,
    within,
)
from teleread.storage.catalogue.schema import arrivals, instances, quarantine, recordings, series, work_items

__all__ = [
    "MOST_COUNTED",
    "Case",
    "Cursor",
    "InstanceRow",
    "WorkItem",
    "counts",
    "cursor",
    "facets",
    "get_case",
    "list_in_progress",
    "list_items",
    "of_modality",
    "origin_of",
]

MOST_COUNTED = 2_000
"""More are not counted: a figure above this says "and more"."""


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
    kind: str  # reading | second_reading | second_opinion | consultation | review
    parent_id: str | None  # the work item that asked for it
    band: int
    order_at: datetime
    due_at: datetime | None
    pool: str | None
    overflow_pool: str | None
    body_part: str | None
    question: str | None
    claimed_by: str | None
    claimed_at: datetime | None
    lease_until: datetime | None


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
    origin_id: str  # the case that it is a reading of: itself, but for second readings and opinions


def list_items(
    conn: Connection,
    *,
    reach: Reach | None = None,
    site_ids: Sequence[str] | None = None,
    modality: str | None = None,
    after: Cursor | None = None,
    before: Cursor | None = None,
    limit: int = 50,
) -> list[WorkItem]:
    """A page of the waiting cases: the urgent ones, then all others by age, where a routine one counts as younger.

    Args:
        reach: only what this reader may read; None: all.
        after: the key of the last row of the page before (:func:`cursor`); pages go by key, never by number.
        before: the key of the first row of the page behind.
    """
    place, backwards = (after, False) if before is None else (before, True)
    shape, values = asked(
        limit=limit, reach=reach, site_ids=site_ids, modality=modality, cursor=place, backwards=backwards
    )
    keep_plan(conn)
    return [_item(row) for row in conn.execute(_page(shape), values)]


@lru_cache(maxsize=256)
def _page(shape: Shape) -> Any:
    found = head(shape).subquery()
    order: list[Any] = [found.c.band, found.c.order_at, found.c.id]
    order = [column.desc() for column in order] if shape.backwards else order
    keys = select(found.c.id).order_by(*order).limit(most(shape))
    return _items().where(work_items.c.id.in_(keys)).order_by(*KEY)


def list_in_progress(conn: Connection, *, reach: Reach | None = None, limit: int = 200) -> list[WorkItem]:
    """The cases that are being read, with who has them; in the order of the list."""
    conditions = [IN_PROGRESS] if reach is None else [IN_PROGRESS, within(reach)]
    return [_item(row) for row in conn.execute(_items().where(*conditions).order_by(*KEY).limit(limit))]


def cursor(item: WorkItem) -> Cursor:
    """The key after which the next page begins."""
    return item.band, item.order_at, item.id


def counts(conn: Connection, *, reach: Reach | None = None) -> dict[str, int]:
    """How many cases wait, by priority, of the first :data:`MOST_COUNTED` of the list."""
    shape, values = asked(limit=MOST_COUNTED, reach=reach)
    n = {int(rank): int(number) for rank, number in conn.execute(_numbers(shape), values)}
    return {priority: n.get(rank, 0) for rank, priority in enumerate(PRIORITIES)}


@lru_cache(maxsize=64)
def _numbers(shape: Shape) -> Any:
    found = head(shape).subquery()
    order = found.c.band, found.c.order_at, found.c.id
    first = select(found.c.rank).order_by(*order).limit(most(shape)).subquery("first")
    return select(first.c.rank, func.count()).group_by(first.c.rank)


def facets(conn: Connection) -> dict[str, list[str]]:
    """The sites and modalities that have waiting cases, for the filters."""
    return {"sites": _distinct(conn, work_items.c.site_id), "modalities": _distinct(conn, work_items.c.modality)}


def _distinct(conn: Connection, column: Column[Any]) -> list[str]:
    """The values that a column has among what waits: from one to the next by its index, not row by row."""
    walk = select(func.min(column).label("value")).where(WAITING).cte("walk", recursive=True)
    following = select(func.min(column)).where(WAITING, column > walk.c.value).scalar_subquery()
    walk = walk.union_all(select(following).where(walk.c.value.is_not(None)))
    return list(conn.scalars(select(walk.c.value).where(walk.c.value.is_not(None))))


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
    origin_id = origin_of(conn, item.case_id, item.parent_id)
    said = None if failure is None else (failure.code, failure.safe_message)
    return Case(item, _instances(conn, origin_id), said, origin_id)


def origin_of(conn: Connection, case_id: str, parent_id: str | None) -> str:
    """The case that a work item's case is a reading of, over however many askers; itself where nobody asked."""
    while parent_id is not None:
        columns = work_items.c.case_id, work_items.c.parent_id
        row = conn.execute(select(*columns).where(work_items.c.id == parent_id)).one_or_none()
        if row is None:
            break
        case_id, parent_id = row.case_id, row.parent_id
    return case_id


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
