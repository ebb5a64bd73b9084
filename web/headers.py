"""Answer headers that every response carries, errors and static files included; and the limit on small requests."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

SECURITY_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not no-referrer: with it a browser sends "Origin: null" from our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=()",
}

AHEAD_WORKER = "/static/js/ahead-worker.js"
"""The one worker that may answer for pages of ours, and only for those of cases."""


def harden(headers: MutableHeaders, path: str) -> None:
    """Add the security headers, and forbid any cache to keep what is not a static file."""
    for name, value in SECURITY_HEADERS.items():
        headers[name] = value
    if path.startswith("/api/tus"):
        headers["tus-resumable"] = "1.0.0"  # every answer of the protocol says so, refusals as well
    if path == AHEAD_WORKER:
        headers["service-worker-allowed"] = "/cases/"
    headers["cache-control"] = "no-cache" if path.startswith("/static/") else "no-store"


class HardenedHeaders:
    """ASGI middleware that adds :data:`SECURITY_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: Any = scope["path"]

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                harden(MutableHeaders(scope=message), path)
            await send(message)

        await self._app(scope, receive, hardened)
