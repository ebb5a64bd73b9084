"""The safety net: whatever was left between two steps reaches a person, in the web service without Airflow."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from teleread.errors import PeerError, StorageError
from teleread.pipeline.batches import BATCH_SIZE, FAST_LANE_S, prepare_batch
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back, undelivered
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals

log = logging.getLogger(__name__)

# an ECG, or what nobody could tell to be none, is before a reader after this long, analysed or not
SEEN_WITHIN_S = 45
_ROUND = 32
_UNFINISHED = or_(arrivals.c.state == "landed", arrivals.c.case_id.is_(None))


def sweep_web(services: Services) -> None:
    """One round of the web service; called every few seconds.

    What a clinic pushed and the fast lane did not finish within 20 s is prepared. An ECG or an unknown object from
    any site that nobody has prepared within 45 s is queued as "not analysed". Reports for pages are given back.
    """
    now = services.clock()
    fast_lane = and_(arrivals.c.source == "web", arrivals.c.arrived_at < now - timedelta(seconds=FAST_LANE_S))
    overdue = and_(arrivals.c.kind != "image", arrivals.c.arrived_at < now - timedelta(seconds=SEEN_WITHIN_S))
    with services.catalogue.read() as conn:
        left = _ids(conn, fast_lane, _UNFINISHED)
        unseen = _ids(conn, overdue, arrivals.c.case_id.is_(None))
    for arrival_id in unseen:
        enqueue(services, arrival_id)
    try:
        prepare_batch(services, left)
    except StorageError as error:
        log.warning("sweep %s", error.code)
    _give_back_due(services, ("web",))


def sweep_all(services: Services) -> dict[str, int]:
    """One round of the durable lane: what landed more than 20 s ago from anywhere, and reports over any channel.

    The newest go first: the lane that prepares in batches starts at the oldest, so the two meet in the middle
    instead of doing the same work side by side.

    Raises:
        StorageError: storage failed for some arrivals, after all the others were done.
    """
    settled = arrivals.c.arrived_at < services.clock() - timedelta(seconds=FAST_LANE_S)
    with services.catalogue.read() as conn:
        left = _ids(conn, settled, _UNFINISHED, newest_first=True, limit=BATCH_SIZE)
    given, refused = _give_back_due(services, ("web", "folder", "dicom"))
    outcome = prepare_batch(services, left)
    return {
        "prepared": outcome.prepared,
        "quarantined": outcome.quarantined,
        "given_back": given,
        "not_taken": refused,
    }


def _ids(
    conn: Connection, *conditions: ColumnElement[bool], newest_first: bool = False, limit: int = _ROUND
) -> list[str]:
    age = arrivals.c.arrived_at.desc() if newest_first else arrivals.c.arrived_at
    return list(conn.scalars(select(arrivals.c.id).where(*conditions).order_by(age).limit(limit)))


def _give_back_due(services: Services, channels: tuple[str, ...]) -> tuple[int, int]:
    with services.catalogue.read() as conn:
        due = undelivered(conn, services.clock(), channels)
    given = refused = 0
    for report_id in due:
        try:
            given += give_back(services, report_id)
        except PeerError as error:
            refused += 1
            log.warning("report %s is not taken: %s", report_id, error.code)
    return given, refused
