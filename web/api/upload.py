"""Uploads by pages and agents, and receipts as JSON."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.pipeline.verdict import verdict
from teleread.web.errors import NotFound
from teleread.web.limits import multipart
from teleread.web.security import Seat, allow
from teleread.web.sending import ANALYSIS_WAIT_S, Sent, as_json, files_of, send

router = APIRouter()

_LOOK_EVERY_S = 0.05


async def take(request: Request, seat: Seat) -> Sent:
    """Spool the multipart form, then do the rest in a worker thread. ``urgent=1`` marks it urgent."""
    form = await multipart(request, request.app.state.upload_limit_bytes)
    try:
        urgent = form.get("urgent") in {"1", "on", "true"}
        async with request.app.state.upload_slots:
            return await run_in_threadpool(lambda: send(seat, request.app.state.lane, files_of(form), urgent))
    finally:
        await form.close()


@router.post("/api/upload")
async def upload(request: Request, seat: Annotated[Seat, allow("uploader", audit="land")]) -> JSONResponse:
    """Files of one recording (field ``file``, several for WFDB): ``{receipt, new, verdict}``.

    The receipt is the acknowledgement: the bytes are durable. The same bytes again give the same receipt.
    """
    sent = await take(request, seat)
    verdict_json = await run_in_threadpool(as_json, seat, sent.verdict)
    body = {"receipt": sent.landed.receipt, "new": sent.landed.new, "verdict": verdict_json}
    return JSONResponse(body, 201 if sent.landed.new else 200)


@router.get("/api/receipts/{receipt}")
def receipt(
    seat: Annotated[Seat, allow("uploader", audit=None)],
    receipt: str,
    wait: Annotated[float, Query(ge=0, le=ANALYSIS_WAIT_S)] = 0,
) -> JSONResponse:
    """The present state of what was sent under a receipt; another site's receipt does not exist here.

    Args:
        wait: seconds to wait at the most for the verdict, so that one question over a slow line is enough.
    """
    ends = time.monotonic() + wait
    while True:
        found = verdict(seat.services, receipt=receipt.upper(), site_id=seat.site_id)
        if found is None:
            raise NotFound()
        if found.state != "landed" or time.monotonic() >= ends:
            break
        time.sleep(_LOOK_EVERY_S)
    return JSONResponse({"receipt": found.receipt, "verdict": as_json(seat, found)})
