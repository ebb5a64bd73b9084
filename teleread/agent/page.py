"""The agent's own page on this PC: what is saved, what has arrived, how good it is, and whom to telephone.

It listens on loopback alone and works without a line. A page of somebody else's cannot use it: the host must be this
PC by name or number, and what changes anything must carry a header that no foreign page can send.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from teleread.agent.home import Identity
from teleread.agent.reports import ENDINGS, Report, Reports, is_receipt, newest, shown
from teleread.agent.sender import Sender
from teleread.agent.spool import Item, Spool
from teleread.agent.standing import NOT_OURS, Standing

log = logging.getLogger(__name__)

PORT = 8430
LARGEST_BYTES = 256 << 20
URGENT_WAITS_S = 60.0
"""An urgent recording that has not arrived after so long is a case for the telephone."""
_HEAD_BYTES = 64 << 10
_MAX_FILES = 16
_SHOWN = 50
_REPORTS_SHOWN = 20
_KINDS = {"pdf": "application/pdf", "json": "application/json"}
_CSP = (
    "default-src 'self'; img-src data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/words.json": ("words.json", "application/json; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class Desk:
    """All that the page shows and does."""

    spool: Spool
    sender: Sender | None
    identity: Identity | None
    watched: str
    skew_s: Callable[[], float | None] = lambda: None
    standing: Standing | None = None
    trouble: Callable[[], str] = lambda: ""
    judge_failure: Callable[[], str] = lambda: ""
    now: Callable[[], float] = time.time
    reports: Reports | None = None

    def state(self) -> dict[str, Any]:
        """What the page draws."""
        items = self.spool.items()
        queued = [one for one in items if one.state == "queued"]
        failure, since = self._failure()
        late = [one for one in queued if one.urgent and self.now() - one.seen_at > URGENT_WAITS_S]
        late += [one for one in items if one.raising_since and self.now() - one.raising_since > URGENT_WAITS_S]
        newest_items = sorted(items, key=lambda one: one.seen_at, reverse=True)[:_SHOWN]
        return {
            "enrolled": self.identity is not None,
            "url": self.identity.url if self.identity else "",
            "page_url": self.identity.page_url if self.identity else "",
            "telephone": self.identity.telephone if self.identity else "",
            "watched": self.watched,
            "line": self._line(failure),
            "failure": failure,
            "failing_since": since,
            "trouble": self.trouble(),
            "not_judged": self.judge_failure(),
            "ends_at": self.standing.ends_at if self.standing else None,
            "skew_s": self.skew_s(),
            "waiting": len(queued),
            "urgent": sum(one.urgent for one in queued),
            "refused": sum(one.state == "refused" for one in newest_items),
            "telephone_now": bool(late),
            "items": [self._row(one) for one in newest_items],
            "reports_in": "" if self.reports is None else str(self.reports.folder),
            "reports": [self._report(row) for row in newest(self._reports(), _REPORTS_SHOWN)],
        }

    def _reports(self) -> list[Report]:
        return [] if self.reports is None else self.reports.all()

    def _report(self, row: dict[str, Any]) -> dict[str, Any]:
        """A report with the addresses on this page in the place of those on the disk."""
        addresses = {ending: f"/reports/{row['receipt']}.{ending}" for ending in row["files"]}
        return {**row, "files": addresses, "open_elsewhere": len(row["open_elsewhere"])}

    def _failure(self) -> tuple[str, float | None]:
        """Why nothing goes, and since when; of the sending, else of the question that is asked once a minute."""
        for one in (None if self.sender is None else self.sender.progress, self.standing):
            if one is not None and one.failure:
                return one.failure, one.failing_since
        return "", None

    def _line(self, failure: str) -> str:
        """``ok``, ``unknown`` (not heard of yet), ``down``, or ``refused``: it is there and this PC may not send."""
        if failure:
            return "refused" if failure in NOT_OURS else "down"
        heard = [one.heard_at for one in (self.sender and self.sender.progress, self.standing) if one]
        return "ok" if any(heard) else "unknown"

    def _row(self, item: Item) -> dict[str, Any]:
        progress = None if self.sender is None else self.sender.progress
        on_its_way = progress is not None and progress.item == item.id and not progress.failure
        return {
            "id": item.id,
            "name": item.files[0].name,
            "seen_at": item.seen_at,
            "urgent": item.urgent,
            "state": "sending" if item.state == "queued" and on_its_way else item.state,
            "percent": int(100 * progress.sent / item.size) if progress and on_its_way and item.size else 0,
            "receipts": list(item.receipts),
            "reports": [self._report(shown(one)) for one in map(self._find, item.receipts) if one is not None],
            "verdict": dict(item.verdict),
            "failure": item.failure,
            "raising": item.raising_since > 0,
            "raised_at": item.raised_at,
        }

    def _find(self, receipt: str) -> Report | None:
        return None if self.reports is None else self.reports.find(receipt)

    def take(self, files: Mapping[str, bytes], urgent: bool) -> Item:
        """Keep what was dropped on the page; durable when this returns."""
        return self.spool.add(files, urgent=urgent, seen_at=self.now())

    def make_urgent(self, identifier: str) -> None:
        """What waits or was sent is urgent after all."""
        self.spool.make_urgent(identifier, self.now())


class _Handler(BaseHTTPRequestHandler):
    server_version = "teleread-agent"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60
    desk: Desk

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        if self.path in _ASSETS:
            name, kind = _ASSETS[self.path]
            self._answer(HTTPStatus.OK, resources.files("teleread.agent").joinpath(name).read_bytes(), kind)
        elif self.path == "/state":
            self._json(HTTPStatus.OK, self.desk.state())
        elif self.path.startswith("/reports/"):
            self._give(self.path.removeprefix("/reports/"))
        else:
            self._json(HTTPStatus.NOT_FOUND, {"code": "not_found"})

    def do_POST(self) -> None:
        if not self._is_ours() or not self._is_from_our_page():
            return
        if self.path == "/take":
            self._take()
        elif self.path.startswith("/urgent/"):
            self._make_urgent(self.path.removeprefix("/urgent/"))
        else:
            self._json(HTTPStatus.NOT_FOUND, {"code": "not_found"})

    def _give(self, name: str) -> None:
        """The file of a report that holds; one that does not is not here any more."""
        receipt, _, ending = name.rpartition(".")
        reports = self.desk.reports
        data = None
        if reports is not None and ending in ENDINGS and is_receipt(receipt):
            try:
                data = reports.read(receipt, ending)
            except OSError as error:
                log.error("a report cannot be read: %s", type(error).__name__)
        if data is None:
            self._json(HTTPStatus.NOT_FOUND, {"code": "not_found"})
            return
        self._answer(HTTPStatus.OK, data, _KINDS[ending], name=f"{receipt}.{ending}")

    def _take(self) -> None:
        """One line of JSON that says names, sizes and urgency, then the files one behind the other."""
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > LARGEST_BYTES + _HEAD_BYTES:
            self.close_connection = True
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"code": "upload_too_large"})
            return
        body = self.rfile.read(int(length))
        try:
            files, urgent = _unpacked(body)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._json(HTTPStatus.BAD_REQUEST, {"code": "request_invalid"})
            return
        try:
            item = self.desk.take(files, urgent)
        except OSError as error:
            log.error("a recording could not be saved: %s", type(error).__name__)
            self._json(HTTPStatus.INSUFFICIENT_STORAGE, {"code": "disk_full"})
            return
        self._json(HTTPStatus.CREATED, {"id": item.id})

    def _make_urgent(self, identifier: str) -> None:
        try:
            self.desk.make_urgent(identifier)
        except OSError as error:
            log.error("that a recording is urgent could not be saved: %s", type(error).__name__)
            self._json(HTTPStatus.INSUFFICIENT_STORAGE, {"code": "disk_full"})
        else:
            self._json(HTTPStatus.OK, {})

    def _is_ours(self) -> bool:
        host = self.headers.get("host", "").rsplit(":", 1)[0]
        if host in {"localhost", "127.0.0.1"}:
            return True
        # another name that leads here is another site's trick
        self._json(HTTPStatus.MISDIRECTED_REQUEST, {"code": "not_found"})
        return False

    def _is_from_our_page(self) -> bool:
        if self.headers.get("x-teleread") == "1" and self.headers.get("sec-fetch-site", "same-origin") == "same-origin":
            return True
        self.close_connection = True
        self._json(HTTPStatus.FORBIDDEN, {"code": "cross_site_request"})
        return False

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str, name: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        # a browser's own viewer of PDFs does not work under the page's policy
        self.send_header("Content-Security-Policy", _CSP if not name else "frame-ancestors 'none'")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if name:
            how = "inline" if kind == _KINDS["pdf"] else "attachment"
            self.send_header("Content-Disposition", f'{how}; filename="{name}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: addresses and names are nobody's business."""


def _unpacked(body: bytes) -> tuple[dict[str, bytes], bool]:
    head, _, rest = body.partition(b"\n")
    said = json.loads(head)
    files, at = {}, 0
    for one in said["files"][:_MAX_FILES]:
        name, size = str(one["name"])[-120:] or "file", int(one["size"])
        if size <= 0 or at + size > len(rest):
            raise ValueError("a file has fewer bytes than it says")
        files[name] = rest[at : at + size]
        at += size
    if not files or at != len(rest):
        raise ValueError("the files have other sizes than they say")
    return files, said.get("urgent") is True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # on Windows the same option would let another program of this PC listen on our port beside us
    allow_reuse_address = os.name != "nt"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news, and its address is nobody's business."""
        log.debug("a request of the page ended early")


@contextlib.contextmanager
def serving(desk: Desk, port: int = PORT) -> Iterator[int]:
    """The page on loopback, on threads of its own; gives the port.

    Raises:
        OSError: the port is taken.
    """
    handler = type("Handler", (_Handler,), {"desk": desk})
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
