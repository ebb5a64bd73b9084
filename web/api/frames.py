"""Frames and thumbnails of images: rendered here, one at a time, for looking and never for primary diagnosis."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from teleread.errors import InputRejected
from teleread.ingest.imaging import WINDOW_PRESETS
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.objects.raw import get_raw
from teleread.web import queries
from teleread.web.errors import NotFound
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access, view

router = APIRouter()

AUDIT_EVERY = timedelta(minutes=10)


class Lately:
    """Tells the first look at something from leafing through it; remembers a bounded number. Thread-safe."""

    def __init__(self, span: timedelta, max_keys: int = 10_000) -> None:
        self._span = span
        self._max_keys = max_keys
        self._seen: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, who: str, what: str, at: datetime) -> bool:
        """True once per person, thing and span."""
        with self._lock:
            known = self._seen.get((who, what))
            if known is not None and at - known < self._span:
                return False
            self._seen[who, what] = at
            self._seen.move_to_end((who, what))
            while len(self._seen) > self._max_keys:
                self._seen.popitem(last=False)
            return True


@router.get("/api/instances/{arrival_id}/frames/{n}.png")
async def frame(
    request: Request,
    seat: Annotated[Seat, allow("reader", audit="view")],
    arrival_id: str,
    n: Annotated[int, InPath(ge=0, le=1_000_000)],
    window: str = "default",
) -> Response:
    """One frame, numbered from 0, in a window preset."""
    if window not in WINDOW_PRESETS:
        raise InputRejected("bad_window", "There is no window of that name.")
    # frames wait here and not in a thread: those are for uploads and alarms
    async with request.app.state.frame_slots:
        return await run_in_threadpool(_frame, request, seat, arrival_id, n, window)


def _frame(request: Request, seat: Seat, arrival_id: str, n: int, window: str) -> Response:
    with seat.services.catalogue.read() as conn:
        check_access(conn, seat, "arrival", arrival_id)
        found = queries.raw_of(conn, arrival_id)
    if found is None:
        raise NotFound()
    _record(request, seat, arrival_id)
    data = get_raw(seat.services.store, found[1])
    product = seat.services.pool.run("teleread.web.frames:render", data, {"frame": n, "window": window})
    return Response(product.blobs["frame.png"], media_type="image/png")


@router.get("/api/instances/{arrival_id}/thumbnail.png")
def thumbnail(request: Request, seat: Annotated[Seat, allow("reader", audit="view")], arrival_id: str) -> Response:
    """The thumbnail made when the instance was prepared."""
    with seat.services.catalogue.read() as conn:
        check_access(conn, seat, "arrival", arrival_id)
        key = derived_key(conn, arrival_id, "thumbnail.png")
    if key is None:
        raise NotFound()
    _record(request, seat, arrival_id)
    return Response(seat.services.store.get(key), media_type="image/png")


def _record(request: Request, seat: Seat, arrival_id: str) -> None:
    """An audit event per person and instance, not per frame that is leafed through."""
    looks: Lately = request.app.state.looks
    if looks.first(seat.name, arrival_id, seat.services.clock()):
        view(seat, lambda _conn: None, "arrival", arrival_id, lambda _: {"part": "image"})
