"""The engineer's page: which site delivers, what failed, what waits. No identities."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.pipeline.batches import retry_quarantined
from teleread.pipeline.safekeeping import safekeeping
from teleread.pipeline.scrub import scrub_state
from teleread.reading import contact_tests
from teleread.reading.conflicts import count_conflicts, latest_conflicts
from teleread.storage import agents
from teleread.web import queries
from teleread.web.render import page
from teleread.web.security import Seat, allow

router = APIRouter()


@router.get("/engineer")
def show(request: Request, seat: Annotated[Seat, allow("engineer", audit=None)]) -> Response:
    """Sites, open messages, safekeeping, quarantine and counts."""
    services = seat.services
    connections = {
        site_id: services.alliance.connection(site_id, services.clock().date()) for site_id in services.alliance.sites
    }
    with services.catalogue.read() as conn:
        late_agents = agents.needing_care(conn, services.clock())
        states = queries.site_states(conn, list(services.alliance.sites))
        messages = queries.open_messages(conn)
        failed = queries.quarantined(conn)
        totals = queries.totals(conn)
        scrubbed = scrub_state(conn)
        identity_counts = queries.identity_counts(conn)
        amber = contact_tests.amber_sites(contact_tests.overview(conn, services.room, services.clock()))
        contradictions, n_conflicts = latest_conflicts(conn), count_conflicts(conn)
    return page(
        request,
        seat,
        "engineer.html",
        connections=connections,
        agents=late_agents,
        amber=amber,
        states=states,
        messages=messages,
        quarantined=failed,
        totals=totals,
        scrubbed=scrubbed,
        kept=safekeeping(services),
        identity_counts=identity_counts,
        conflicts=contradictions,
        n_conflicts=n_conflicts,
    )


@router.post("/engineer/quarantine/{arrival_id}/retry")
def retry(seat: Annotated[Seat, allow("engineer", audit="retry")], arrival_id: str) -> Response:
    """Prepare a quarantined arrival again; its audit event is written with the act."""
    retry_quarantined(seat.services, arrival_id, seat.name)
    return RedirectResponse("/engineer#quarantine", 303)
