"""What every object store must do; each kind of store has a test class that inherits from this one."""

from __future__ import annotations

import hashlib
import io
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import ObjectStore

MIB = 1 << 20
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


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


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


class ObjectStoreContract:
    """Inherit, and provide a fixture ``store``."""

    memory_bound_bytes = 8 * MIB

    @pytest.mark.parametrize("size", [0, 1, 4096, 65536, 2 * MIB + 17])
    def test_bytes_read_equal_bytes_received(self, store: ObjectStore, size: int) -> None:
        data = bytes(i * 7 % 256 for i in range(1024)) * (size // 1024 + 1)
        data = data[:size]
        stored = store.put("a/b/c.bin", data)
        assert (stored.key, stored.sha256, stored.size_bytes) == ("a/b/c.bin", sha256(data), size)
        assert store.get("a/b/c.bin") == data
        with store.open("a/b/c.bin") as file:
            assert file.read(10) + file.read() == data
        info = store.stat("a/b/c.bin")
        assert info is not None
        assert (info.key, info.size_bytes) == ("a/b/c.bin", size)
        assert store.exists("a/b/c.bin")

    def test_same_bytes_again_change_nothing(self, store: ObjectStore) -> None:
        first = store.put("a", b"one")
        assert store.put("a", b"one") == first
        assert store.put("a", io.BytesIO(b"one")) == first
        assert list(store.list()) == ["a"]

    @pytest.mark.parametrize("other", [b"two", b"", b"one and more", b"on"])
    def test_other_bytes_are_refused_and_the_first_stay(self, store: ObjectStore, other: bytes) -> None:
        store.put("a", b"one")
        for data in (other, io.BytesIO(other), Trickle(8)):
            with pytest.raises(StorageError) as refused:
                store.put("a", data)  # type: ignore[arg-type]
            assert refused.value.code == "object_exists"
        assert store.get("a") == b"one"

    @pytest.mark.parametrize("hint", [None, 0, 3, 700_000, 10**9])
    def test_a_stream_is_kept_whole_whatever_its_hint(self, store: ObjectStore, hint: int | None) -> None:
        stored = store.put("a", Trickle(700_000, 4096), size_hint=hint)  # type: ignore[arg-type]
        assert stored.size_bytes == 700_000
        assert store.get("a") == b"ECG-" * 175_000

    def test_a_stream_is_read_from_where_it_stands(self, store: ObjectStore) -> None:
        source = io.BytesIO(b"0123456789")
        source.seek(4)
        store.put("a", source)
        assert store.get("a") == b"456789"

    @pytest.mark.parametrize(
        ("start", "length"),
        [
            (0, 10),
            (0, 3),
            (3, 4),
            (9, 1),
            (8, 100),
            (0, 10**12),
            (10, 1),
            (11, 5),
            (10**15, 1),
            (10**30, 10**30),
            (4, 0),
        ],
    )
    def test_a_range_is_what_a_slice_is(self, store: ObjectStore, start: int, length: int) -> None:
        store.put("a", b"0123456789")
        assert store.get_range("a", start, length) == b"0123456789"[start : start + length]

    @pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1)])
    def test_a_negative_range_is_refused(self, store: ObjectStore, start: int, length: int) -> None:
        store.put("a", b"0123456789")
        with pytest.raises(StorageError) as refused:
            store.get_range("a", start, length)
        assert refused.value.code == "bad_range"

    def test_a_missing_object_is_said_to_be_missing(self, store: ObjectStore) -> None:
        store.put("a/b", b"one")
        for key in ("a/c", "b", "a", "a/b/c"):
            for read in (store.get, store.open, lambda key: store.get_range(key, 0, 1)):
                with pytest.raises(StorageError) as failed:
                    read(key)
                assert failed.value.code == "object_missing"
            assert store.stat(key) is None
            assert not store.exists(key)
            store.delete(key)
        assert store.get("a/b") == b"one"

    def test_a_deleted_object_is_gone_and_may_be_written_anew(self, store: ObjectStore) -> None:
        store.put("a/b", b"one")
        store.delete("a/b")
        assert not store.exists("a/b")
        assert list(store.list()) == []
        store.put("a/b", b"two")
        assert store.get("a/b") == b"two"

    def test_keys_are_listed_by_prefix_in_order(self, store: ObjectStore) -> None:
        keys = ["a-b/x", "a.b", "a/x", "a/y/1", "a/y/10", "a/y/2", "ab", "b", "raw/sha256/ab/cd/abcd"]
        for key in reversed(keys):
            store.put(key, key.encode())
        assert list(store.list()) == keys
        for prefix in ("a", "a/", "a/y", "a/y/", "a/y/1", "ab", "raw/sha256/ab/", "raw/sha256/ac", "c", "a/y/3/"):
            assert list(store.list(prefix)) == [key for key in keys if key.startswith(prefix)], prefix

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_a_hostile_key_is_refused_everywhere(self, store: ObjectStore, key: str) -> None:
        acts: list[Callable[[str], object]] = [
            lambda key: store.put(key, b"x"),
            store.get,
            store.open,
            store.stat,
            store.exists,
            store.delete,
            lambda key: store.get_range(key, 0, 1),
        ]
        for act in acts:
            with pytest.raises(StorageError) as refused:
                act(key)
            assert refused.value.code == "bad_key"

    @pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../b", "A", "张", "a/."])
    def test_a_hostile_prefix_is_refused(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(StorageError) as refused:
            list(store.list(prefix))
        assert refused.value.code == "bad_key"

    def test_writers_of_the_same_bytes_all_succeed(self, store: ObjectStore) -> None:
        data = b"same" * 50_000
        outcomes = at_once(8, lambda i: store.put("race/same", data if i % 2 else io.BytesIO(data)))
        assert {outcome.sha256 for outcome in outcomes} == {sha256(data)}
        assert store.get("race/same") == data

    def test_of_writers_with_other_bytes_exactly_one_succeeds(self, store: ObjectStore) -> None:
        def write(i: int) -> object:
            return store.put("race/other", bytes([i]) * 100_000)

        outcomes = at_once(8, write)
        winners = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, StorageError)]
        assert len(winners) == 1
        assert {error.code for error in outcomes if isinstance(error, StorageError)} == {"object_exists"}
        assert store.get("race/other") == bytes(winners) * 100_000

    def test_a_big_stream_takes_little_memory(self, store: ObjectStore) -> None:
        peak = peak_bytes(lambda: store.put("big", Trickle(64 * MIB)))  # type: ignore[arg-type]
        assert peak < self.memory_bound_bytes
        info = store.stat("big")
        assert info is not None
        assert info.size_bytes == 64 * MIB

        def read() -> None:
            with store.open("big") as file:
                while file.read(MIB):
                    pass

        assert peak_bytes(read) < self.memory_bound_bytes
