"""Is the process alive, and can it take a recording."""

from __future__ import annotations

import logging
import secrets
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.errors import PeerError, StorageError
from teleread.web.rounds import Rounds
from teleread.web.security import Seat, public

router = APIRouter()
log = logging.getLogger(__name__)

PROBE = bytes(256 << 10)  # as large as an ECG: a disk with room for less cannot take one


@router.get("/healthz")
def alive(seat: Annotated[Seat, public(audit=None)]) -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def ready(request: Request, seat: Annotated[Seat, public(audit=None)]) -> JSONResponse:
    """Catalogue and object store take writes and the rounds go on; 503 and the failing part's name when not."""
    failing = []
    rounds: Rounds | None = request.app.state.rounds
    if rounds is not None and rounds.stale:
        failing.append("rounds")
    try:
        with seat.services.catalogue.write() as conn:
            conn.execute(text("SELECT 1"))
    except (SQLAlchemyError, StorageError) as error:
        log.warning("not ready: catalogue %s", type(error).__name__)
        failing.append("catalogue")
    key = f"probe/{secrets.token_hex(8)}"  # a new one each time: an object that exists already is not written
    try:
        seat.services.store.put(key, PROBE)
        seat.services.store.delete(key)
    except (StorageError, PeerError) as error:
        log.warning("not ready: store %s", error.code)
        failing.append("store")
    return JSONResponse({"status": "failing" if failing else "ok", "failing": failing}, 503 if failing else 200)
