"""Who may do what: every route declares its roles and its audit event, and the application refuses to start
with a route that does not.

A request is known by a session token, from the cookie (browser) or from ``Authorization: Bearer`` (agent). A
browser's unsafe request must prove that it comes from our own page: ``Sec-Fetch-Site`` or ``Origin`` (every browser
sends at least one of them), beside ``SameSite=Strict``. A bearer token is never sent by a browser on its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.routing import Mount

from teleread.errors import AccessDenied, Misconfigured, StorageError
from teleread.pipeline.services import Services
from teleread.storage import accounts, agents, audit
from teleread.web.i18n import LANGUAGE_COOKIE, negotiate

ROLES = ("uploader", "reader", "senior_reader", "coordinator", "engineer", "auditor", "administrator")
_ALSO = {"reader": frozenset({"senior_reader"})}
"""Roles that may do whatever another one may."""
SESSION_COOKIE = "teleread_session"
CERTIFICATE = "teleread.certificate_sha256"
"""Key in a request's scope: SHA-256 of the DER bytes of the certificate that its sender has proved to hold."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OF_AGENTS = ("/api/tus", "/api/receipts/", "/api/agents/")
"""What an agent may use: it sends, and asks what became of it. All else is a person's, acknowledgements above all."""
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class SecondFactorNeeded(AccessDenied):
    """The password was right, and the second factor is still owed."""

    def __init__(self) -> None:
        super().__init__("second_factor_needed", "Give the second factor first.")


class SignInNeeded(AccessDenied):
    """Nobody is signed in; a page answers with the way to the sign-in page."""

    def __init__(self) -> None:
        super().__init__("sign_in_needed", "Sign in first.")


@dataclass(frozen=True, slots=True)
class Seat:
    """The person (or agent) behind a request, as the route was granted it."""

    services: Services
    language: str
    account: accounts.Account | None
    audit_action: str | None

    @property
    def name(self) -> str:
        """The account's name, ``anonymous`` on public pages."""
        return self.account.name if self.account else "anonymous"

    @property
    def role(self) -> str | None:
        """The account's role, None on public pages."""
        return self.account.role if self.account else None

    @property
    def site_id(self) -> str:
        """The site that an uploader belongs to.

        Raises:
            AccessDenied: ``account_without_site``.
        """
        if self.account is None or self.account.site_id is None:
            raise AccessDenied("account_without_site", "This account belongs to no site.")
        return self.account.site_id

    def record(self, conn: Connection, object_type: str, object_id: str, detail: dict[str, Any] | None = None) -> None:
        """Write the route's declared audit event in the caller's transaction."""
        if self.audit_action is None:
            raise AssertionError("this route declares no audit event")
        audit.record(
            conn,
            at=self.services.clock(),
            actor=self.name,
            action=self.audit_action,
            object_type=object_type,
            object_id=object_id,
            detail=detail,
        )


