"""Requests and archives made to break the way in: each has a coded answer, and others are served meanwhile."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from teleread.agent.lead import Lead, LineBroken
from teleread.pipeline.batches import plan_batches, prepare_batch
from teleread.pipeline.fast_lane import LARGE
from tests.lead_hospital import LeadHospital
from tests.prove.lines_archives import archives

_T = TypeVar("_T")

MEMORY_MB = 256
_ANSWER_S = 30.0
_MOMENT_S = 0.3
_METHODS = ("PUT", "TRACE", "FOO", "OPTIONS", "GET", "POST", "CONNECT", "patch", "P\0", "DELETE")
_PATHS = ("/%00", "/../../etc/passwd", "/%2e%2e%2f", "x" * 4000, "/" + "0" * 32, "/" + "f" * 31, "//")
_SAID = ("%%%", "sha256 YQ==", "group YQ==", "a b c d", ",,,,", "filename " + "A" * 9000, "\udcff\udcfe")
_HEAD = "Tus-Resumable: 1.0.0\r\n"
_BYTES = "Content-Type: application/offset+octet-stream\r\n"
_LONG = "9" * 400
_NUMBERS = (
    "-1",
    "+1",
    "1e3",
    "0x10",
    "",
    " ",
    "1 1",
    "9" * 18,
    "9" * 19,
    _LONG,
    "١٢",
    "NaN",
    "1.5",
    "-9223372036854775809",
)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the lead hospital is, and who knocks."""

    port: int
    token: str

    def ask(self, request: bytes, *, parts: int = 1, ends: bool = False) -> bytes:
        """Send raw bytes and read all that comes back.

        Args:
            parts: in how many pieces they are given to the line.
            ends: the request may not come to its end; then the line is given up after a moment.
        """
        size = max(1, -(-len(request) // parts))
        with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_S) as line:
            answer = b""
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(request), size):
                    line.sendall(request[start : start + size])
            line.settimeout(_MOMENT_S if ends else _ANSWER_S)
            with contextlib.suppress(ConnectionError, *([TimeoutError] if ends else [])):
                while piece := line.recv(1 << 16):
                    answer += piece
            return answer

    def request(self, method: str, path: str, headers: str = "", body: bytes = b"", length: str | None = None) -> bytes:
        """One HTTP request in bytes."""
        length = str(len(body)) if length is None else length
        # by its loopback name: an agent's token is good on this machine alone
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        head += f"Authorization: Bearer {self.token}\r\n"
        return f"{head}{headers}Content-Length: {length}\r\n\r\n".encode("utf-8", "surrogateescape") + body

    def announce(self, data: bytes, **more: str) -> str:
        """Begin an upload; returns its path."""
        headers = f"{_HEAD}Upload-Length: {len(data)}\r\nUpload-Metadata: {metadata(data, **more)}\r\n"
        answer = self.ask(self.request("POST", "/api/tus", headers))
        found = [row[10:] for row in answer.decode().split("\r\n") if row.lower().startswith("location: ")]
        assert found, answer[:300]
        return found[0].strip()

    def patch(self, path: str, offset: str, body: bytes, headers: str = "", length: str | None = None) -> bytes:
        """A request that brings bytes."""
        return self.request("PATCH", path, f"{_HEAD}{_BYTES}Upload-Offset: {offset}\r\n{headers}", body, length)


def metadata(data: bytes, **more: str) -> str:
    """As a sender announces these bytes."""
    said = {"filename": "a.bin", "sha256": hashlib.sha256(data).hexdigest()} | more
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())


