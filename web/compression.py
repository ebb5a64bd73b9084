"""Compressed answers where a slow line waits for them: static files and the clinic's pages.

Not everything: samples and images are large, and compressing them costs more time than it saves; nothing that is
compressed here holds a secret beside text that a stranger can choose.
"""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS = ("/static/", "/upload", "/receipts/")
_LEAST_BYTES = 800
_LEVEL = 6


class Compressed:
    """ASGI middleware that compresses the answers of some paths for whoever takes gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["type"] == "http" and scope["path"].startswith(_PATHS)
        await (self._compressing if wanted else self._app)(scope, receive, send)