class Guard:
    """One route's declaration: the roles that may use it (none named: everybody) and the audit event it writes.

    Args:
        half: also for a session whose second factor is still owed.
    """

    def __init__(self, roles: tuple[str, ...], audit_action: str | None, *, half: bool = False) -> None:
        if not set(roles) <= set(ROLES):
            raise ValueError("a guard names roles that exist")
        self.roles = tuple(role for role in ROLES if role in roles or any(role in _ALSO.get(one, ()) for one in roles))
        self.audit_action = audit_action
        self.half = half

    def __call__(self, request: Request) -> Seat:
        services: Services = request.app.state.services
        account, by_cookie = _account(request, services)
        if request.method not in SAFE_METHODS:
            check_origin(request, needed=by_cookie or not _is_api(request))
        if self.roles:
            if account is None:
                _say_why_not(request, services)
                raise SignInNeeded()
            if account.factor_owed and not self.half:
                raise SecondFactorNeeded()
            if account.role not in self.roles or not _may_come_here(account, request):
                raise AccessDenied("role_not_allowed", "This page is for other roles.")
        elif account is not None and account.factor_owed:
            account = None  # public pages show nothing of an account that is half signed in
        language = negotiate(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
        return Seat(services, language, account, self.audit_action)


def allow(*roles: str, audit: str | None, half: bool = False) -> Any:
    """Declare a route's roles and audit event; goes into the annotation of its ``seat`` parameter.

    Args:
        roles: of :data:`ROLES`; the audit event is None only where no identity and no act is concerned.
        half: also for a session whose second factor is still owed.
    """
    return Depends(Guard(roles, audit, half=half))


def public(*, audit: str | None) -> Any:
    """Declare a route that everybody may use, signed in or not."""
    return Depends(Guard((), audit))


def token_of(request: Request) -> tuple[str | None, bool]:
    """The session token and whether a browser sent it by itself (cookie)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip(), False
    return request.cookies.get(SESSION_COOKIE), True


def check_origin(request: Request, *, needed: bool) -> None:
    """Refuse an unsafe request that another site's page made, or that does not say where it comes from.

    Raises:
        AccessDenied: ``cross_site_request``.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in {"same-origin", "none"}
    elif origin is not None:
        # behind a TLS proxy the scheme differs; the host that the browser asked for does not
        own = urlsplit(origin).netloc == request.headers.get("host") != ""
    else:
        own = not needed
    if not own:
        raise AccessDenied("cross_site_request", "This request does not come from a page of ours.")


def guards(route: APIRoute) -> list[Guard]:
    """The guards that a route declares."""
    return [call for call in _calls(route.dependant) if isinstance(call, Guard)]


def require_declarations(app: FastAPI) -> None:
    """Deny by default: every route has exactly one guard, or the application does not start.

    Raises:
        Misconfigured: ``route_without_guard``.
    """
    for route in app.routes:
        if isinstance(route, APIRoute) and len(guards(route)) == 1:
            continue
        path = getattr(route, "path", "?")
        if isinstance(route, Mount) and path == "/static":
            continue
        raise Misconfigured("route_without_guard", f"The route {path} does not declare who may use it.")


def _calls(dependant: Dependant) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


def _account(request: Request, services: Services) -> tuple[accounts.Account | None, bool]:
    """Whose request this is, and whether a browser sent the proof by itself (cookie)."""
    token, by_cookie = token_of(request)
    certificate = request.scope.get(CERTIFICATE)
    now = services.clock()
    with services.catalogue.read() as conn:
        session = accounts.session_of(conn, token, now) if token else None
        if session is None and certificate is not None:
            return agents.by_certificate(conn, certificate, now), False
        if session is None and token and not by_cookie and is_on_this_machine(request):
            return agents.by_token(conn, token, now), False
    if session is None or token is None:
        return None, bool(token) and by_cookie
    if now - session.seen_at >= accounts.TOUCH_EVERY and _is_use(request):
        # a disk that takes no more writes ends nobody's session and stops nobody's page
        with suppress(StorageError), services.catalogue.write() as conn:
            accounts.touch_session(conn, token, now)
    return session.account, by_cookie


def _is_use(request: Request) -> bool:
    """Whether a person did this, rather than a page that asks by itself while nobody sits there."""
    return request.method not in SAFE_METHODS or request.headers.get("sec-fetch-mode", "navigate") == "navigate"


def _say_why_not(request: Request, services: Services) -> None:
    """Tell an agent that is known and no longer good which of both it is: it has proved who it is.

    Raises:
        AccessDenied: ``agent_shut_out``, ``agent_expired``.
    """
    token, by_cookie = token_of(request)
    proof = {"certificate_sha256": request.scope.get(CERTIFICATE)}
    if token and not by_cookie and is_on_this_machine(request):
        proof["token"] = token
    with services.catalogue.read() as conn:
        code = agents.why_not(conn, services.clock(), **proof)
    if code is not None:
        raise AccessDenied(code, "This PC may send no longer.")


def is_on_this_machine(request: Request) -> bool:
    """Whether a request was made on this machine and not handed on by a proxy that runs here.

    A proxy's own address is loopback too, so nothing that says it was handed on counts, nor anything at all where the
    settings say that a proxy stands in front.
    """
    if getattr(request.app.state, "behind_proxy", False) or any(name in request.headers for name in _FORWARDED):
        return False
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return request.client is not None and is_loopback(request.client.host) and is_loopback(host)


def _may_come_here(account: accounts.Account, request: Request) -> bool:
    return not agents.is_agent(account) or str(request.scope["path"]).startswith(OF_AGENTS)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