def mutated(door: Door, chance: random.Random) -> tuple[bytes, bool]:
    """A request that is wrong in some way, and whether no answer at all is one too (it did not come to its end, or is
    no HTTP).
    """
    data = chance.randbytes(chance.choice((1, 100, 5000)))
    path = door.announce(data)
    number = chance.choice(_NUMBERS)
    kind = chance.randrange(11)
    if kind == 0:
        return door.patch(path, number, data), False
    if kind == 1:
        headers = f"{_HEAD}Upload-Length: {number}\r\nUpload-Metadata: {metadata(data)}\r\n"
        return door.request("POST", "/api/tus", headers), False
    if kind == 2:
        method = chance.choice(_METHODS)
        return door.request(method, path, _HEAD, data), "\0" in method
    if kind == 3:
        bad = chance.choice(
            ("/%00", "/../../etc/passwd", "/%2e%2e%2f", "x" * 4000, "/" + "0" * 32, "/" + "f" * 31, "//")
        )
        return door.request(
            chance.choice(("HEAD", "PATCH", "DELETE")), f"/api/tus{bad}", f"{_HEAD}{_BYTES}", data
        ), False
    if kind == 4:
        said = chance.choice(
            ("%%%", "sha256 YQ==", "group YQ==", "a b c d", ",,,,", "filename " + "A" * 9000, "\xff\xfe")
        )
        return door.request(
            "POST", "/api/tus", f"{_HEAD}Upload-Length: 5\r\nUpload-Metadata: {said}\r\n"
        ), said == "\xff\xfe"
    if kind == 5:
        size = chance.choice(("ffffffffffffffffff", "-1", "zz", "5", "0"))
        head = door.patch(path, "0", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return head + f"{size}\r\n".encode() + data + b"\r\n0\r\n\r\n", True
    if kind == 6:
        length = chance.choice((str(len(data) + 1000), "99999999999999999999", "-5", "abc", str(len(data) // 2)))
        return door.patch(path, "0", data, length=length), True
    if kind == 7:
        return door.request(
            "POST", "/api/tus", f"{_HEAD}X-Long: {'x' * chance.choice((9000, 70_000, 400_000))}\r\n"
        ), True
    if kind == 8:
        said = chance.choice(("md5 aa==", "sha256 aa==", "sha256", "sha256 " + "A" * 5000, "sha1 ?", ""))
        return door.patch(path, "0", data, f"Upload-Checksum: {said}\r\n"), False
    if kind == 9:
        version = chance.choice(("", "Tus-Resumable: 0.2.2\r\n", "Tus-Resumable: 1.0.0, 1.0.0\r\n"))
        return door.request("PATCH", path, f"{version}Upload-Offset: 0\r\nContent-Type: text/html\r\n", data), False
    whole = bytearray(door.patch(path, "0", data))
    for _ in range(chance.choice((1, 2, 8))):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole), True


def judge(answer: bytes, silence: bool) -> str:
    """What an answer says: a status for what was taken, a code for what was refused.

    Raises:
        AssertionError: it is no answer, has no code, or the server is at fault.
    """
    if not answer:
        assert silence, "no answer"
        return "closed"
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status < 500, (status, body[:200])
    if status < 400:
        return str(status)
    if status == 400 and b"Invalid HTTP request" in body:
        return "no HTTP"  # said by the HTTP parser, before there is a request
    if b"content-length: 0" in head.lower() or not body:
        return str(status)  # a HEAD has no body
    code = json.loads(body)["error"]["code"] if body.startswith(b"{") else ""
    assert code or b"<html" in body, answer[:400]
    return str(code or "page")


def race(door: Door, chance: random.Random) -> list[str]:
    """Many requests for one upload at once; what they said. The upload is whole afterwards, or can be made so."""
    data = chance.randbytes(40_000)
    path = door.announce(data)
    half = len(data) // 2
    requests = [door.patch(path, "0", data[:half])] * 4 + [door.patch(path, str(half), data[half:])] * 3
    requests += [door.request("HEAD", path, _HEAD)] * 3 + [door.patch(path, "0", data)]
    requests += [door.request("DELETE", path, _HEAD)] * chance.randrange(2)
    chance.shuffle(requests)
    said: list[str] = []

    def ask(request: bytes) -> None:
        said.append(judge(door.ask(request), False))

    threads = [threading.Thread(target=ask, args=(one,)) for one in requests]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(said) == len(requests), "a request of the race was answered badly"
    assert send(door, data)
    return said


def send(door: Door, data: bytes, **said: str) -> tuple[str, ...]:
    """Bring bytes as an agent does, again where no answer came in time; the receipts."""
    lead = Lead(f"http://127.0.0.1:{door.port}", token=door.token)
    said = {"filename": "a", "sha256": hashlib.sha256(data).hexdigest()} | said
    try:
        return _patiently(lambda: _sent(lead, data, said))
    finally:
        lead.close()


def _sent(lead: Lead, data: bytes, said: dict[str, str]) -> tuple[str, ...]:
    where = lead.announce(len(data), said)
    file = io.BytesIO(data)
    while where.offset < len(data):
        where = lead.add(where, file, len(data))
    for _ in range(200):
        if where.receipts:
            break
        time.sleep(0.1)
        where = lead.announce(len(data), said)
    return where.receipts


def _patiently(act: Callable[[], _T]) -> _T:
    """As an agent: what brought no answer is asked again: after some silence, or on a line closed since it was used."""
    ends = time.monotonic() + _ANSWER_S
    while True:
        try:
            return act()
        except LineBroken as error:
            if error.answered or time.monotonic() > ends:
                raise


def verdict(
    door: Door, receipt: str, durable_lane: Callable[[], object] | None = None, patience_s: float = 120
) -> dict[str, Any]:
    """What has become of an arrival once that is known."""
    lead = Lead(f"http://127.0.0.1:{door.port}", token=door.token)
    try:
        ends = time.monotonic() + patience_s
        while True:
            found = _patiently(lambda: lead.verdict(receipt, 2))
            if found.get("state") in {"prepared", "quarantined"}:
                return found
            if durable_lane is not None:
                durable_lane()
            assert time.monotonic() < ends, found
    finally:
        lead.close()


@contextmanager
def besieged(door: Door, half_open: int, slow: int) -> Iterator[None]:
    """Connections that never finish their first line, and uploads that bring a byte a second."""
    stop = threading.Event()
    data = b"slow" * 100_000
    with ExitStack() as stack:
        lines = []
        for number in range(half_open):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=_ANSWER_S))
            line.sendall((b"POST /api/tus HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half", b"P")[number % 2])
        for number in range(slow):
            path = door.announce(data, group=f"slow-one-{number}", group_size="2")
            line = stack.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=_ANSWER_S))
            line.sendall(door.patch(path, "0", b"", length=str(len(data))))
            lines.append(line)

        def drip() -> None:
            while not stop.wait(1):
                for line in lines:
                    with contextlib.suppress(OSError):
                        line.sendall(b"s")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def resident_mb(pid: int) -> float:
    """Memory of one process."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("VmRSS:"):
            return int(row.split()[1]) / 1024
    return 0.0


class Siege:
    """One lead hospital in a process of its own, and how much memory it has come to use."""

    def __init__(self, door: Door, lead: LeadHospital) -> None:
        self.door, self._lead, self._pid = door, lead, lead.pid
        assert send(door, b"the first one")
        self._before = self.peak = resident_mb(self._pid)

    @property
    def grown_mb(self) -> float:
        """By how much it has grown at the most."""
        return self.peak - self._before

    def durable_lane(self) -> None:
        """What the web process leaves for its size is prepared as the durable lane's tasks do it."""
        services = self._lead.open()
        try:
            for batch in plan_batches(services):
                prepare_batch(services, batch)
        finally:
            services.close()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the memory all the time.

        Raises:
            AssertionError: it grew by more than is allowed.
        """
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                self.peak = max(self.peak, resident_mb(self._pid))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert self.grown_mb < MEMORY_MB, f"memory grew by {self.grown_mb:.0f} MB"


@contextmanager
def siege() -> Iterator[Siege]:
    """A lead hospital of its own."""
    with tempfile.TemporaryDirectory() as folder, LeadHospital(Path(folder) / "lead") as lead:
        identity = lead.agent(Path(folder) / "agent")
        yield Siege(Door(lead.port, identity.token), lead)


@contextmanager
def mutated_requests() -> Iterator[Callable[[int], None]]:
    """Each mutated request has a coded answer; every hundredth time an honest upload goes through beside a race."""
    with siege() as under:

        def prove(number: int) -> None:
            chance = random.Random(number)
            request, silence = mutated(under.door, chance)
            judge(under.door.ask(request, parts=chance.choice((1, 1, 3)), ends=silence), silence)
            if number % 100 == 0:
                with under.watching():
                    race(under.door, chance)
                    assert send(under.door, chance.randbytes(30_000))

        yield prove


@contextmanager
def hostile_archives() -> Iterator[Callable[[int], None]]:
    """Every archive ends in a receipt and a coded state, and an honest upload goes through meanwhile."""
    with siege() as under:

        def prove(number: int) -> None:
            chance = random.Random(number)
            ended: Counter[str] = Counter()
            begun = time.monotonic()
            for what, data in archives(chance, large=number == 0):
                with under.watching():
                    ended.update(set(besiege(under.door, what, data, chance, under.durable_lane)))
                ended["archives"] += 1
            told = {"seconds": round(time.monotonic() - begun, 1), "grown_mb": round(under.grown_mb)}
            print(json.dumps(ended | told), flush=True)

        yield prove


def besiege(
    door: Door, what: str, data: bytes, chance: random.Random, durable_lane: Callable[[], object] | None = None
) -> list[str]:
    """Send an archive, and something honest beside it; the codes and states that it ended in.

    Args:
        durable_lane: prepares what the web process leaves to it.
    """
    honest: list[tuple[str, ...]] = []
    beside = threading.Thread(target=lambda: honest.append(send(door, chance.randbytes(20_000))))
    beside.start()
    receipts = send(door, data)
    beside.join()
    assert receipts, f"{what}: no receipt"
    assert honest, f"{what}: others were not served"
    assert honest[0], f"{what}: others got no receipt"
    ended = []
    for receipt in receipts[:3]:
        found = verdict(door, receipt, durable_lane if len(data) > LARGE.input_bytes else None)
        assert found["state"] == "prepared" or found["failure_code"], f"{what}: {found}"
        ended.append(str(found["failure_code"] or found["state"]))
    return ended


@contextmanager
def many_half_open() -> Iterator[Callable[[int], None]]:
    """Thousands of connections that say nothing, and uploads of a byte a second, hold up nobody."""
    with siege() as under:

        def prove(number: int) -> None:
            with under.watching(), besieged(under.door, 3000, 30):
                for seed in range(5):
                    begun = time.monotonic()
                    assert send(under.door, random.Random(f"{number} {seed}").randbytes(50_000))
                    assert time.monotonic() - begun < _ANSWER_S

        yield prove
