"""Whom contacts are written to, on loopback: webhooks and mail servers that answer, refuse, hang or fail."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HANGS_AT_MOST_S = 30.0


@dataclass
class Peer:
    """A server of one kind: ``ok``, ``fails``, ``hangs``, ``trickles``, ``redirects``, or ``refuses``."""

    kind: str
    port: int = 0
    taken: list[tuple[float, bytes]] = field(default_factory=list)  # time of arrival, and what came
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/hook"


@contextmanager
def webhook(kind: str, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A webhook's receiver."""
    with _serving(Peer(kind, tls=tls), _http) as peer:
        yield peer


@contextmanager
def mail_server(kind: str, starttls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A mail server; what it takes is kept."""
    with _serving(Peer(kind, tls=starttls), _smtp) as peer:
        yield peer


@contextmanager
def _serving(peer: Peer, answer: object) -> Iterator[Peer]:
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    peer.port = listening.getsockname()[1]
    ended = threading.Event()
    if peer.kind == "refuses":
        listening.close()
        yield peer
        return

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_one, args=(peer, connection, ended, answer), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        ended.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def _one(peer: Peer, connection: socket.socket, ended: threading.Event, answer: object) -> None:
    with suppress(OSError), connection:
        connection.settimeout(HANGS_AT_MOST_S)
        answer(peer, connection, ended)  # type: ignore[operator]


def _http(peer: Peer, connection: socket.socket, ended: threading.Event) -> None:
    if peer.kind == "hangs":
        peer.taken.append((time.time(), b""))
        ended.wait(HANGS_AT_MOST_S)
        return
    if peer.tls:
        with peer.tls.wrap_socket(connection, server_side=True) as encrypted:
            return _request(peer, encrypted, ended)
    return _request(peer, connection, ended)


def _request(peer: Peer, connection: socket.socket, ended: threading.Event) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += _more(connection)
    peer.taken.append((time.time(), head + b"\r\n\r\n" + body))
    if peer.kind == "trickles":
        for _ in range(1000):
            connection.sendall(b"H")
            if ended.wait(0.05):
                return
    status = {"ok": b"204 No Content", "fails": b"500 No", "redirects": b"307 Elsewhere\r\nLocation: /other"}[peer.kind]
    connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("ended")
    return data


def _smtp(peer: Peer, connection: socket.socket, ended: threading.Event) -> None:
    if peer.kind == "hangs":
        peer.taken.append((time.time(), b""))
        ended.wait(HANGS_AT_MOST_S)
        return
    connection.sendall(b"220 here\r\n")
    _lines(peer, connection, encrypted=False)


def _lines(peer: Peer, connection: socket.socket, *, encrypted: bool) -> None:
    stream = connection.makefile("rb")
    while line := stream.readline():
        word = line.split()[0].upper() if line.split() else b""
        if word == b"EHLO":
            more = b"250-STARTTLS\r\n" if peer.tls and not encrypted else b""
            connection.sendall(b"250-here\r\n" + more + b"250 8BITMIME\r\n")
        elif word == b"STARTTLS" and peer.tls:
            connection.sendall(b"220 go\r\n")
            stream.close()
            with peer.tls.wrap_socket(connection, server_side=True) as inner:
                return _lines(peer, inner, encrypted=True)
        elif word == b"DATA":
            connection.sendall(b"354 go\r\n")
            lines = iter(stream.readline, b".\r\n")
            peer.taken.append((time.time(), b"".join(lines)))
            connection.sendall(b"250 kept\r\n")
        elif word == b"RCPT" and peer.kind == "fails":
            connection.sendall(b"550 nobody\r\n")
        elif word == b"QUIT":
            connection.sendall(b"221 bye\r\n")
            return
        else:
            connection.sendall(b"250 ok\r\n")
