"""Bytes to store, ways to read them, and ways to damage what is stored."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import Blobs, ObjectStore, SealedStore, check_raw, get_raw
from teleread.storage.objects.sealing import HEADER_BYTES, SEALED_CHUNK_BYTES
from tests.contract.keys import TestKeys

MIB = 1 << 20
ROOT = "0" * 64
HOSTILE_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "../up",
    "a/../b",
    "a/..",
    "a..b",
    "a//b",
    "a/",
    "a/./b",
    "./a",
    "a/.incoming/b",
    ".incoming/a",
    "A",
    "a b",
    "a\n",
    "a\x00b",
    "a\\b",
    "张",
    "a%2e",
    "-a",
    "a" * 201,
    "a/.b",
    "~",
)


class Trickle(io.RawIOBase):
    """A stream that cannot be rewound, of repeated bytes, in pieces of its own choosing."""

    def __init__(self, size: int, piece: int = 300_000) -> None:
        super().__init__()
        self._left = size
        self._piece = b"ECG-" * (piece // 4)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n = min(self._left, len(self._piece), len(view))
        view[:n] = self._piece[:n]
        self._left -= n
        return n


class Unseekable(io.RawIOBase):
    """These bytes as a stream that cannot be rewound."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._left = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._left.readinto(buffer)


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pattern(size: int) -> bytes:
    """Bytes that differ from chunk to chunk."""
    return random.Random(size).randbytes(size)


def forge(blobs: Blobs, key: str, stored: bytes) -> None:
    """Put other sealed bytes in the place of an object, as rot or an intruder would."""
    blobs.delete(key)
    with blobs.draft(len(stored)) as draft:
        draft.write(stored)
        assert draft.publish(key)


def readings(store: ObjectStore, key: str) -> dict[str, Callable[[], object]]:
    """Every way to read an object to its end."""

    def stream() -> bytes:
        with store.open(key) as file:
            return file.read()

    found: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(key),
        "open": stream,
        "measure": lambda: store.measure(key),
        "get_range": lambda: store.get_range(key, 0, 1 << 40),
    }
    if key.startswith("raw/"):
        found["get_raw"] = lambda: get_raw(store, key[-64:])
        found["check_raw"] = lambda: check_raw(store, key[-64:])
    return found


def outcomes(acts: dict[str, Callable[[], object]]) -> dict[str, str]:
    """The error code of each act, or that it was read."""
    codes = {}
    for name, act in acts.items():
        try:
            act()
            codes[name] = "read"
        except StorageError as error:
            codes[name] = error.code
    return codes


def says(store: ObjectStore, key: str, code: str, what: object = "") -> None:
    """Every way to read the object comes to the same end."""
    found = outcomes(readings(store, key))
    assert set(found.values()) == {code}, f"{what}: {found}"


def damages(stored: bytes) -> Iterator[tuple[str, bytes]]:
    """Cuts, additions and moves of whole chunks; the object has at least three."""
    chunk, body = SEALED_CHUNK_BYTES, HEADER_BYTES
    for border in (0, HEADER_BYTES, *range(body + chunk, len(stored), chunk)):
        for cut in (border - 1, border, border + 1):
            if 0 <= cut < len(stored):
                yield f"cut at {cut}", stored[:cut]
    for extra in (b"\0", bytes(16), bytes(chunk), stored[body : body + chunk], stored[-16:], stored):
        yield f"{len(extra)} appended", stored + extra
    header, one, two, rest = (
        stored[:body],
        stored[body : body + chunk],
        stored[body + chunk : body + 2 * chunk],
        stored[body + 2 * chunk :],
    )
    yield "two chunks swapped", header + two + one + rest
    yield "a chunk repeated", header + one + one + two + rest
    yield "a chunk taken out", header + one + rest
    yield "a chunk in another's place", header + one + one + rest
    yield "the last chunk alone", header + rest
    yield "nothing but the header", header


def peak_bytes(act: Callable[[], object]) -> int:
    """Most memory that Python held at once while it acted, beyond what it held before."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def at_once(n: int, act: Callable[[int], Any]) -> list[Any]:
    """Outcomes of n threads that begin together; an exception is an outcome."""
    together = threading.Barrier(n)

    def one(i: int) -> Any:
        together.wait(30)
        try:
            return act(i)
        except StorageError as error:
            return error

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(one, range(n)))


class StoreFixtures:
    """The store, on the fixture ``blobs``."""

    @pytest.fixture
    def keys(self) -> TestKeys:
        return TestKeys()

    @pytest.fixture
    def store(self, blobs: Blobs, keys: TestKeys) -> SealedStore:
        return SealedStore(blobs, keys)
