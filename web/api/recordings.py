"""An ECG's samples and beats for the page that draws them."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.responses import JSONResponse, Response

from teleread.storage.catalogue.lookups import derived_key
from teleread.web.errors import NotFound
from teleread.web.security import Seat, allow
from teleread.web.viewing import view

router = APIRouter()


@router.get("/api/recordings/{arrival_id}/display")
def display(seat: Annotated[Seat, allow("reader", audit="view")], arrival_id: str) -> JSONResponse:
    """How to read the samples (leads, rate, scale, missing value), and the R peaks as sample numbers.

    No R peaks where the analysis failed: the tracing is there all the same.
    """
    shown = json.loads(_derived(seat, arrival_id, "display.json"))
    try:
        peaks = json.loads(_derived(seat, arrival_id, "analysis.json"))["r_peaks"]
    except NotFound:
        peaks = []
    return JSONResponse(shown | {"r_peaks": peaks})


@router.get("/api/recordings/{arrival_id}/wave")
def wave(seat: Annotated[Seat, allow("reader", audit="view")], arrival_id: str) -> Response:
    """The samples: 16-bit little-endian steps, lead after lead."""
    return Response(_derived(seat, arrival_id, "wave.i16"), media_type="application/octet-stream")


def _derived(seat: Seat, arrival_id: str, name: str) -> bytes:
    def read(conn: Connection) -> str:
        key = derived_key(conn, arrival_id, name)
        if key is None:
            raise NotFound()
        return key

    viewed = view(seat, read, "arrival", arrival_id, lambda _: {"part": name})
    return seat.services.store.get(viewed.value)
