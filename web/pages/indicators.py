"""The indicators: how long, how many, where and when; a page, CSV, and Prometheus' text."""

from __future__ import annotations

from datetime import date, timedelta, timezone
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from teleread.errors import InputRejected
from teleread.reading import indicator_tables as tables
from teleread.reading import indicators
from teleread.reading.indicators import Cell, Key
from teleread.web.errors import NotFound
from teleread.web.render import page
from teleread.web.room import pool_names
from teleread.web.security import Seat, allow, is_on_this_machine, public

router = APIRouter()

_ROLES = ("senior_reader", "coordinator", "engineer", "administrator")
_DAYS = 7
_MOST_DAYS = 400
TOLD_WITHIN_S = 900  # a critical value is to be acknowledged within a quarter of an hour


@router.get("/indicators")
def show(
    request: Request, seat: Annotated[Seat, allow(*_ROLES, audit=None)], first: str = "", last: str = ""
) -> Response:
    """The indicators of some days, a week unless said otherwise."""
    days, found = _cells(seat, first, last)
    with seat.services.catalogue.read() as conn:
        backlog = tables.waiting(conn)
    told = tables.summed(found, "critical_told", by="site_id")
    return page(
        request,
        seat,
        "indicators.html",
        first=days[0],
        last=days[1],
        timed=[(name, by, tables.lines(found, name, by=by)) for name in ("turnaround", "wait") for by in _GROUPS],
        criticals=tables.lines(found, "critical_told", by="site_id"),
        owned=tables.lines(found, "critical_owned", by="site_id"),
        told_within={site: tables.within(cell, TOLD_WITHIN_S) for (site, _), cell in told.items()},
        faults_by_site=tables.shares(found, "upload_fault", "upload", by="site_id"),
        faults_by_device=tables.shares(found, "upload_fault", "upload", by="label"),
        faults_by_operator=tables.shares(found, "operator_upload_fault", "operator_upload", by="label"),
        counted=[line for name in ("discrepancy", "flag", "claim_ended") for line in tables.lines(found, name, by="")],
        backlog=backlog,
        names=pool_names(seat.services.room, seat.language),
        sees_operators=seat.role in {"senior_reader", "coordinator"},
    )


_GROUPS = ("site_id", "pool", "shift")


@router.get("/indicators.csv")
def as_csv(seat: Annotated[Seat, allow(*_ROLES, audit=None)], first: str = "", last: str = "") -> Response:
    """The cells of some days; without the operators for those who do not lead them."""
    days, found = _cells(seat, first, last)
    if seat.role not in {"senior_reader", "coordinator"}:
        found = {key: cell for key, cell in found.items() if not key.name.startswith("operator_")}
    name = f'attachment; filename="indicators-{days[0]}-{days[1]}.csv"'
    text = "".join(tables.to_csv(found))
    return Response("\ufeff" + text, media_type="text/csv", headers={"content-disposition": name})


@router.get("/metrics")
def metrics(request: Request, seat: Annotated[Seat, public(audit=None)]) -> Response:
    """For Prometheus on this machine; for others there is nothing here. No person's name, no identity."""
    if not is_on_this_machine(request):
        raise NotFound()
    with seat.services.catalogue.read() as conn:
        found = indicators.cells(conn)
        backlog = tables.waiting(conn)
    return PlainTextResponse("".join(tables.to_prometheus(found, backlog)), media_type="text/plain; version=0.0.4")


def _cells(seat: Seat, first: str, last: str) -> tuple[tuple[str, str], dict[Key, Cell]]:
    services = seat.services
    today = services.clock().astimezone(timezone(timedelta(minutes=services.alliance.utc_offset_minutes))).date()
    try:
        until = date.fromisoformat(last) if last else today
        since = date.fromisoformat(first) if first else until - timedelta(days=_DAYS - 1)
    except (ValueError, OverflowError) as error:
        raise InputRejected("request_invalid", "This is no day.") from error
    if not 0 <= (until - since).days <= _MOST_DAYS:
        raise InputRejected("request_invalid", "These days cannot be shown together.")
    days = since.isoformat(), until.isoformat()
    with services.catalogue.read() as conn:
        return days, indicators.cells(conn, *days)
