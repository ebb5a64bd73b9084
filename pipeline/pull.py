"""Fetch one site's new studies, and keep one honest account of how that goes.

A site that fails is left alone for a while (a breaker: 1, 2, 4, 8, then 15 min), has one open message however often
it fails, and touches no other site.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection as DbConnection
from sqlalchemy import Row, insert, select, update

from teleread.alliance import Connection
from teleread.errors import Misconfigured
from teleread.ingest.sources.base import PullResult, PullStopped, Source, SourceItem
from teleread.ingest.sources.dicom import DicomSource
from teleread.ingest.sources.folder import FolderSource
from teleread.pipeline.land import land
from teleread.pipeline.ledger import CatalogueLedger
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.schema import site_messages, site_status

log = logging.getLogger(__name__)

_BREAKER_MIN = (1, 2, 4, 8, 15)


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """What one pull did. ``waiting`` objects were listed and have not landed yet."""

    site_id: str
    listed: int
    landed: int
    waiting: int
    unrecognised: int


def due_sites(services: Services) -> list[str]:
    """Ids of the sites that are pulled today and whose breaker does not hold them back now."""
    now = services.clock()
    with services.catalogue.read() as conn:
        held = set(conn.scalars(select(site_status.c.site_id).where(site_status.c.next_try_at > now)))
    return [site_id for site_id in services.alliance.pulled_sites(_today(services)) if site_id not in held]


def pull_site(services: Services, site_id: str, *, since: datetime | None = None) -> PullOutcome:
    """Land what a site has and we have not, within the site's own limits.

    Args:
        since: list a PACS from this day on, whatever its watermark is.

    Raises:
        PullStopped: the site failed; its status, its message and its next try are recorded. What landed stays.
        Misconfigured: ``site_not_pulled``.
    """
    connection = services.alliance.connection(site_id, _today(services))
    if connection is None or connection.kind == "web":
        raise Misconfigured("site_not_pulled", f"Site {site_id!r} has no connection that is pulled today.")
    started = services.clock()
    with services.catalogue.write() as conn:
        status = _touch(conn, site_id, last_started_at=started)
    source: Source = (
        DicomSource(connection, since=since or _listed_from(connection, status.watermark, started))
        if connection.kind == "dicom"
        else FolderSource(connection, services.vault.project_key("folder-names"))
    )
    ledger = CatalogueLedger(services, site_id)

    def take(item: SourceItem) -> str:
        landed = land(
            services,
            site_id=site_id,
            source="dicom" if connection.kind == "dicom" else "folder",
            files=item.files,
            clinic_priority=item.priority,
            actor=f"pull:{site_id}",
        )
        return landed.arrival_id

    try:
        result = source.pull(ledger, take, time.monotonic() + connection.budget_s)
    except PullStopped as error:
        # a site that failed before it listed anything says nothing of what waits there
        _failed(services, site_id, error, error.result.waiting if error.result.listed else None)
        raise
    for key, code in result.refused:
        ledger.refused(key, code)
    _succeeded(services, site_id, started, result)
    return PullOutcome(site_id, result.listed, result.landed, result.waiting, result.unrecognised)


def _listed_from(connection: Connection, watermark: datetime | None, now: datetime) -> datetime | None:
    """From when on a PACS is listed: some days before all was known to have landed, however long ago that is."""
    if connection.lookback_days is None:
        return None
    return (watermark or now) - timedelta(days=connection.lookback_days)


def _today(services: Services) -> Any:
    return services.clock().date()


def _touch(conn: DbConnection, site_id: str, **values: Any) -> Row[Any]:
    insert_missing(conn, site_status, [{"site_id": site_id, "failures": 0}], ["site_id"])
    if values:
        conn.execute(update(site_status).where(site_status.c.site_id == site_id).values(**values))
    return conn.execute(select(site_status).where(site_status.c.site_id == site_id)).one()


def _succeeded(services: Services, site_id: str, started: datetime, result: PullResult) -> None:
    now = services.clock()
    values: dict[str, Any] = {
        "last_ok_at": now,
        "last_landed": result.landed,
        "waiting": result.waiting,
        "unrecognised": result.unrecognised,
        "failing_since": None,
        "failure_code": None,
        "failure_message": None,
        "failures": 0,
        "next_try_at": None,
    }
    if result.complete and result.waiting == 0:
        values["watermark"] = started
    with services.catalogue.write() as conn:
        _touch(conn, site_id, **values)
        closed = conn.execute(
            update(site_messages)
            .where(site_messages.c.site_id == site_id, site_messages.c.closed_at.is_(None))
            .values(closed_at=now)
        ).rowcount
    if closed:
        log.warning("site %s answers again", site_id)


def _failed(services: Services, site_id: str, error: PullStopped, waiting: int | None) -> None:
    now = services.clock()
    with services.catalogue.write() as conn:
        status = _touch(conn, site_id)
        failures = status.failures + 1
        pause = timedelta(minutes=_BREAKER_MIN[min(failures, len(_BREAKER_MIN)) - 1])
        # a tenth of jitter, so that sites that failed together do not all come back together
        next_try = now + pause * random.uniform(0.9, 1.0)
        since = status.failing_since or now
        # what the site listed when it last answered, where this try did not get that far
        known_waiting = status.waiting if waiting is None else waiting
        _touch(
            conn,
            site_id,
            failing_since=since,
            failure_code=error.code,
            failure_message=error.safe_message,
            failures=failures,
            next_try_at=next_try,
            waiting=known_waiting,
        )
        values = {
            "code": error.code,
            "safe_message": error.safe_message,
            "waiting": known_waiting,
            "next_try_at": next_try,
        }
        changed = conn.execute(
            update(site_messages)
            .where(site_messages.c.site_id == site_id, site_messages.c.closed_at.is_(None))
            .values(**values)
        ).rowcount
        if not changed:
            conn.execute(insert(site_messages).values(site_id=site_id, opened_at=since, **values))
    if not changed:
        log.error(
            "site %s fails since %s: %s %s waiting=%s next_try=%s",
            site_id,
            since.isoformat(timespec="seconds"),
            error.code,
            error.safe_message,
            "unknown" if known_waiting is None else known_waiting,
            next_try.isoformat(timespec="seconds"),
        )


def site_report(connection: Connection, status: Row[Any] | None) -> str:
    """One line for an operator: the site, since when it fails, why, what waits, and when it is tried next."""
    if status is None or status.last_started_at is None:
        return f"{connection.site_id}: not pulled yet"
    if status.failing_since is None:
        left = f", {status.unrecognised} not recognised and left" if status.unrecognised else ""
        return (
            f"{connection.site_id}: ok at {status.last_ok_at:%Y-%m-%d %H:%M:%S} UTC, {status.last_landed or 0} new, "
            f"{0 if status.waiting is None else status.waiting} waiting{left}"
        )
    waiting = "an unknown number" if status.waiting is None else str(status.waiting)
    return (
        f"{connection.site_id}: failing since {status.failing_since:%Y-%m-%d %H:%M:%S} UTC: {status.failure_message} "
        f"[{status.failure_code}] at {connection.address} ({status.failures} tries), {waiting} waiting, "
        f"next try {status.next_try_at:%H:%M:%S} UTC"
    )
