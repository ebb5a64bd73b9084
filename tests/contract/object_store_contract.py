"""What every object store must do; each kind of store has a test class that inherits from this one."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import (
    Blobs,
    Measured,
    ObjectStore,
    SealedStore,
    StoredObject,
    check_raw,
    get_raw,
    measure_batches,
    raw_key,
)
from teleread.storage.objects.sealing import CHUNK_BYTES, HEADER_BYTES
from tests.contract.keys import TestKeys
from tests.contract.sealing_contract import SealingContract
from tests.contract.stored_objects import (
    HOSTILE_KEYS,
    MIB,
    ROOT,
    Trickle,
    Unseekable,
    at_once,
    forge,
    pattern,
    peak_bytes,
    sha256,
)


class ObjectStoreContract(SealingContract):
    """Inherit, and provide a fixture ``blobs``."""

    memory_bound_bytes = 4 * MIB
    big_bytes = 64 * MIB

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
