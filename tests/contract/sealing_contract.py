"""What holds because objects are sealed: nothing can be read, moved or changed without being noticed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import Blobs, DataKey, SealedStore, get_raw
from teleread.storage.objects.sealing import CHUNK_BYTES, HEADER_BYTES, sealed_size
from tests.contract.keys import TestKeys
from tests.contract.stored_objects import StoreFixtures, Unseekable, damages, forge, outcomes, pattern, readings, says


class SealingContract(StoreFixtures):
    """Part of what every object store must do."""

    flips: int | None = 40  # bits to turn over in each part of an object; None: all of them in a small one

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
