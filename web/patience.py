"""HTTP that nobody can hold up: a connection that brings no whole request head is ended, and what is no HTTP at all is
told so with a code as everything else is.
"""

from __future__ import annotations

import json
import resource
from asyncio import TimerHandle, Transport
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 30.0
"""How long a request's head may take; a village's line brings one in a second."""
MOST_FILES = 65_536


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to waiting for a head."""

    _head_timer: TimerHandle | None = None
    _idle_since: float = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """The other side is there, over TLS its handshake is done."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._head_timer = self.loop.call_later(HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The next request may come."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or its head is too large."""
        said = {
            "code": "request_invalid",
            "what": "请求无法理解。 The request cannot be understood.",
            "lost": "",
            "todo": "",
        }
        body = json.dumps({"error": said}, ensure_ascii=False).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events: tuple[Any, ...] = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _look(self) -> None:
        left = self._idle_since + HEAD_S - self.loop.time()
        at_work = self.cycle is not None and not self.cycle.response_complete
        if not at_work and left <= 0:
            self.transport.close()
            return
        self._head_timer = self.loop.call_later(HEAD_S if at_work else left, self._look)


def raise_file_limit() -> int:
    """Let this process have as many connections as the system allows it; returns how many files that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
