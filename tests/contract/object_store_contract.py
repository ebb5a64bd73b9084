"""What every object store must do; each kind of store has a test class that inherits from this one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import (
    Blobs,
    DataKey,
    Measured,
    ObjectStore,
    SealedStore,
    StoredObject,
    check_raw,
    get_raw,
    measure_batches,
    raw_key,
)
from teleread.storage.objects.sealing import CHUNK_BYTES, HEADER_BYTES, SEALED_CHUNK_BYTES, sealed_size
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


class ObjectStoreContract:
    """Inherit, and provide a fixture ``blobs``."""

    memory_bound_bytes = 4 * MIB
    big_bytes = 64 * MIB
    flips: int | None = 40  # bits to turn over in each part of an object; None: all of them in a small one

    @pytest.fixture
    def keys(self) -> TestKeys:
        return TestKeys()

    @pytest.fixture
    def store(self, blobs: Blobs, keys: TestKeys) -> SealedStore:
        return SealedStore(blobs, keys)

    # what was put is read

    @pytest.mark.parametrize(
        "size", [0, 1, 4096, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 2 * MIB + 17]
    )
    def test_bytes_read_equal_bytes_received(self, store: SealedStore, size: int) -> None:
        data = pattern(size)
        raw = store.put_raw(data)
        for i, form in enumerate((data, io.BytesIO(data), io.BufferedReader(io.BytesIO(data)))):
            for root in (None, raw.sha256):
                key = f"a/b/{i}-{0 if root is None else 1}.bin"
                stored = store.put(key, form, root=root)  # type: ignore[arg-type]
                assert (stored.key, stored.sha256, stored.size_bytes) == (key, sha256(data), size)
                assert stored.root_sha256 == raw.sha256  # for its own bytes, the same
                assert store.get(key) == data
                with store.open(key) as file:
                    assert file.read(10) + file.read() == data
                assert store.measure(key) == (sha256(data), size)
                info = store.stat(key)
                assert info is not None
                assert (info.key, info.size_bytes) == (key, size)
                assert store.exists(key)
                if isinstance(form, io.BufferedIOBase):
                    form.seek(0)

    def test_a_stream_that_cannot_be_rewound_is_kept_whole(self, store: SealedStore) -> None:
        data = b"ECG-" * 175_000
        for piece in (4, 4096, 300_000, MIB):
            stored = store.put(f"a{piece}", Trickle(700_000, piece))  # type: ignore[arg-type]
            assert (stored.size_bytes, stored.sha256, stored.root_sha256) == (700_000, sha256(data), sha256(data))
            assert store.get(f"a{piece}") == data

    def test_a_stream_is_read_from_where_it_stands(self, store: ObjectStore) -> None:
        source = io.BytesIO(b"0123456789")
        source.seek(4)
        store.put("a", source)
        assert store.get("a") == b"456789"

    def test_raw_bytes_lie_at_their_own_hash(self, store: SealedStore) -> None:
        for data in (b"", b"leads" * 100, pattern(3 * CHUNK_BYTES + 1)):
            forms = [data, io.BytesIO(data), Unseekable(data)]
            first = store.put_raw(forms[0])  # type: ignore[arg-type]
            assert (first.key, first.sha256, first.root_sha256) == (raw_key(sha256(data)), sha256(data), sha256(data))
            for form in forms[1:]:
                assert store.put_raw(form) == first  # type: ignore[arg-type]
            assert get_raw(store, first.sha256) == data
            assert check_raw(store, first.sha256) == len(data)
            store.delete(first.key)
            assert store.put_raw(Unseekable(data)).size_bytes == len(data)  # type: ignore[arg-type]
            assert get_raw(store, first.sha256) == data

    def test_the_key_of_a_raw_object_takes_no_other_bytes(self, store: SealedStore) -> None:
        key = raw_key(sha256(b"one"))
        for data in (b"two", io.BytesIO(pattern(300_000))):
            with pytest.raises(StorageError) as refused:
                store.put(key, data)
            assert refused.value.code == "bad_key"
        with pytest.raises(StorageError) as refused:
            store.put(key, b"one", root=sha256(b"two"))
        assert refused.value.code == "bad_key"
        assert list(store.list()) == []
        assert store.put(key, b"one") == store.put_raw(b"one")

    def test_same_bytes_again_change_nothing(self, store: SealedStore, blobs: Blobs, keys: TestKeys) -> None:
        first, raw = store.put("a", b"one"), store.put_raw(b"two")
        before = {info.key: blobs.get(info.key) for info in blobs.list()}
        keys.rotate()
        assert store.put("a", b"one") == first
        assert store.put("a", io.BytesIO(b"one")) == first
        assert store.put("a", b"one", root=raw.sha256) == first
        assert store.put_raw(b"two") == raw
        assert {info.key: blobs.get(info.key) for info in blobs.list()} == before

    @pytest.mark.parametrize("other", [b"two", b"", b"one and more", b"on"])
    def test_other_bytes_are_refused_and_the_first_stay(self, store: SealedStore, other: bytes) -> None:
        store.put("a", b"one")
        for data in (other, io.BytesIO(other), Trickle(8)):
            with pytest.raises(StorageError) as refused:
                store.put("a", data)  # type: ignore[arg-type]
            assert refused.value.code == "object_exists"
        assert store.get("a") == b"one"

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

    @pytest.mark.parametrize("size", [3 * CHUNK_BYTES, 2 * CHUNK_BYTES + 100])
    def test_a_range_is_what_a_slice_is_at_the_borders_of_chunks(self, store: ObjectStore, size: int) -> None:
        data = pattern(size)
        store.put("a", data)
        near = sorted({max(0, n + d) for n in (0, CHUNK_BYTES, 2 * CHUNK_BYTES, size) for d in (-1, 0, 1)})
        for start in near:
            for end in (end for end in near if end >= start):
                assert store.get_range("a", start, end - start) == data[start:end], (start, end)

    def test_a_range_opens_only_the_chunks_it_touches(self, store: SealedStore, blobs: Blobs) -> None:
        data = pattern(3 * CHUNK_BYTES)
        store.put("a", data)
        stored = bytearray(blobs.get("a"))
        stored[HEADER_BYTES] ^= 1
        forge(blobs, "a", bytes(stored))
        assert store.get_range("a", CHUNK_BYTES, CHUNK_BYTES) == data[CHUNK_BYTES : 2 * CHUNK_BYTES]
        with pytest.raises(StorageError) as failed:
            store.get_range("a", CHUNK_BYTES - 1, 2)
        assert failed.value.code == "object_corrupt"

    @pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1)])
    def test_a_negative_range_is_refused(self, store: ObjectStore, start: int, length: int) -> None:
        store.put("a", b"0123456789")
        with pytest.raises(StorageError) as refused:
            store.get_range("a", start, length)
        assert refused.value.code == "bad_range"

    def test_a_stream_that_can_be_rewound_reads_the_same_again(self, store: SealedStore) -> None:
        for size in (0, 10, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES + 9):
            data = pattern(size)
            store.put(f"a{size}", data)
            with store.open(f"a{size}") as file:
                assert file.read(100) == data[:100]
                if not file.seekable():
                    return
                for start in (0, 5, CHUNK_BYTES, CHUNK_BYTES + 1, size, size + 7, 0):
                    assert file.seek(start) == start
                    assert file.read() == data[start:]
                assert file.seek(0, io.SEEK_END) == size
                assert file.read() == b""

    # what is there, and what is not

    def test_a_missing_object_is_said_to_be_missing(self, store: ObjectStore) -> None:
        store.put("a/b", b"one")
        for key in ("a/c", "b", "a", "a/b/c"):
            for read in (
                store.get,
                store.open,
                store.measure,
                store.header,
                lambda key: store.get_range(key, 0, 1),
                lambda key: store.get_range(key, 10**9, 1),
                lambda key: store.get_range(key, 0, 0),
            ):
                with pytest.raises(StorageError) as failed:
                    read(key)
                assert failed.value.code == "object_missing"
            assert store.stat(key) is None
            assert not store.exists(key)
            store.delete(key)
        for act in (lambda: store.data_key(ROOT), lambda: store.put("c", b"one", root=ROOT)):
            with pytest.raises(StorageError) as failed:
                act()
            assert failed.value.code == "object_missing"
        assert store.get("a/b") == b"one"
        assert [info.key for info in store.list()] == ["a/b"]

    def test_a_deleted_object_is_gone_and_may_be_written_anew(self, store: ObjectStore) -> None:
        store.put("a/b", b"one")
        store.delete("a/b")
        assert not store.exists("a/b")
        assert list(store.list()) == []
        store.put("a/b", b"two")
        assert store.get("a/b") == b"two"

    def test_what_is_derived_after_a_raw_object_came_anew_has_its_new_key(
        self, store: SealedStore, blobs: Blobs, keys: TestKeys
    ) -> None:
        """Another process deleted the object and stored it again."""
        raw = store.put_raw(b"one")
        old = store.data_key(raw.sha256)
        other = SealedStore(blobs, keys)
        other.delete(raw.key)
        other.put_raw(b"one")
        assert get_raw(store, raw.sha256) == b"one"  # whoever derives has read it
        store.put("derived", b"two", root=raw.sha256)
        assert store.header("derived").data_key_id == other.data_key(raw.sha256).id != old.id

    def test_objects_are_listed_by_prefix_in_order(self, store: ObjectStore) -> None:
        keys = ["a-b/x", "a.b", "a/x", "a/y/1", "a/y/10", "a/y/2", "ab", "b", "raw/sha256/ab/cd/abcd"]
        before = datetime.now(UTC) - timedelta(minutes=5)
        for key in reversed(keys):
            store.put(key, key.encode())
        found = list(store.list())
        assert [info.key for info in found] == keys
        assert [info.size_bytes for info in found] == [len(key) for key in keys]
        assert all(info.written_at.utcoffset() == timedelta(0) and info.written_at > before for info in found)
        assert [store.stat(key) for key in keys] == [dataclasses.replace(info) for info in found]
        for prefix in ("a", "a/", "a/y", "a/y/", "a/y/1", "ab", "raw/sha256/ab/", "raw/sha256/ac", "c", "a/y/3/"):
            for after in ("", *keys, "a", "a/", "a/y/", "a/y/zz", "zz", "raw/"):
                assert [info.key for info in store.list(prefix, after=after)] == [
                    key for key in keys if key.startswith(prefix) and key > after
                ], (prefix, after)

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_a_hostile_key_is_refused_everywhere(self, store: ObjectStore, key: str) -> None:
        acts: list[Callable[[str], object]] = [
            lambda key: store.put(key, b"x"),
            store.get,
            store.open,
            store.measure,
            store.header,
            store.stat,
            store.exists,
            store.delete,
            store.data_key,
            lambda key: store.put("a", b"x", root=key) if key else store.get(key),
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

    # sealed

    def test_nothing_of_the_plaintext_is_stored(self, store: SealedStore, blobs: Blobs) -> None:
        mark = b"Zhang San 110101199003071233"
        store.put_raw(mark * 10_000)
        store.put("derived", mark)
        store.put("streamed", Unseekable(mark * 10_000))  # type: ignore[arg-type]
        found = [blobs.get(info.key) for info in blobs.list()]
        assert len(found) == 3
        assert not [stored for stored in found if mark[:8] in stored]

    def test_the_same_bytes_are_sealed_differently_in_every_place(self, store: SealedStore, blobs: Blobs) -> None:
        raw = store.put_raw(bytes(1000))
        for i in range(3):
            store.put(f"a{i}", bytes(1000), root=raw.sha256)
        found = [blobs.get(info.key)[HEADER_BYTES:] for info in blobs.list()]
        assert len({part[i : i + 16] for part in found for i in range(0, 1000, 16)}) == 4 * 63

    def test_what_is_stored_is_as_large_as_its_size_says(self, store: SealedStore, blobs: Blobs) -> None:
        for size in (0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES):
            stored = store.put_raw(bytes(size))
            info = blobs.stat(stored.key)
            assert info is not None
            assert info.size_bytes == sealed_size(size)

    def test_every_flipped_bit_is_found(self, store: SealedStore, blobs: Blobs) -> None:
        for key in (store.put_raw(pattern(100)).key, store.put("a", pattern(2 * CHUNK_BYTES + 5)).key):
            whole = blobs.get(key)
            header, body = range(8 * HEADER_BYTES), range(8 * HEADER_BYTES, 8 * len(whole))
            chance = random.Random(7)
            if self.flips is None and len(body) < 10_000:
                bits = [*header, *body]
            else:
                bits = [*chance.sample(header, self.flips or 100), *chance.sample(body, self.flips or 200)]
            for bit in bits:
                stored = bytearray(whole)
                stored[bit // 8] ^= 1 << bit % 8
                forge(blobs, key, bytes(stored))
                says(store, key, "object_corrupt", (key, bit))
            forge(blobs, key, whole)
            says(store, key, "read")

    @pytest.mark.parametrize("size", [3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 100])
    def test_what_is_cut_moved_or_added_is_found(self, store: SealedStore, blobs: Blobs, size: int) -> None:
        key = store.put_raw(pattern(size)).key
        whole = blobs.get(key)
        for what, stored in damages(whole):
            forge(blobs, key, stored)
            says(store, key, "object_corrupt", what)
            if len(stored) < len(whole):  # also where only what lies behind the cut was asked for
                with pytest.raises(StorageError) as failed:
                    store.get_range(key, size, 1)
                assert failed.value.code == "object_corrupt", what

    def test_an_object_in_the_place_of_another_is_found(self, store: SealedStore, blobs: Blobs) -> None:
        raw, other = store.put_raw(b"one"), store.put_raw(b"two")
        store.put("a", b"one", root=raw.sha256)
        store.put("b", b"two", root=raw.sha256)
        whole = {info.key: blobs.get(info.key) for info in blobs.list()}
        for place in whole:
            for origin in whole:
                forge(blobs, place, whole[origin])
                says(store, place, "read" if place == origin else "object_corrupt", (origin, place))
                forge(blobs, place, whole[place])
        # chunks under the header of another are no better
        forge(blobs, raw.key, whole[raw.key][:HEADER_BYTES] + whole[other.key][HEADER_BYTES:])
        says(store, raw.key, "object_corrupt")

    def test_a_rotten_object_is_no_place_for_the_same_bytes(self, store: SealedStore, blobs: Blobs) -> None:
        raw, derived = store.put_raw(b"one").key, store.put("a", b"one").key
        for key in (raw, derived):
            stored = bytearray(blobs.get(key))
            stored[-1] ^= 1
            forge(blobs, key, bytes(stored))
        for act in (lambda: store.put_raw(b"one"), lambda: store.put("a", b"one"), lambda: store.put("a", b"two")):
            with pytest.raises(StorageError) as refused:
                act()
            assert refused.value.code == "object_corrupt"

    def test_too_few_bytes_to_be_an_object_are_said_to_be_corrupt(self, store: SealedStore, blobs: Blobs) -> None:
        forge(blobs, "a", b"x")
        assert [(info.key, info.size_bytes) for info in store.list()] == [("a", -1)]
        assert store.exists("a")
        acts = [lambda: store.stat("a"), lambda: store.header("a"), *readings(store, "a").values()]
        assert set(outcomes({str(i): act for i, act in enumerate(acts)}).values()) == {"object_corrupt"}

    # keys

    def test_a_data_key_is_shared_by_what_is_derived_alone(self, store: SealedStore) -> None:
        raw = store.put_raw(b"one")
        store.put("derived", b"two", root=raw.sha256)
        store.put("other", b"one")
        data_key = store.data_key(raw.sha256)
        assert isinstance(data_key, DataKey)
        assert (data_key.root_sha256, len(data_key.id), len(data_key.key)) == (raw.sha256, 8, 32)
        assert store.header("derived").root_sha256 == raw.sha256
        assert store.header("derived").data_key_id == data_key.id
        assert store.header("other").data_key_id != data_key.id
        assert data_key.key.hex() not in repr(data_key)
        assert repr(data_key.key) not in repr(data_key)

    def test_intake_keys_rotate_while_objects_stay_readable(self, store: SealedStore, keys: TestKeys) -> None:
        first = store.put_raw(b"one")
        assert first.intake_key == keys.current.hex()
        keys.rotate()
        second = store.put("derived", b"two", root=first.sha256)
        assert second.intake_key == keys.current.hex() != first.intake_key
        assert store.header(first.key).intake_id.hex() == first.intake_key
        assert store.get(first.key) + store.get("derived") == b"onetwo"

    def test_a_slow_stream_is_sealed_with_the_intake_key_of_its_end(self, store: SealedStore, keys: TestKeys) -> None:
        raw = store.put_raw(b"one")

        class Slow(Unseekable):
            def readinto(self, buffer: Any) -> int:
                count = super().readinto(buffer)
                if not count:
                    keys.rotate()
                return count

        data = pattern(700_000)
        for put in (
            lambda form: store.put_raw(form),
            lambda form: store.put("a", form),
            lambda form: store.put("b", form, root=raw.sha256),
        ):
            before = keys.current
            stored = put(Slow(data))
            assert stored.intake_key == keys.current.hex() != before.hex()
            assert store.get(stored.key) == data

    def test_what_a_retired_key_sealed_is_read_with_the_recovered_data_key(
        self, store: SealedStore, blobs: Blobs, keys: TestKeys
    ) -> None:
        raw = store.put_raw(b"one")
        store.put("derived", b"two", root=raw.sha256)
        keys.adopt(store.data_key(raw.sha256))
        keys.rotate()
        keys.retire(bytes.fromhex(raw.intake_key))
        for one in (store, SealedStore(blobs, keys)):
            assert get_raw(one, raw.sha256) + one.get("derived") == b"onetwo"
            assert one.put_raw(b"one") == raw
            one.put("late", b"three", root=raw.sha256)
            assert one.get("late") == b"three"
            one.delete("late")

    def test_what_was_forgotten_is_read_by_nobody(self, store: SealedStore, keys: TestKeys) -> None:
        raw = store.put_raw(b"one")
        store.put("derived", b"two", root=raw.sha256)
        keys.adopt(store.data_key(raw.sha256))
        keys.rotate()
        keys.retire(bytes.fromhex(raw.intake_key))
        assert get_raw(store, raw.sha256) == b"one"
        keys.forget(raw.sha256)
        acts: dict[str, Callable[[], object]] = {
            **readings(store, raw.key),
            **{f"derived {name}": act for name, act in readings(store, "derived").items()},
            "data_key": lambda: store.data_key(raw.sha256),
            "put": lambda: store.put("late", b"three", root=raw.sha256),
            "put_raw": lambda: store.put_raw(b"one"),
        }
        assert set(outcomes(acts).values()) == {"object_key_missing"}
        assert store.header(raw.key).root_sha256 == raw.sha256

    def test_another_key_ring_opens_nothing(self, store: SealedStore, blobs: Blobs, keys: TestKeys) -> None:
        raw = store.put_raw(b"one")
        says(SealedStore(blobs, TestKeys()), raw.key, "object_key_missing")
        impostor = TestKeys()
        impostor._ring[keys.current] = bytes(32)
        says(SealedStore(blobs, impostor), raw.key, "object_corrupt")

    # many at once

    def test_writers_of_the_same_bytes_all_succeed(self, store: ObjectStore) -> None:
        data = b"same" * 50_000
        puts: list[Callable[[Any], StoredObject]] = [lambda form: store.put("race/same", form), store.put_raw]
        for put in puts:
            found = at_once(8, lambda i: put(data if i % 2 else io.BytesIO(data)))  # noqa: B023
            assert len({str(outcome) for outcome in found}) == 1
            assert found[0].sha256 == sha256(data)
            assert store.get(found[0].key) == data

    def test_of_writers_with_other_bytes_exactly_one_succeeds(self, store: ObjectStore) -> None:
        def write(i: int) -> object:
            return store.put("race/other", bytes([i]) * 100_000)

        found = at_once(8, write)
        winners = [i for i, outcome in enumerate(found) if not isinstance(outcome, StorageError)]
        assert len(winners) == 1
        assert {error.code for error in found if isinstance(error, StorageError)} == {"object_exists"}
        assert store.get("race/other") == bytes(winners) * 100_000

    def test_many_are_measured_in_order_and_a_bad_one_stops_nothing(self, store: SealedStore, blobs: Blobs) -> None:
        data = {f"a/{i:03}": pattern(i) for i in range(50)}
        for key, plain in data.items():
            store.put(key, plain)
        forge(blobs, "a/007", b"rotten" * 100)
        batches = [[key] for key in [*data, "a/100"]]
        found = [one for _, ones in measure_batches(store, batches, list, workers=3) for one in ones]
        assert [one.key for one in found] == [*data, "a/100"]
        assert [(one.key, one.failure and one.failure.code) for one in found if one.failure] == [
            ("a/007", "object_corrupt"),
            ("a/100", "object_missing"),
        ]
        assert [one for one in found if not one.failure] == [
            Measured(key, sha256(plain), len(plain)) for key, plain in data.items() if key != "a/007"
        ]

    def test_a_big_stream_takes_little_memory(self, store: ObjectStore) -> None:
        size = self.big_bytes
        puts: list[Callable[[Any], StoredObject]] = [lambda source: store.put("big", source), store.put_raw]
        for put in puts:
            stored: list[StoredObject] = []
            peak = peak_bytes(lambda: stored.append(put(Trickle(size))))  # noqa: B023
            assert peak < self.memory_bound_bytes
            key = stored[0].key
            info = store.stat(key)
            assert info is not None
            assert info.size_bytes == size

            def read(key: str = key) -> None:
                with store.open(key) as file:
                    while file.read(MIB):
                        pass

            for act in (read, partial(store.measure, key)):
                assert peak_bytes(act) < self.memory_bound_bytes
            assert store.get_range(key, size - 4, 4) == b"ECG-"
