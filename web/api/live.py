"""The stream that tells a page of the worklist that something changed (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from teleread.web.live import Feed
from teleread.web.security import Seat, allow

router = APIRouter()


@router.get("/api/worklist/live")
async def live(request: Request, seat: Annotated[Seat, allow("reader", "coordinator", audit=None)]) -> Response:
    """Events ``changed``, each with the number of the newest event of the queue, and nothing else of it."""
    feed: Feed = request.app.state.feed
    number = feed.enter(seat.name)

    async def lines() -> AsyncIterator[str]:
        try:
            async for line in feed.events(request.is_disconnected):
                yield line
        finally:
            feed.leave(number)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
