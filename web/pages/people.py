"""The administrator's page: who has an account, with which role. No patient, no case, no clinical fact."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.storage import accounts, people, second_factor
from teleread.web.limits import small_form
from teleread.web.render import page
from teleread.web.security import ROLES, Seat, allow

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]
_PASSWORD_BYTES = 9


@router.get("/people")
def show(request: Request, seat: Annotated[Seat, allow("administrator", audit="list_people")]) -> Response:
    """All accounts."""
    return _people(request, seat)


@router.post("/people")
def create(
    request: Request, seat: Annotated[Seat, allow("administrator", audit="create_account")], fields: Fields
) -> Response:
    """A new account; its first password is shown once."""
    name, role, site = (fields.get(key, "").strip() for key in ("name", "role", "site"))
    if site and site not in seat.services.alliance.sites:
        raise InputRejected("uploader_without_site", "There is no such site.")
    password, now = secrets.token_urlsafe(_PASSWORD_BYTES), seat.services.clock()
    hashed = accounts.hash_password(password)
    with seat.services.catalogue.write() as conn:
        accounts.add_account(conn, name, hashed, role, (site or None) if role == "uploader" else None, now, seat.name)
        if said := fields.get("display_name", "").strip():
            people.set_display_name(conn, name, said, seat.name, now)
    return _people(request, seat, shown=(name, password))


@router.post("/people/{account}/password")
def give_password(
    request: Request, seat: Annotated[Seat, allow("administrator", audit="set_password")], account: str
) -> Response:
    """Another password, shown once; the account's sessions end."""
    password, now = secrets.token_urlsafe(_PASSWORD_BYTES), seat.services.clock()
    hashed = accounts.hash_password(password)
    with seat.services.catalogue.write() as conn:
        accounts.set_hash(conn, account, hashed, now, actor=seat.name)
    return _people(request, seat, shown=(account, password))


@router.post("/people/{account}/role")
def give_role(
    seat: Annotated[Seat, allow("administrator", audit="set_role")], account: str, fields: Fields
) -> Response:
    """Another role."""
    site = fields.get("site", "")
    if site and site not in seat.services.alliance.sites:
        raise InputRejected("uploader_without_site", "There is no such site.")
    return _act(seat, lambda conn, now: people.set_role(conn, account, fields.get("role", ""), site, seat.name, now))


@router.post("/people/{account}/name")
def give_name(
    seat: Annotated[Seat, allow("administrator", audit="set_display_name")], account: str, fields: Fields
) -> Response:
    """What pages and reports call the person."""
    said = fields.get("display_name", "")
    return _act(seat, lambda conn, now: people.set_display_name(conn, account, said, seat.name, now))


@router.post("/people/{account}/disable")
def disable(seat: Annotated[Seat, allow("administrator", audit="disable_account")], account: str) -> Response:
    """Close an account."""
    return _act(seat, lambda conn, now: people.disable(conn, account, seat.name, now))


@router.post("/people/{account}/enable")
def enable(seat: Annotated[Seat, allow("administrator", audit="enable_account")], account: str) -> Response:
    """Open a closed or locked account."""
    return _act(seat, lambda conn, now: people.enable(conn, account, seat.name, now))


@router.post("/people/{account}/second-factor/reset")
def reset_factor(seat: Annotated[Seat, allow("administrator", audit="reset_second_factor")], account: str) -> Response:
    """Take a lost second factor away."""

    def act(conn: Connection, now: datetime) -> None:
        people.require(conn, account)
        second_factor.remove(conn, account, seat.name, now)

    return _act(seat, act)


def _act(seat: Seat, act: Callable[[Connection, datetime], None]) -> Response:
    with seat.services.catalogue.write() as conn:
        act(conn, seat.services.clock())
    return RedirectResponse("/people", 303)


def _people(request: Request, seat: Seat, shown: tuple[str, str] | None = None) -> Response:
    with seat.services.catalogue.write() as conn:
        found = people.people(conn)
        if request.method == "GET":
            seat.record(conn, "account", "all")
    sites = list(seat.services.alliance.sites)
    return page(request, seat, "people.html", people=found, roles=ROLES, sites=sites, shown=shown)
