"""One's own account: password, second factor, other sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import AccessDenied, InputRejected
from teleread.storage import accounts, second_factor
from teleread.web.limits import small_form
from teleread.web.render import HOMES, page
from teleread.web.security import ROLES, Seat, allow, token_of

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.get("/account")
def show(request: Request, seat: Annotated[Seat, allow(*ROLES, audit=None)], done: str = "") -> Response:
    """The account's page."""
    with seat.services.catalogue.read() as conn:
        factor = second_factor.state(conn, seat.name)
    return page(request, seat, "account.html", factor=factor, done=done[:16])


@router.post("/account/password")
def change_password(
    request: Request, seat: Annotated[Seat, allow(*ROLES, audit="set_password")], fields: Fields
) -> Response:
    """Another password for oneself; all other sessions end."""
    services, now = seat.services, seat.services.clock()
    if accounts.sign_in(services.catalogue, seat.name, fields.get("password", ""), now) is None:
        raise InputRejected("password_wrong", "The present password is wrong.")
    if fields.get("new", "") != fields.get("again", ""):
        raise InputRejected("passwords_differ", "The new password was typed in two ways.")
    token, _by_cookie = token_of(request)
    hashed = accounts.hash_password(fields.get("new", ""))  # outside of the transaction: it takes its time
    with services.catalogue.write() as conn:
        accounts.set_hash(conn, seat.name, hashed, now, actor=seat.name, keep=token)
    return RedirectResponse("/account?done=password", 303)


@router.post("/account/sessions/end")
def end_others(request: Request, seat: Annotated[Seat, allow(*ROLES, audit="end_sessions")]) -> Response:
    """End one's sessions in other browsers."""
    token, _by_cookie = token_of(request)
    with seat.services.catalogue.write() as conn:
        n = accounts.close_other_sessions(conn, seat.name, token)
        seat.record(conn, "account", seat.name, {"sessions": n})
    return RedirectResponse("/account?done=sessions", 303)


@router.post("/account/keys")
def letter_keys(seat: Annotated[Seat, allow(*ROLES, audit="set_letter_keys")], fields: Fields) -> Response:
    """Switch the keys of one letter off or on, in every browser of this account."""
    on = fields.get("letters") != "off"
    with seat.services.catalogue.write() as conn:
        accounts.set_letter_keys(conn, seat.name, on=on)
        seat.record(conn, "account", seat.name, {"on": on})
    return RedirectResponse(f"/account?done={'keys_on' if on else 'keys_off'}", 303)


@router.get("/second-factor")
def factor(request: Request, seat: Annotated[Seat, allow(*ROLES, audit=None, half=True)]) -> Response:
    """Give the code, or make a second factor."""
    return _factor(request, seat)


@router.post("/second-factor/begin")
def begin(seat: Annotated[Seat, allow(*ROLES, audit="begin_second_factor", half=True)]) -> Response:
    """A new secret, which counts once a code of it was given."""
    with seat.services.catalogue.write() as conn:
        second_factor.begin(conn, seat.name, _key(seat))
        seat.record(conn, "account", seat.name)
    return RedirectResponse("/second-factor", 303)


@router.post("/second-factor")
def give(
    request: Request, seat: Annotated[Seat, allow(*ROLES, audit="second_factor", half=True)], fields: Fields
) -> Response:
    """Take a code; five wrong ones in a minute have to wait."""
    services, now = seat.services, seat.services.clock()
    token, _by_cookie = token_of(request)
    if not request.app.state.second_factor_limiter.admit(seat.name, now):
        raise AccessDenied("too_many_attempts", "Too many wrong codes; wait a minute.")
    with services.catalogue.write() as conn:
        right = second_factor.give(conn, seat.name, token or "", fields.get("code", ""), _key(seat), now)
    if not right:
        return _factor(request, seat, failure="second_factor_wrong", status=401)
    return RedirectResponse(HOMES.get(seat.role or "", "/account"), 303)


def _factor(request: Request, seat: Seat, *, failure: str = "", status: int = 200) -> Response:
    services = seat.services
    with services.catalogue.read() as conn:
        state = second_factor.state(conn, seat.name)
        new = second_factor.enrolment(conn, seat.name, services.alliance.name_en, _key(seat))
    return page(request, seat, "second_factor.html", status=status, state=state, new=new, failure=failure)


def _key(seat: Seat) -> bytes:
    return seat.services.ring.derive(second_factor.PURPOSE)
