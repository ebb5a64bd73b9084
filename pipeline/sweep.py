"""The safety net: whatever was left between two steps reaches a person, in the web service without Airflow."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, or_, select

from teleread.errors import StorageError, TelereadError
from teleread.pipeline.batches import BATCH_SIZE, FAST_LANE_S, prepare_batch
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.export_copies import remake_copies, withdraw_refused
from teleread.pipeline.fast_lane import prepare_here, takes
from teleread.pipeline.give_back import give_back, undelivered
from teleread.pipeline.identity_corrections import reopen_lost_corrections
from teleread.pipeline.orphans import sweep_orphans
from teleread.pipeline.scrub import scrub_slice
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals

log = logging.getLogger(__name__)

# an ECG, or what nobody could tell to be none, is before a reader after this long, analysed or not
SEEN_WITHIN_S = 45
IMAGE_SEEN_WITHIN_S = 600
_ROUND = 32
_ROUND_S = 5.0
_UNFINISHED = or_(arrivals.c.state == "landed", arrivals.c.case_id.is_(None))


def queue_unseen(services: Services) -> int:
    """Queue as "not analysed" what has landed and nobody has prepared in time; only a few rows are written.

    The web service calls this every few seconds and lets nothing else wait before it.

    Returns:
        How many cases were queued.
    """
    now = services.clock()
    overdue = arrivals.c.arrived_at < now - timedelta(seconds=SEEN_WITHIN_S)
    image_overdue = arrivals.c.arrived_at < now - timedelta(seconds=IMAGE_SEEN_WITHIN_S)
    with services.catalogue.read() as conn:
        unseen = _ids(conn, arrivals.c.case_id.is_(None), overdue, or_(arrivals.c.kind != "image", image_overdue))
    queued = 0
    for arrival_id in unseen:
        try:
            enqueue(services, arrival_id)
            queued += 1
        except TelereadError as error:
            log.error("arrival %s cannot be queued: %s", arrival_id, error.code)
    return queued


def sweep_web(services: Services) -> None:
    """One round of the web service: what a clinic pushed and the fast lane did not finish within 20 s is prepared,
    for some seconds; reports for pages are given back.
    """
    fast_lane = arrivals.c.arrived_at < services.clock() - timedelta(seconds=FAST_LANE_S)
    with services.catalogue.read() as conn:
        left = _ids(conn, arrivals.c.source == "web", fast_lane, _UNFINISHED, takes())
    ends = time.monotonic() + _ROUND_S
    for arrival_id in left:
        if time.monotonic() > ends:
            break
        try:
            prepare_here(services, arrival_id, wait_s=0)
        except TelereadError as error:
            log.warning("arrival %s waits: %s", arrival_id, error.code)
    _give_back_due(services, ("web",))


def sweep_all(services: Services) -> dict[str, int]:
    """One round of the durable lane: what landed more than 20 s ago from anywhere, and reports over any channel.

    The newest go first: the lane that prepares in batches starts at the oldest, so the two meet in the middle
    instead of doing the same work side by side.

    Raises:
        StorageError: storage failed for some arrivals, after all else was done.
    """
    settled = arrivals.c.arrived_at < services.clock() - timedelta(seconds=FAST_LANE_S)
    with services.catalogue.read() as conn:
        left = _ids(conn, settled, _UNFINISHED, newest_first=True, limit=BATCH_SIZE)
    failure: StorageError | None = None
    prepared = quarantined = 0
    try:
        outcome = prepare_batch(services, left)
        prepared, quarantined = outcome.prepared, outcome.quarantined
    except StorageError as error:
        failure = error
    given, refused = _give_back_due(services, ("web", "folder", "dicom"))
    kept = _keep_true(services)
    if failure is not None:
        raise failure
    return {"prepared": prepared, "quarantined": quarantined, "given_back": given, "not_taken": refused, **kept}


def _keep_true(services: Services) -> dict[str, int]:
    """A slice of each of the walks that keep store and catalogue true to each other."""
    counts: dict[str, int] = {}
    for part in (_reopen, _withdraw, _sweep, _remake, _scrub):
        try:
            counts |= part(services)
        except TelereadError as error:
            # nothing is lost by waiting: the next round goes on from the same place, and the other parts go on now
            log.error("store and catalogue are not compared, %s: %s", part.__name__, error.code)
    return counts


def _reopen(services: Services) -> dict[str, int]:
    return {"corrections_reopened": reopen_lost_corrections(services)}


def _sweep(services: Services) -> dict[str, int]:
    swept = sweep_orphans(services)
    return {"adopted": swept.adopted, "orphans_removed": swept.removed}


def _withdraw(services: Services) -> dict[str, int]:
    return {"copies_withdrawn": withdraw_refused(services)}


def _remake(services: Services) -> dict[str, int]:
    return {"copies_made": remake_copies(services)}


def _scrub(services: Services) -> dict[str, int]:
    scrubbed = scrub_slice(services)
    return {} if scrubbed is None else {"faults": scrubbed.faults}


def _ids(
    conn: Connection, *conditions: ColumnElement[bool], newest_first: bool = False, limit: int = _ROUND
) -> list[str]:
    age = arrivals.c.arrived_at.desc() if newest_first else arrivals.c.arrived_at
    return list(conn.scalars(select(arrivals.c.id).where(*conditions).order_by(age).limit(limit)))


def _give_back_due(services: Services, channels: tuple[str, ...]) -> tuple[int, int]:
    with services.catalogue.read() as conn:
        due = undelivered(conn, services.clock(), channels)
    given = refused = 0
    failing: set[str] = set()
    for report_id, site_id in due:
        if site_id in failing:
            continue  # a dead site is tried once a round, so that the others' reports do not wait for it
        try:
            given += give_back(services, report_id)
        except TelereadError as error:
            failing.add(site_id)
            refused += 1
            log.warning("report %s is not taken: %s", report_id, error.code)
    return given, refused
