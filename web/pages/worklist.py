"""The worklist: what waits for a reader, most urgent first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from teleread.reading import blind, clinic, desk, notices, second
from teleread.reading.rules import rules_at
from teleread.reading.worklist import WorkItem
from teleread.web import identity, next_case, worklist_view
from teleread.web.render import page
from teleread.web.room import pool_names, reach_of
from teleread.web.security import Seat, allow
from teleread.web.viewing import view
from teleread.web.worklist_view import Asked, Listed, parse_cursor, write_cursor

router = APIRouter()

CRITICAL_SHOWN_FOR = timedelta(hours=24)


@router.get("/worklist")
def show(
    request: Request, seat: Annotated[Seat, allow("reader", audit="list")], after: str = "", before: str = ""
) -> Response:
    """One page of the worklist; the filters and the place stand in the address."""
    return _answer(request, seat, "worklist.html", after, before)


@router.get("/worklist/rows")
def rows(
    request: Request, seat: Annotated[Seat, allow("reader", audit="list")], after: str = "", before: str = ""
) -> Response:
    """The list alone, as a piece of the page: what the page takes in when its reader asks for what is new."""
    return _answer(request, seat, "_worklist_list.html", after, before)


def _answer(request: Request, seat: Seat, template: str, after: str, before: str) -> Response:
    wanted = worklist_view.asked(request.query_params)
    behind, ahead = (parse_cursor(one) if one else None for one in (after, before))
    reach, now = reach_of(seat), seat.services.clock()

    def read(conn: Connection) -> tuple[Listed, _Told]:
        return worklist_view.read(conn, wanted, reach, behind, ahead), _told(conn, seat, now)

    viewed = view(
        seat,
        read,
        "worklist",
        "all",
        lambda found: {**wanted.filters(), "rows": len(found[0].page.rows)},
    )
    listed, told = viewed.value
    people = identity.join(seat, [of_row(row) for row in listed.page.rows], "worklist")
    return page(
        request,
        seat,
        template,
        unrecorded=not viewed.recorded,
        n_notices=told.n_notices,
        critical=told.critical,
        hidden=told.hidden,
        n_ungraded=told.n_ungraded,
        n_feedback=told.n_feedback,
        people=people,
        paused=next_case.is_paused(request),
        **_values(seat, wanted, listed, at_first=not (after or before)),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What stands over the list.

    Args:
        hidden: cases whose first reader must not be named: this reader reads them a second time.
    """

    n_notices: int
    critical: list[clinic.Critical]
    hidden: frozenset[str]
    n_ungraded: int
    n_feedback: int


def _told(conn: Connection, seat: Seat, now: datetime) -> _Told:
    hidden = frozenset(blind.hidden_cases(conn, seat.name))
    critical = clinic.critical_since(conn, now - CRITICAL_SHOWN_FOR)
    return _Told(
        notices.count_unseen(conn, seat.name),
        [one for one in critical if one.case_id not in hidden],
        hidden,
        len(second.ungraded(conn, seat.name)),
        len(second.feedback(conn, seat.name)),
    )


def _values(seat: Seat, wanted: Asked, listed: Listed, *, at_first: bool) -> dict[str, Any]:
    services, found = seat.services, listed.page
    room = rules_at(services)
    rules = services.alliance.ecg_rules(services.clock().date())
    flags = {row.id: [flag for flag in row.flags if rules.takes(flag[1])] for row in found.rows}
    return {
        "rows": found.rows,
        "listed": listed,
        "asked": wanted,
        "flags_of": flags,
        "names": pool_names(room, seat.language),
        "pools": list(reach_of(seat).pools),
        "sites": sorted(services.alliance.sites),
        "modalities": worklist_view.MODALITIES,
        "lateness": worklist_view.lateness,
        "at_first": at_first,
        "further": f"after={write_cursor(found.rows[-1].cursor)}" if found.after and found.rows else "",
        "back_page": f"before={write_cursor(found.rows[0].cursor)}" if found.before and found.rows else "",
    }


def of_row(row: desk.Row) -> identity.Wanted:
    """What a row of the list knows of its patient."""
    return identity.Wanted(row.case_id, row.patient_pseudonym, row.patient_sex, row.patient_age_years)


def wanted(item: WorkItem) -> identity.Wanted:
    """What a work item knows of its patient."""
    return identity.Wanted(item.case_id, item.patient_pseudonym, item.patient_sex, item.patient_age_years)
