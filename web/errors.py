"""Every failed request ends in a coded answer in plain words: a page for people, JSON for programs."""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from teleread.errors import AccessDenied, Conflict, InputRejected, Misconfigured, PeerError, StorageError, TelereadError
from teleread.web import texts
from teleread.web.headers import harden
from teleread.web.i18n import LANGUAGE_COOKIE, negotiate
from teleread.web.render import Renderer
from teleread.web.security import SAFE_METHODS, Seat, SecondFactorNeeded, SignInNeeded

log = logging.getLogger(__name__)

_STATUS_OF_CODE: dict[str, int] = {
    "upload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "request_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "upload_stalled": HTTPStatus.REQUEST_TIMEOUT,
    "too_many_attempts": HTTPStatus.TOO_MANY_REQUESTS,
    "sign_in_needed": HTTPStatus.UNAUTHORIZED,
    "sign_in_wrong": HTTPStatus.UNAUTHORIZED,
    "second_factor_needed": HTTPStatus.UNAUTHORIZED,
    "not_found": HTTPStatus.NOT_FOUND,
    "no_such_arrival": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "request_invalid": HTTPStatus.BAD_REQUEST,
    "upload_invalid": HTTPStatus.BAD_REQUEST,
    "upload_checksum_unknown": HTTPStatus.BAD_REQUEST,
    "upload_too_long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "upload_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "upload_locked": HTTPStatus.LOCKED,
    "upload_checksum": 460,  # of the protocol's own
    "tus_version": HTTPStatus.PRECONDITION_FAILED,
    "too_many_downloads": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_uploads": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_streams": HTTPStatus.TOO_MANY_REQUESTS,
}
_STATUS_OF_KIND: dict[type[TelereadError], HTTPStatus] = {
    InputRejected: HTTPStatus.UNPROCESSABLE_ENTITY,
    PeerError: HTTPStatus.BAD_GATEWAY,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    Conflict: HTTPStatus.CONFLICT,
    AccessDenied: HTTPStatus.FORBIDDEN,
    Misconfigured: HTTPStatus.INTERNAL_SERVER_ERROR,
    TelereadError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class NotFound(AccessDenied):
    """It does not exist, or the caller may not know that it does."""

    def __init__(self) -> None:
        super().__init__("not_found", "There is nothing here.")


def install(app: FastAPI) -> None:
    """Answer every error of the tree, and what is outside of it, in one form."""
    app.add_exception_handler(TelereadError, _coded)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def answer(
    request: Request, error: TelereadError, template: str = "error.html", seat: Seat | None = None, **values: object
) -> Response:
    """The response to an error, which is logged when it is ours: JSON under ``/api``, else a page.

    Args:
        template: of the page, rendered for ``seat`` with ``values`` and the error's words.
    """
    response = _response(request, error, template, seat, **values)
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s: %s", request.method, _route(request), error.code)
    return response


def _route(request: Request) -> str:
    """The route's template: an address itself may name a case."""
    return str(getattr(request.scope.get("route"), "path", "?"))


def _response(
    request: Request, error: TelereadError, template: str = "error.html", seat: Seat | None = None, **values: object
) -> Response:
    status = _STATUS_OF_CODE.get(error.code) or next(
        status for kind, status in _STATUS_OF_KIND.items() if isinstance(error, kind)
    )
    api = request.url.path.startswith("/api/")
    if isinstance(error, SignInNeeded) and not api and request.method in SAFE_METHODS:
        return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", HTTPStatus.SEE_OTHER)
    if isinstance(error, SecondFactorNeeded) and not api and request.method in SAFE_METHODS:
        return RedirectResponse("/second-factor", HTTPStatus.SEE_OTHER)
    language = negotiate(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
    renderer: Renderer = request.app.state.renderer
    words = texts.refusal(error, renderer.translate(language))
    telephone = request.app.state.services.alliance.telephone
    response: Response
    if api:
        body = {"code": words.code, "what": words.what, "lost": words.lost, "todo": words.todo, "telephone": telephone}
        response = JSONResponse({"error": body}, status)
    else:
        response = HTMLResponse(renderer.html(request, language, template, seat, words=words, **values), status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["retry-after"] = "60"
    return response


def _coded(request: Request, error: Exception) -> Response:
    assert isinstance(error, TelereadError)
    return answer(request, error)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return answer(request, NotFound())
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return answer(request, InputRejected("method_not_allowed", "This address does not take this method."))
    return answer(request, InputRejected("request_invalid", "The request cannot be understood."))


def _invalid(request: Request, error: Exception) -> Response:
    return answer(request, InputRejected("request_invalid", "The request cannot be understood."))


def _unexpected(request: Request, error: Exception) -> Response:
    # the traceback is logged by the server; here only the kind, since a message may hold data
    log.error("%s %s: unexpected %s", request.method, _route(request), type(error).__name__)
    response = _response(request, TelereadError("internal_error", "Something went wrong."))
    harden(response.headers, request.url.path)
    return response
