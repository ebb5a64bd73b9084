"""Sign-in with a local account, sign-out, and the choice of language."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from teleread.errors import AccessDenied
from teleread.storage import accounts
from teleread.web.i18n import LANGUAGE_COOKIE, LANGUAGES
from teleread.web.limits import RateLimiter, small_form
from teleread.web.render import HOMES, page
from teleread.web.security import ROLES, SESSION_COOKIE, Seat, allow, public, token_of

router = APIRouter()

SESSION_LIFETIME = timedelta(hours=12)  # a shift
ATTEMPTS = 30  # of one address, for all names; one name has 5
ATTEMPT_WINDOW = timedelta(minutes=1)
_YEAR_S = 365 * 86_400

Fields = Annotated[dict[str, str], Depends(small_form)]


@router.get("/")
def front(seat: Annotated[Seat, public(audit=None)]) -> Response:
    """Everybody's own first page."""
    return RedirectResponse(HOMES.get(seat.role or "", "/sign-in"), 303)


@router.get("/sign-in")
def sign_in_page(request: Request, seat: Annotated[Seat, public(audit=None)], next: str = "") -> Response:
    """The form; who is signed in already goes on."""
    if seat.account is not None:
        return RedirectResponse(_target(next, seat.role), 303)
    return _form(request, seat, next)


@router.post("/sign-in")
def sign_in(request: Request, seat: Annotated[Seat, public(audit="sign_in")], fields: Fields) -> Response:
    """Check name and password and open a session."""
    name, wanted = fields.get("name", "").strip(), fields.get("next", "")
    try:
        account, token = _open(request, seat, name, fields.get("password", ""))
    except AccessDenied as error:
        status = 429 if error.code == "too_many_attempts" else 401
        response: Response = _form(request, seat, wanted, name=name[:64], failure=error.code, status=status)
        if status == 429:
            response.headers["retry-after"] = "60"
        return response
    response = RedirectResponse(_target(wanted, account.role), 303)
    response.set_cookie(SESSION_COOKIE, token, max_age=int(SESSION_LIFETIME.total_seconds()), **_flags(request))
    return response


@router.post("/api/sign-in")
def sign_in_agent(request: Request, seat: Annotated[Seat, public(audit="sign_in")], fields: Fields) -> JSONResponse:
    """A bearer token for a clinic's agent, which sends it as ``Authorization: Bearer``."""
    account, token = _open(request, seat, fields.get("name", "").strip(), fields.get("password", ""))
    body = {"token": token, "role": account.role, "expires_in_s": int(SESSION_LIFETIME.total_seconds())}
    return JSONResponse(body)


@router.post("/sign-out")
def sign_out(request: Request, seat: Annotated[Seat, allow(*ROLES, audit="sign_out")]) -> Response:
    """Close the session, here and in the catalogue."""
    token, _by_cookie = token_of(request)
    with seat.services.catalogue.write() as conn:
        if token:
            accounts.close_session(conn, token)
        seat.record(conn, "account", seat.name)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(SESSION_COOKIE, **_flags(request))
    return response


@router.post("/language")
def choose_language(request: Request, seat: Annotated[Seat, public(audit=None)], fields: Fields) -> Response:
    """Remember the language and go back to where one was."""
    response = RedirectResponse(inside(fields.get("back", "")) or "/", 303)
    if (language := fields.get("language", "")) in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_S, **_flags(request))
    return response


def _open(request: Request, seat: Seat, name: str, password: str) -> tuple[accounts.Account, str]:
    """A new session, or AccessDenied ``too_many_attempts`` / ``sign_in_wrong``."""
    services, now = seat.services, seat.services.clock()
    limiter: RateLimiter = request.app.state.sign_in_limiter
    if not limiter.admit(request.client.host if request.client else "", now):
        raise AccessDenied("too_many_attempts", "Too many attempts to sign in from one address; wait a minute.")
    # counts attempts per name, hashes outside of transactions and writes the declared audit event
    account = accounts.sign_in(services.catalogue, name.lower(), password, now)
    if account is None:
        raise AccessDenied("sign_in_wrong", "Name or password is wrong.")
    with services.catalogue.write() as conn:
        return account, accounts.open_session(conn, account, now, SESSION_LIFETIME)


def _form(
    request: Request, seat: Seat, wanted: str, *, name: str = "", failure: str = "", status: int = 200
) -> HTMLResponse:
    return page(request, seat, "sign_in.html", status=status, next=inside(wanted), name=name, failure=failure)


def _target(wanted: str, role: str | None) -> str:
    return inside(wanted) or HOMES.get(role or "", "/sign-in")


def inside(address: str) -> str:
    """The address when it is a path of ours, else nothing: no open redirect."""
    own = address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable()
    return address if own else ""


def _flags(request: Request) -> dict[str, Any]:
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": request.url.scheme == "https"}
