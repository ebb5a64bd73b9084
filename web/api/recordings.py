"""An ECG's samples and beats for the page that draws them."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
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


@router.get("/api/recordings/{arrival_id}/shown/{name}")
def shown(
    seat: Annotated[Seat, allow("reader", audit="view")],
    arrival_id: str,
    name: Annotated[str, InPath(pattern=r"^(picture|document)(-[2-8])?\.(png|pdf)$")],
) -> Response:
    """A picture of an ECG as our own decoder drew it, or a PDF as it came, which no browser opens among our pages."""
    data = _derived(seat, arrival_id, name)
    if name.endswith(".png"):
        return Response(data, media_type="image/png")
    headers = {"content-disposition": f'attachment; filename="{arrival_id[:12]}-{name}"'}
    return Response(data, media_type="application/pdf", headers=headers)


def _derived(seat: Seat, arrival_id: str, name: str) -> bytes:
    def read(conn: Connection) -> str:
        key = derived_key(conn, arrival_id, name)
        if key is None:
            raise NotFound()
        return key

    viewed = view(seat, read, "arrival", arrival_id, lambda _: {"part": name})
    return seat.services.store.get(viewed.value)
