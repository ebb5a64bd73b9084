"""Why a case is where it is, for those who look after the queue. No identities."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from teleread.reading import blind
from teleread.reading.eligibility import READING_ROLES
from teleread.reading.explain import Explanation, explain
from teleread.reading.rules import rules_at
from teleread.web.errors import NotFound
from teleread.web.explain_words import Words
from teleread.web.render import Renderer, page
from teleread.web.security import Seat, allow
from teleread.web.viewing import view

router = APIRouter()


@router.get("/cases/{case_id}/explain")
def show(
    request: Request,
    seat: Annotated[Seat, allow("coordinator", "senior_reader", "engineer", audit="explain")],
    case_id: str,
) -> Response:
    """Facts, rules, people and history of one case, by its id or a receipt."""
    room, now = rules_at(seat.services), seat.services.clock()

    def read(conn: Connection) -> Explanation:
        found = explain(conn, room, case_id, now)
        if found is None:
            raise NotFound()
        if seat.role not in READING_ROLES:
            return found
        blind.check(conn, found.case_id, seat.name)
        return _without_first_reader(conn, found, seat.name)

    viewed = view(seat, read, "case", case_id[:64], of_patient=False)
    renderer: Renderer = request.app.state.renderer
    words = Words(renderer.translate(seat.language), seat.language, room, seat.services.alliance.sites, now)
    return page(request, seat, "explain.html", found=viewed.value, words=words, unrecorded=not viewed.recorded)


def _without_first_reader(conn: Connection, found: Explanation, who: str) -> Explanation:
    """For whoever reads the case a second time: without the one that is kept from it, who read it first."""
    if blind.hidden_by(conn, found.case_id, who) is None:
        return found
    history = tuple(one if one.who in {who, "teleread"} else replace(one, who="–") for one in found.history)
    readers = tuple(one for one in found.readers if "read_before" not in one.why)
    return replace(found, readers=readers, history=history)
