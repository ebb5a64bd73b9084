"""The web application: routes, error answers, and the sweep that runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from teleread.errors import TelereadError
from teleread.pipeline.services import Services
from teleread.pipeline.spool import Spool
from teleread.reading.tracing import Tracings
from teleread.storage import accounts
from teleread.web import certificates, errors
from teleread.web.api import agents, flags, forms, frames, health, recordings, tracing, tus, upload
from teleread.web.api import claims as claims_api
from teleread.web.api import criticals as criticals_api
from teleread.web.api import live as live_api
from teleread.web.api import reports as reports_api
from teleread.web.api import worklist as worklist_api
from teleread.web.api.frames import AUDIT_EVERY, Lately
from teleread.web.certificates import AgentsTrust, Identity
from teleread.web.compression import Compressed
from teleread.web.headers import HardenedHeaders
from teleread.web.limits import RateLimiter, Tally
from teleread.web.live import feed_of
from teleread.web.pages import (
    account,
    audit,
    break_glass,
    cases,
    claims,
    clinic,
    coordinator,
    criticals,
    engineer,
    explain,
    identity,
    indicators,
    offline,
    people,
    reports,
    second,
    signin,
    worklist,
)
from teleread.web.pages.signin import ATTEMPT_WINDOW, ATTEMPTS
from teleread.web.render import STATIC_FOLDER, Renderer
from teleread.web.rounds import Rounds
from teleread.web.security import require_declarations

log = logging.getLogger(__name__)

SWEEP_EVERY = timedelta(seconds=5)
FRAMES_AT_ONCE = 1
UPLOAD_LIMIT_BYTES = 64 << 20
DOWNLOADS = 60
"""Reports that one account fetches within a minute: two files for each of thirty receipts."""
UPLOADS_AT_ONCE = 12  # whole uploads in memory; more wait on disk
_ROUTED = (
    signin,
    account,
    people,
    audit,
    break_glass,
    indicators,
    worklist,
    cases,
    reports,
    second,
    reports_api,
    claims,
    clinic,
    offline,
    coordinator,
    engineer,
    explain,
    identity,
    criticals,
    worklist_api,
    criticals_api,
    claims_api,
    live_api,
    recordings,
    tracing,
    flags,
    frames,
    upload,
    forms,
    tus,
    agents,
    health,
)


def create_app(
    services: Services,
    *,
    upload_limit_bytes: int = UPLOAD_LIMIT_BYTES,
    sweep_every: timedelta | None = SWEEP_EVERY,
    agents_authority: Identity | None = None,
) -> FastAPI:
    """The application on open services; the caller closes them.

    Args:
        sweep_every: pause between two sweeps; None for no sweep (tests that call it themselves).
        agents_authority: signs the certificates of clinics' agents; None where none can enrol.

    Raises:
        Misconfigured: ``route_without_guard``: a route does not say who may use it.
    """
    app = FastAPI(title="teleread", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.upload_limit_bytes = upload_limit_bytes
    app.state.rounds = None if sweep_every is None else Rounds(services, sweep_every)
    app.state.agents_authority = agents_authority
    _give_state(app, services)
    errors.install(app)
    for module in _ROUTED:
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER), name="static")
    app.add_middleware(Compressed)
    app.add_middleware(HardenedHeaders)
    require_declarations(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    rounds: Rounds | None = app.state.rounds
    # the parser processes start here, so that the first upload does not wait for them
    await run_in_threadpool(_start_parsers, services)
    if rounds is not None:
        rounds.start()
    try:
        yield
    finally:
        if rounds is not None:
            await rounds.stop()
        await run_in_threadpool(agents.note_the_rest, app.state.enrol_failures, services)
        app.state.lane.shutdown(cancel_futures=True)


def _give_state(app: FastAPI, services: Services) -> None:
    """What requests share: services, limits and slots."""
    app.state.services = services
    app.state.renderer = Renderer(services.alliance, services.clock)
    app.state.sign_in_limiter = RateLimiter(ATTEMPTS, ATTEMPT_WINDOW)
    app.state.feed = feed_of(services)
    app.state.second_factor_limiter = RateLimiter(accounts.ATTEMPTS, accounts.ATTEMPTS_WITHIN)
    app.state.agents_trust = AgentsTrust()
    app.state.enrol_failures = Tally(ATTEMPT_WINDOW)
    app.state.enrol_limiter = RateLimiter(ATTEMPTS, ATTEMPT_WINDOW)
    app.state.download_limiter = RateLimiter(DOWNLOADS, ATTEMPT_WINDOW)
    # one parser at the least is never busy with frames: an upload does not wait for somebody's leafing
    app.state.frame_slots = asyncio.Semaphore(FRAMES_AT_ONCE)
    app.state.looks = Lately(AUDIT_EVERY)
    app.state.tracings = Tracings(services.store)
    app.state.lane = ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="upload")
    app.state.spool = None if services.spool_folder is None else Spool(services.spool_folder)
    app.state.passages = {}
    app.state.upload_slots = asyncio.Semaphore(UPLOADS_AT_ONCE)


def create_default_app() -> FastAPI:
    """The application on the installation's settings, for ``uvicorn --factory``; it closes its services at the end."""
    from teleread.services import open_services
    from teleread.settings import load_settings
    from teleread.web import serving

    settings = load_settings()
    services = open_services(settings)
    authority = certificates.agents_authority(settings.home / "tls", services.clock())
    app = create_app(services, upload_limit_bytes=settings.upload_limit_mb << 20, agents_authority=authority)
    app.state.behind_proxy = settings.tls == "off"
    app.state.agents_trust = serving.agents_trust(settings, services.clock())
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        try:
            async with inner(application):
                yield
        finally:
            services.close()

    app.router.lifespan_context = lifespan
    return app


def _start_parsers(services: Services) -> None:
    try:
        assert services.pool
    except TelereadError as error:
        # without them recordings are still taken, and shown as "not analysed"
        log.error("no parsers: %s", error.code)
