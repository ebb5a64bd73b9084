"""What pages read from the catalogue beyond the worklist: newcomers, receipts, the engineer's view. No identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, ScalarSelect, func, or_, select

from teleread.reading import corrections, notices, questions
from teleread.storage.catalogue.schema import (
    arrivals,
    deliveries,
    derived,
    quarantine,
    recordings,
    reports,
    site_messages,
    site_status,
    studies,
    work_items,
)


@dataclass(frozen=True, slots=True)
class SentItem:
    """A line of a clinic's own list."""

    receipt: str
    arrived_at: datetime
    state: str
    priority: str  # in force: the work item's, the clinic's where there is none yet
    case_state: str | None
    quality_acceptable: bool | None
    critical: bool | None  # of the report that was given back, None where none was


@dataclass(frozen=True, slots=True)
class SiteState:
    """How one site's pull is doing; fields are None where nothing is known yet."""

    site_id: str
    last_started_at: datetime | None = None
    last_ok_at: datetime | None = None
    last_landed: int | None = None
    failing_since: datetime | None = None
    failure_code: str | None = None
    failures: int = 0
    next_try_at: datetime | None = None
    waiting: int | None = None
    unrecognised: int | None = None


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """A message to the engineer that is not closed."""

    site_id: str
    code: str
    opened_at: datetime
    waiting: int | None
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An arrival that could not be prepared."""

    arrival_id: str
    receipt: str
    site_id: str
    kind: str
    code: str
    quarantined_at: datetime
    attempts: int
    size_bytes: int


def acquired_at(conn: Connection, study_id: str | None) -> datetime | None:
    """When a study was acquired, as far as it says."""
    return conn.scalar(select(studies.c.acquired_at).where(studies.c.id == study_id)) if study_id else None


def study_of(conn: Connection, arrival_id: str) -> tuple[datetime | None, str | None, float | None]:
    """Acquisition time, sex and age of an arrival's study."""
    query = (
        select(studies.c.acquired_at, studies.c.patient_sex, studies.c.patient_age_years)
        .join(arrivals, arrivals.c.study_id == studies.c.id)
        .where(arrivals.c.id == arrival_id)
    )
    row = conn.execute(query).one_or_none()
    return (None, None, None) if row is None else (row[0], row[1], row[2])


def raw_of(conn: Connection, arrival_id: str) -> tuple[str, str] | None:
    """Receipt and SHA-256 of an arrival's bytes."""
    row = conn.execute(select(arrivals.c.receipt, arrivals.c.sha256).where(arrivals.c.id == arrival_id)).one_or_none()
    return None if row is None else (row.receipt, row.sha256)


def shown_of(conn: Connection, arrival_id: str) -> list[str]:
    """Names of the pictures and documents that an arrival is shown by, pictures last."""
    shown = derived.c.name.startswith("picture"), derived.c.name.startswith("document")
    query = select(derived.c.name).where(derived.c.arrival_id == arrival_id, or_(*shown)).distinct()
    return sorted(conn.scalars(query))


def kind_of(conn: Connection, arrival_id: str) -> str | None:
    """What an arrival is by its first bytes: ``ecg``, ``image`` or ``unknown``."""
    return conn.scalar(select(arrivals.c.kind).where(arrivals.c.id == arrival_id))


def sent_by(conn: Connection, site_id: str, limit: int = 10) -> list[SentItem]:
    """What a site sent through this page lately, newest first."""
    query = (
        select(
            arrivals.c.receipt,
            arrivals.c.arrived_at,
            arrivals.c.state,
            func.coalesce(work_items.c.priority, arrivals.c.clinic_priority).label("priority"),
            work_items.c.state.label("case_state"),
            recordings.c.quality_acceptable,
            # reported before it could be read, it has a case of its own besides its study's
            func.coalesce(_critical(arrivals.c.case_id), _critical(arrivals.c.id)).label("critical"),
        )
        .select_from(arrivals)
        .outerjoin(work_items, (work_items.c.case_id == arrivals.c.case_id) & (work_items.c.seq == _latest_seq()))
        .outerjoin(recordings, recordings.c.arrival_id == arrivals.c.id)
        .where(arrivals.c.site_id == site_id, arrivals.c.source == "web")
        .order_by(arrivals.c.arrived_at.desc())
        .limit(limit)
    )
    return [SentItem(**row._mapping) for row in conn.execute(query)]


def _latest_seq() -> ScalarSelect[int]:
    """The number of an arrival's newest work item: a case owns successive ones."""
    items = work_items.alias()
    return (
        select(func.max(items.c.seq)).where(items.c.case_id == arrivals.c.case_id).correlate(arrivals).scalar_subquery()
    )


def _critical(case_id: Column[Any]) -> ScalarSelect[bool]:
    """Whether the report that holds of those given back on a case is critical; None where none was."""
    return (
        select(reports.c.critical)
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .where(reports.c.case_id == case_id, deliveries.c.delivered_at.is_not(None), reports.c.kind != "addendum")
        .order_by(reports.c.version.desc())
        .limit(1)
        .correlate(arrivals)
        .scalar_subquery()
    )


def site_states(conn: Connection, site_ids: Sequence[str]) -> list[SiteState]:
    """The pull state of each site, in the given order."""
    columns = [site_status.c[name] for name in SiteState.__dataclass_fields__]
    found = {row.site_id: SiteState(**row._mapping) for row in conn.execute(select(*columns))}
    return [found.get(site_id, SiteState(site_id)) for site_id in site_ids]


def open_messages(conn: Connection) -> list[OpenMessage]:
    """Messages that are not closed, oldest first."""
    columns = [site_messages.c[name] for name in OpenMessage.__dataclass_fields__]
    query = select(*columns).where(site_messages.c.closed_at.is_(None)).order_by(site_messages.c.opened_at)
    return [OpenMessage(**row._mapping) for row in conn.execute(query)]


def quarantined(conn: Connection, limit: int = 100) -> list[Quarantined]:
    """What lies in quarantine, newest first."""
    query = (
        select(
            arrivals.c.id.label("arrival_id"),
            arrivals.c.receipt,
            arrivals.c.site_id,
            arrivals.c.kind,
            quarantine.c.code,
            quarantine.c.quarantined_at,
            arrivals.c.attempts,
            arrivals.c.size_bytes,
        )
        .join(quarantine, quarantine.c.arrival_id == arrivals.c.id)
        .where(quarantine.c.resolved_at.is_(None))
        .order_by(quarantine.c.quarantined_at.desc())
        .limit(limit)
    )
    return [Quarantined(**row._mapping) for row in conn.execute(query)]


def identity_counts(conn: Connection) -> dict[str, int]:
    """How many identities wait for a person: open questions by code, corrections, notices. Counts alone."""
    return questions.open_counts(conn) | {
        "under_correction": corrections.count_open(conn),
        "unseen": notices.count_unseen(conn),
    }


def totals(conn: Connection) -> dict[str, int]:
    """How many arrivals stand at which step, what lies in quarantine, and which reports wait to be given back."""

    def number(*where: object) -> int:
        return int(conn.scalar(select(func.count()).select_from(arrivals).where(*where)) or 0)  # type: ignore[arg-type]

    undelivered = select(func.count()).select_from(deliveries).where(deliveries.c.delivered_at.is_(None))
    return {
        "arrived": number(),
        "landed": number(arrivals.c.state == "landed"),
        "prepared": number(arrivals.c.state == "prepared"),
        "quarantined": number(arrivals.c.state == "quarantined"),
        "enqueued": number(arrivals.c.case_id.is_not(None)),
        "undelivered": int(conn.scalar(undelivered) or 0),
    }
