"""The clinic's page without a line: what a browser keeps of it, and the service worker that opens it.

Kept are static files and the page's shell: no name of an account, nothing of a patient, no list of what was sent. What
a clinic has not sent yet lies in the browser's own store, as it does while the page is open. The worker has the name of
its files' content in it, so that a new version of any of them is a new worker, which takes the place of the old one.
Service workers exist in secure contexts only: elsewhere all is as it is without one.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from teleread.reading.symptoms import Form
from teleread.web.render import STATIC_FOLDER, Renderer
from teleread.web.security import Seat, allow, public

router = APIRouter()

SCOPE = "/upload"
SCRIPTS = (
    "upload",
    "clinic-card",
    "clinic-queue",
    "clinic-owing",
    "clinic-tus",
    "clinic-kept",
    "clinic-files",
    "clinic-sha256",
    "clinic-offline",
    "receipt",
    "clinic-form",
    "clinic-line",
)
"""The modules of the page, in the order in which they are asked for."""
FILES = (
    *(f"/static/css/{name}.css" for name in ("base", "controls", "worklist", "clinic")),
    *(f"/static/js/{name}.js" for name in ("clock", *SCRIPTS)),
    "/static/img/mark.svg",
)
"""All that the page needs, and all that is kept beside its shell."""
_WORKER = "js/clinic-worker.js"


@router.get("/clinic-worker.js")
def worker(seat: Annotated[Seat, public(audit=None)]) -> Response:
    """The service worker, for this scope and no wider one."""
    return Response(_worker(), media_type="text/javascript", headers={"service-worker-allowed": SCOPE})


@router.get("/upload/shell")
def shell(request: Request, seat: Annotated[Seat, allow("uploader", audit=None)]) -> Response:
    """The clinic's page as it may be kept: without the name of whoever asks for it, and without what was sent."""
    html = _shell(request, seat)
    return HTMLResponse(html, headers=_headers(html))


def marks(request: Request, seat: Seat) -> dict[str, str]:
    """Headers of the page by which its worker sees whether what it keeps is still what it would be given."""
    return _headers(_shell(request, seat))


@lru_cache(maxsize=1)
def version() -> str:
    """The name of the content of all that is kept, and of the worker."""
    digest = hashlib.sha256()
    for path in (*FILES, f"/static/{_WORKER}"):
        data = (STATIC_FOLDER / path.removeprefix("/static/")).read_bytes()
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def _worker() -> str:
    known = f"const VERSION = {json.dumps(version())};\nconst FILES = {json.dumps(FILES)};\n"
    return known + (STATIC_FOLDER / _WORKER).read_text("utf-8")


def _shell(request: Request, seat: Seat) -> str:
    renderer: Renderer = request.app.state.renderer
    # its links lead where those of the page lead
    page = Request({**request.scope, "path": SCOPE, "raw_path": SCOPE.encode(), "query_string": b""})
    return renderer.html(
        page, seat.language, "upload.html", site_id=seat.site_id, scripts=SCRIPTS, shell=True, sent=(), n_notices=0,
        answers=Form(),
    )  # fmt: skip


def _headers(html: str) -> dict[str, str]:
    return {
        "teleread-shell": hashlib.sha256(html.encode()).hexdigest()[:16],
        "teleread-static": version(),
    }
