"""The coordinator's page: how each pool stands, who reads, what rings, and what can be done about it.

No identities: a coordinator sees receipt number, sex and age, and calls the site by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.reading import alarms, coverage, desk, escalation, on_shift, oversight, rules
from teleread.reading.alarms import Alarm
from teleread.reading.desk import View
from teleread.reading.on_shift import ShiftState
from teleread.reading.oversight import Duty, PoolState
from teleread.reading_room import ALL, ReadingRoom
from teleread.web.limits import small_body
from teleread.web.render import page
from teleread.web.room import pool_names
from teleread.web.security import Seat, allow
from teleread.web.texts import ASSIGN_REASONS, BREAK_REASONS
from teleread.web.viewing import view
from teleread.web.worklist_view import lateness

router = APIRouter()

ROWS = 50
MOST_MOVED = 200
MAY_WAIT = frozenset({"late", "contact_stale", "no_reader"})


@dataclass(frozen=True, slots=True)
class Board:
    """All that the page reads from the catalogue."""

    pools: tuple[PoolState, ...]
    duty: dict[str, Duty]
    shifts: tuple[ShiftState, ...]
    reading: tuple[desk.Row, ...]
    waiting: tuple[desk.Row, ...]  # of the pool that is looked into
    alarms: tuple[Alarm, ...]
    receipts: dict[str, str]  # of the alarms' cases
    event: int


@router.get("/coordinator")
def show(request: Request, seat: Annotated[Seat, allow("coordinator", audit="list")], pool: str = "") -> Response:
    """The whole board; ``pool`` names one to look into."""
    return _answer(request, seat, "coordinator.html", pool[:32])


@router.get("/coordinator/board")
def board(request: Request, seat: Annotated[Seat, allow("coordinator", audit="list")], pool: str = "") -> Response:
    """The board alone, as a piece of the page."""
    return _answer(request, seat, "_coordinator_board.html", pool[:32])


async def repeated_fields(request: Request) -> list[tuple[str, str]]:
    """The fields of a form in which one may stand several times.

    Raises:
        InputRejected: ``request_too_large`` or ``request_invalid``.
    """
    body = await small_body(request)
    try:
        return parse_qsl(body.decode("utf-8"), max_num_fields=MOST_MOVED + 16)
    except ValueError as error:
        raise InputRejected("request_invalid", "The form cannot be understood.") from error


@router.post("/coordinator/assign")
def assign(
    seat: Annotated[Seat, allow("coordinator", audit="assign")],
    fields: Annotated[list[tuple[str, str]], Depends(repeated_fields)],
) -> Response:
    """Let another pool read cases as well: those that are ticked, or the first of a pool."""
    named = dict(fields)
    to, reason = named.get("to", ""), named.get("reason", "")
    services = seat.services
    if to not in {one.id for one in rules.pools(services.room, services.clock())} | {ALL}:
        raise InputRejected("no_such_pool", "There is no such pool now.")
    if reason not in ASSIGN_REASONS:
        raise InputRejected("reason_missing", "An act like this names a reason.")
    cases = [value for name, value in fields if name == "case"][:MOST_MOVED]
    with services.catalogue.write() as conn:
        if not cases:
            cases = oversight.first_of(conn, named.get("pool", ""), named.get("priority", ""), _number(named))
        moved = oversight.open_to(conn, cases, to, seat.name, reason, services.clock())
    told = "assigned" if len(moved) == len(cases) else "assigned_some"
    return RedirectResponse(f"/coordinator?told={told}", 303)


def _number(named: dict[str, str]) -> int:
    text = named.get("n", "")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST_MOVED):
        raise InputRejected("request_invalid", f"A number from 1 to {MOST_MOVED}.")
    return int(text)


def _answer(request: Request, seat: Seat, template: str, pool: str) -> Response:
    now, room = seat.services.clock(), seat.services.room
    viewed = view(seat, lambda conn: _read(conn, seat, room, pool), "queue", pool or "all")
    found = viewed.value
    used = {one.pool for one in found.pools}
    values: dict[str, Any] = {
        "board": found,
        "pool": pool,
        "may_wait": MAY_WAIT,
        "names": pool_names(room, seat.language),
        "targets": [one for one in (ALL, *reversed([each.id for each in rules.pools(room, now)])) if one != pool],
        "gaps": coverage.gaps(room, now, _readers(seat)),
        "break_reasons": BREAK_REASONS,
        "assign_reasons": ASSIGN_REASONS,
        "unrecorded": not viewed.recorded,
        "used": used,
        "lateness": lateness,
    }
    return page(request, seat, template, **values)


def _read(conn: Connection, seat: Seat, room: ReadingRoom, pool: str) -> Board:
    now = seat.services.clock()
    readers = sorted(coverage.accounts_that_read(conn))
    ids = list(dict.fromkeys([*(one.id for one in rules.pools(room, now)), *rules.used_pools(room, now), ALL]))
    states = [oversight.pool_state(conn, one, now) for one in [*ids, None]]
    shifts = on_shift.shift_states(conn, on_shift.spans_now(room, ids, now, readers), now)
    rung = _gravest(alarms.open_alarms(conn, limit=200))
    return Board(
        pools=tuple(one for one in states if one.pool is not None or _holds(one)),
        shifts=tuple(filter(on_shift.worth_showing, shifts)),
        duty={one: oversight.duty(room, one, now, readers) for one in ids},
        reading=desk.page(conn, View("read"), None, limit=ROWS).rows,
        waiting=desk.page(conn, View(pool=pool), None, limit=ROWS).rows if pool else (),
        alarms=tuple(rung),
        receipts=desk.receipts_of(conn, [one.subject for one in rung]),
        event=desk.newest_event(conn),
    )


def _gravest(rung: list[Alarm]) -> list[Alarm]:
    """Of the steps of one case's ladder the last: it says what to do now; what may wait stands below what may not."""
    ladder = list(escalation.LADDER)
    last: dict[str, Alarm] = {}
    for one in rung:
        known = last.get(one.subject)
        if one.kind in ladder and (known is None or ladder.index(one.kind) > ladder.index(known.kind)):
            last[one.subject] = one
    left = [one for one in rung if one.kind not in ladder or last[one.subject] is one]
    return sorted(left, key=lambda one: one.kind in MAY_WAIT)


def _holds(state: PoolState) -> bool:
    return any(one.count.n for one in (state.urgent, state.high, state.routine))


def _readers(seat: Seat) -> frozenset[str]:
    with seat.services.catalogue.read() as conn:
        return coverage.accounts_that_read(conn)
