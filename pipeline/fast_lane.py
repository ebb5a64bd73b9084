"""What the web service prepares itself: what fits beside everything else that it does.

An arrival in preparation is held in memory several times: as it is sealed, as it was sent, and as what its parser gives
back. So the fast lane takes small arrivals side by side, larger ones one at a time, and leaves the rest to the durable
lane, which works in processes of its own. All of it together stays below 256 MiB.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select

from teleread.errors import Conflict
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.prepare import LARGEST_BYTES, Room, prepare
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals

log = logging.getLogger(__name__)

SMALL = Room(1 << 20, 3 << 20)
"""An ECG of ten seconds has 200 KB: any number of these."""
LARGE = Room(32 << 20, 48 << 20)
"""One at a time."""
WAIT_S = 10.0
"""How long an ECG waits for its turn among the large ones. An image does not: nobody waits for its verdict."""
_MOST_REMEMBERED = 10_000

_one_large = threading.Lock()
_left: set[str] = set()  # what was too large only when it was unpacked; tried here once


def takes() -> ColumnElement[bool]:
    """A condition on arrivals: not left to the durable lane for their size. What no lane takes is set aside here."""
    size = arrivals.c.size_bytes
    return or_(arrivals.c.state != "landed", size <= LARGE.input_bytes, size > LARGEST_BYTES)


def prepare_here(services: Services, arrival_id: str, *, wait_s: float = WAIT_S) -> str:
    """Prepare and queue one arrival, or leave it to the durable lane; then a person sees it all the same.

    Returns:
        The arrival's state: ``landed`` where it was left.

    Raises:
        Conflict: ``no_such_arrival``.
        StorageError, PeerError: nothing was decided; run again later.
    """
    with services.catalogue.read() as conn:
        row = conn.execute(select(arrivals).where(arrivals.c.id == arrival_id)).one_or_none()
    if row is None:
        raise Conflict("no_such_arrival", "No arrival has this id.")
    state = _prepare(services, row, wait_s)
    if state != "landed" or row.kind != "image":
        # an image that is not prepared yet is no case of its own: it is queued as "not analysed" when its time is over
        enqueue(services, arrival_id)
    return state


def _prepare(services: Services, row: Row[Any], wait_s: float) -> str:
    state = "landed"
    if row.state != "landed" or row.size_bytes <= SMALL.input_bytes or row.size_bytes > LARGEST_BYTES:
        state = prepare(services, row.id, room=SMALL)
    if state != "landed" or row.size_bytes > LARGE.input_bytes or row.id in _left:
        return state
    if not _one_large.acquire(timeout=0 if row.kind == "image" else wait_s):
        return state  # its turn comes with the next round
    try:
        state = prepare(services, row.id, room=LARGE)
    finally:
        _one_large.release()
    if state == "landed" and len(_left) < _MOST_REMEMBERED:
        log.info("arrival %s is left to the durable lane", row.id)
        _left.add(row.id)
    return state
