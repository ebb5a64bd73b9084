"""An agent enrols itself with the code that an operator gave its clinic."""

from __future__ import annotations

import json
import secrets
from typing import Annotated

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.errors import AccessDenied, InputRejected
from teleread.storage import agents
from teleread.web.certificates import Identity, issue
from teleread.web.errors import NotFound
from teleread.web.limits import RateLimiter, small_body
from teleread.web.security import Seat, public

router = APIRouter()


@router.post("/api/agents/enrol")
async def enrol(request: Request, seat: Annotated[Seat, public(audit="enrol_agent")]) -> JSONResponse:
    """``{code}`` → ``{agent, site, certificate, key, token, expires_at}``; the code is used up.

    The key is made here because a PC with only Python cannot make one; it crosses a line whose other end the agent has
    checked by fingerprint, and is kept nowhere.
    """
    authority: Identity | None = request.app.state.agents_authority
    limiter: RateLimiter = request.app.state.enrol_limiter
    if authority is None:
        raise NotFound()
    host = request.client.host if request.client else ""
    if not limiter.admit(host, seat.services.clock()):
        raise AccessDenied("too_many_attempts", "Too many codes were tried; wait a minute.")
    try:
        said = json.loads(await small_body(request))
        code = said["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputRejected("request_invalid", "The request cannot be understood.") from None
    if not isinstance(code, str) or len(code) > 64:
        raise InputRejected("request_invalid", "The request cannot be understood.")
    return JSONResponse(await run_in_threadpool(_enrol, seat, authority, code), 201)


def _enrol(seat: Seat, authority: Identity, code: str) -> dict[str, str]:
    services, now = seat.services, seat.services.clock()
    with services.catalogue.read() as conn:
        site_id = agents.invited_to(conn, code, now)
    agent_id = secrets.token_hex(8)
    issued = issue(authority, agent_id, site_id, now, agents.VALID_FOR)
    with services.catalogue.write() as conn:
        agent, token = agents.enrol(conn, code, agent_id, issued.fingerprint, issued.expires_at, now)
    return {
        "agent": agent.id,
        "site": agent.site_id,
        "telephone": services.alliance.telephone,
        "certificate": issued.certificate_pem,
        "key": issued.key_pem,
        "token": token,
        "expires_at": issued.expires_at.isoformat(),
    }
