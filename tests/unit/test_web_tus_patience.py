"""Connections that never come to a request, and what is no request at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from teleread.pipeline.services import Services
from teleread.web import patience
from teleread.web.app import create_app


@pytest.fixture
def port(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(patience, "HEAD_S", 0.5)
    app = create_app(services, sweep_every=None)
    options = {"host": "127.0.0.1", "port": 0, "log_level": "critical", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, http=patience.PatientProtocol, **options))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < ends
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


@pytest.mark.parametrize("head", [b"", b"P", b"POST /api/tus HTTP/1.1\r\nHost: x\r\nX-Half"])
def test_who_brings_no_whole_head_is_not_waited_for(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(head)
        assert line.recv(100) == b""


def test_who_brings_half_a_second_request_is_not_waited_for_either(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")
        answer = b""
        while piece := line.recv(1000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_request_may_take_longer_than_its_head(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 9\r\n\r\nname=")
        line.settimeout(1.2)
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(20)
        line.sendall(b"1234")
        assert line.recv(100).startswith(b"HTTP/1.1")


@pytest.mark.parametrize("request_", [b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000 + b"\r\n\r\n"])
def test_what_is_no_http_has_a_code(port: int, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(request_)
        answer = b""
        try:
            while piece := line.recv(1000):
                answer += piece
        except ConnectionError:
            assert len(request_) > 1000  # reset: it was still talking
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert json.loads(body)["error"]["code"] == "request_invalid"
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code in {200, 404}


def test_the_limit_of_files_is_what_the_system_allows() -> None:
    assert patience.raise_file_limit() >= 1024
