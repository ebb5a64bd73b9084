"""An S3 server of any weakness: a proxy before rclone, which asks for no signature.

Sound, it adds to rclone what that lacks (a conditional PUT), so that it lacks nothing but credentials. Each weakness
breaks one thing as a real server might, mostly without saying so.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})
_CONTENTS = re.compile(rb"\s*<Contents>.*?</Contents>", re.DOTALL)


@dataclass(slots=True)
class Proxy:
    """What a proxy does; ``requests`` counts by method.

    Weaknesses: ``overwrites`` (ignores If-None-Match), ``overwrites_and_says_not`` (answers 412 and overwrites),
    ``races`` (looks, then writes), ``not_implemented`` (501 to If-None-Match), ``takes_damage``, ``shifts_ranges``,
    ``hides_uploads``, ``keeps_uploads``, ``shows_parts``, ``lists_backwards``, ``lists_from_the_start``,
    ``keeps_deleted``, ``conflicts`` (409 to the first try).
    """

    backend: str
    weakness: str
    endpoint: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    racers: threading.Condition = field(default_factory=threading.Condition)
    racing: Counter[str] = field(default_factory=Counter)


@contextmanager
def s3_proxy(backend: str, weakness: str = "") -> Iterator[Proxy]:
    """A proxy on a free loopback port until the block ends."""
    proxy = Proxy(backend, weakness)

    class Handler(_Handler):
        pass

    Handler.proxy = proxy
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        conditional = self.headers.get("if-none-match") == "*" and self.proxy.weakness != "overwrites"
        if not conditional:
            self._serve()
            return
        match self.proxy.weakness:
            case "not_implemented":
                self._refuse(501, "NotImplemented")
            case "overwrites_and_says_not":
                if self.path in self.proxy.taken:
                    self._forward(self._body())
                    self._refuse(412, "PreconditionFailed", drained=True)
                else:
                    self._serve()
            case "races":
                self._race()
            case "conflicts" if self.path not in self.proxy.racing:
                self.proxy.racing[self.path] += 1
                self._refuse(409, "ConditionalRequestConflict")
            case _:
                with self.proxy.lock:
                    if self.path in self.proxy.taken:
                        self._refuse(412, "PreconditionFailed")
                    else:
                        self._serve()

    def _race(self) -> None:
        """Look, let the others look too, write."""
        proxy = self.proxy
        if self.path in proxy.taken:
            self._refuse(412, "PreconditionFailed")
            return
        with proxy.racers:
            proxy.racing[self.path] += 1
            proxy.racers.notify_all()
            proxy.racers.wait_for(lambda: proxy.racing[self.path] > 1, 1)
        self._serve()

    def _serve(self) -> None:
        proxy, method = self.proxy, self.command
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        body = self._body()
        if method == "DELETE" and (
            (proxy.weakness == "keeps_deleted" and "uploadId" not in query)
            or (proxy.weakness == "keeps_uploads" and "uploadId" in query)
        ):
            self._answer(204, [], b"")
            return
        if proxy.weakness == "shows_parts" and method == "PUT" and "partNumber" in query:
            self._forward(body, path=urlsplit(self.path).path)
        status, headers, data = self._forward(body)
        if status < 300 and method == "PUT" and not query:
            proxy.taken.add(self.path)
        if method == "DELETE" and not query:
            proxy.taken.discard(self.path)
        if method == "GET" and "uploads" in query and proxy.weakness == "hides_uploads":
            data = b"<ListMultipartUploadsResult></ListMultipartUploadsResult>"
        if method == "GET" and "list-type" in query and proxy.weakness == "lists_backwards":
            found = _CONTENTS.findall(data)
            if found:
                data = _CONTENTS.sub(b"", data).replace(
                    b"</ListBucketResult>", b"".join(reversed(found)) + b"</ListBucketResult>"
                )
        self._answer(status, headers, data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _forward(self, body: bytes, path: str | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
        proxy = self.proxy
        proxy.requests[self.command] += 1
        headers = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        if proxy.weakness == "takes_damage":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-md5"}
        if proxy.weakness == "shifts_ranges" and (
            found := re.match(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        ):
            headers = {name: value for name, value in headers.items() if name.lower() != "range"}
            headers["Range"] = f"bytes={int(found[1]) + 1}-{int(found[2]) + 1}"
        path = path or self.path
        if proxy.weakness == "lists_from_the_start":
            path = re.sub(r"&(start-after|continuation-token)=[^&]*", "", path)
        connection = http.client.HTTPConnection(proxy.backend, timeout=20)
        try:
            connection.request(self.command, path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.headers.get("content-length", "0")))
            return answer.status, kept, data
        finally:
            connection.close()

    def _refuse(self, status: int, code: str, *, drained: bool = False) -> None:
        if not drained:
            self._body()
        self._answer(status, [("Content-Type", "application/xml")], f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(data)
