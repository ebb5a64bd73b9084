"""An agent enrols itself with the code that an operator gave its clinic, asks how it stands, and renews itself."""

from __future__ import annotations

import json
import logging
import secrets
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.pipeline.services import Services
from teleread.storage import agents
from teleread.storage.accounts import Account
from teleread.web.certificates import AgentsTrust, Identity, issue
from teleread.web.errors import NotFound
from teleread.web.limits import RateLimiter, Tally, small_body
from teleread.web.security import CERTIFICATE, Seat, allow, is_on_this_machine, public

log = logging.getLogger(__name__)
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
        await run_in_threadpool(_note_failure, request, seat)
        raise AccessDenied("too_many_attempts", "Too many codes were tried; wait a minute.")
    try:
        said = json.loads(await small_body(request))
        code = said["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputRejected("request_invalid", "The request cannot be understood.") from None
    if not isinstance(code, str) or len(code) > 64:
        raise InputRejected("request_invalid", "The request cannot be understood.")
    local = is_on_this_machine(request) and request.url.scheme == "http"
    trust: AgentsTrust = request.app.state.agents_trust
    try:
        said = await run_in_threadpool(_enrol, seat, authority, code, local)
    except AccessDenied:
        await run_in_threadpool(_note_failure, request, seat)
        raise
    return JSONResponse({**said, "trusted": trust.authority, **_ports(request)}, 201)


@router.get("/api/agents/place")
def place(request: Request, seat: Annotated[Seat, public(audit=None)]) -> JSONResponse:
    """``{agent_port, web_port}``: for an agent that enrolled where nobody asks for its certificate any more."""
    return JSONResponse(_ports(request))


@router.get("/api/agents/me")
def me(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)]) -> JSONResponse:
    """``{agent, site, telephone, expires_at, renew}``: how the agent stands, and that its line is in order."""
    account = _agent(seat)
    services, now = seat.services, seat.services.clock()
    with services.catalogue.write() as conn:
        agents.settle(conn, account, request.scope.get(CERTIFICATE))
        agents.seen(conn, account, now)
        agent = agents.agent_of(conn, account)
    return JSONResponse(
        {
            "agent": agent.id,
            "site": agent.site_id,
            "telephone": services.alliance.telephone,
            "expires_at": agent.expires_at.isoformat(),
            "renew": agent.expires_at - now < agents.RENEWED_BEFORE,
            **_ports(request),
        }
    )


@router.post("/api/agents/renew")
def renew(request: Request, seat: Annotated[Seat, allow("uploader", audit="renew_agent")]) -> JSONResponse:
    """``{certificate, key, expires_at}`` for an agent that is good and whose time is nearly over."""
    authority: Identity | None = request.app.state.agents_authority
    account = _agent(seat)
    services, now = seat.services, seat.services.clock()
    with services.catalogue.read() as conn:
        agent = agents.agent_of(conn, account)
    if authority is None:
        raise NotFound()
    if agent.expires_at - now >= agents.RENEWED_BEFORE:
        raise Conflict("too_early_to_renew", "The certificate is good for long enough.")
    issued = issue(authority, agent.id, agent.site_id, now, agents.VALID_FOR)
    with services.catalogue.write() as conn:
        agents.renew(conn, account, issued.fingerprint, issued.expires_at, now)
    return JSONResponse(
        {"certificate": issued.certificate_pem, "key": issued.key_pem, "expires_at": issued.expires_at.isoformat()}
    )


def note_the_rest(failures: Tally, services: Services) -> None:
    """Write down what was counted and not yet written; at the end of the service."""
    now = services.clock()
    _note(services, failures.rest(now), now)


def _note_failure(request: Request, seat: Seat) -> None:
    failures: Tally = request.app.state.enrol_failures
    now = seat.services.clock()
    _note(seat.services, failures.add(now), now)


def _note(services: Services, failures: int, now: datetime) -> None:
    if failures == 0:
        return
    try:
        with services.catalogue.write() as conn:
            agents.refused(conn, failures, now)
    except StorageError as error:
        log.error("%d codes that were refused are not noted: %s", failures, error.code)


def _ports(request: Request) -> dict[str, int | None]:
    trust: AgentsTrust = request.app.state.agents_trust
    return {"agent_port": trust.agent_port, "web_port": trust.web_port}


def _agent(seat: Seat) -> Account:
    if seat.account is None or not agents.is_agent(seat.account):
        raise NotFound()
    return seat.account


def _enrol(seat: Seat, authority: Identity, code: str, local: bool) -> dict[str, str]:
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
        "token": token if local else "",  # of no use elsewhere, so it is nowhere else
        "expires_at": issued.expires_at.isoformat(),
    }
