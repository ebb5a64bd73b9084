"""The sealed form of an object: its layout, its sizes, its keys."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from teleread.errors import StorageError
from teleread.storage.objects import FileBlobs, SealedStore, raw_key, sealing
from teleread.storage.objects.reader import chunks_of
from teleread.storage.objects.sealing import CHUNK_BYTES, HEADER_BYTES, SEALED_CHUNK_BYTES
from teleread.storage.objects.streams import blocks, bytes_left
from tests.contract.keys import TestKeys
from tests.contract.object_store_contract import ObjectStoreContract
from tests.contract.stored_objects import Unseekable, pattern
from tests.prove.objects import damaged_objects

ROOT = hashlib.sha256(b"one").hexdigest()
INTAKE = (b"intake-1", bytes(range(32)))
RANDOM = bytes(range(100, 164))


def header_bytes() -> bytes:
    return sealing.make_header(sealing.new_data_key(ROOT, RANDOM), INTAKE, RANDOM[40:])


def counting(n: int) -> bytes:
    """Not random at all."""
    return bytes(range(n))


def test_the_stored_form_never_changes_unnoticed(tmp_path: Path) -> None:
    """Objects of every version are read by every later one."""
    store = SealedStore(FileBlobs(tmp_path), TestKeys(counting), random_bytes=counting)
    raw = store.put_raw(bytes(2 * CHUNK_BYTES + 1))
    store.put("derived/a", b"one", root=raw.sha256)
    stored = [store.blobs.get(info.key) for info in store.list()]
    assert [hashlib.sha256(one).hexdigest()[:16] for one in stored] == ["f6dd1693f1551221", "4e704b5e803eb08a"]


def test_the_header_is_laid_out_as_it_is_documented() -> None:
    packed = header_bytes()
    assert len(packed) == HEADER_BYTES == 128
    assert packed[:4] == b"TRS1"
    assert packed[4:36].hex() == ROOT
    assert packed[36:44] == b"intake-1"
    assert packed[44:52] == RANDOM[32:40]
    assert packed[52:64] == RANDOM[40:52]
    assert AESGCM(INTAKE[1]).decrypt(packed[52:64], packed[64:112], packed[:52]) == RANDOM[:32]
    assert packed[112:124] == RANDOM[52:64]
    header = sealing.unpack_header(packed, "a")
    assert (header.wrap_nonce, header.wrapped, header.salt) == (packed[52:64], packed[64:112], packed[112:])
    assert sealing.unwrap(header, INTAKE[1], "a") == sealing.new_data_key(ROOT, RANDOM)


@pytest.mark.parametrize(
    "packed",
    [b"", header_bytes()[:-1], bytes(128), b"TRS2" + header_bytes()[4:], header_bytes()[:-1] + b"\0"],
    ids=["nothing", "short", "zeros", "other version", "wrong check"],
)
def test_what_is_no_header_is_corrupt(packed: bytes) -> None:
    with pytest.raises(StorageError) as refused:
        sealing.unpack_header(packed, "a")
    assert refused.value.code == "object_corrupt"


def test_a_header_of_another_raw_object_is_corrupt() -> None:
    assert sealing.unpack_header(header_bytes(), raw_key(ROOT)).root_sha256 == ROOT
    with pytest.raises(StorageError) as refused:
        sealing.unpack_header(header_bytes(), raw_key("0" * 64))
    assert refused.value.code == "object_corrupt"


@pytest.mark.parametrize("field", ["root_sha256", "intake_id", "data_key_id", "wrap_nonce", "wrapped"])
def test_a_forged_header_with_a_right_check_opens_nothing(field: str) -> None:
    header = sealing.unpack_header(header_bytes(), "a")
    value = getattr(header, field)
    forged: Any = "f" * 64 if field == "root_sha256" else bytes(len(value))
    with pytest.raises(StorageError) as refused:
        sealing.unwrap(dataclasses.replace(header, **{field: forged}), INTAKE[1], "a")
    assert refused.value.code == "object_corrupt"


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.sampled_from(["a", "b/c"]))
def test_the_content_key_is_rfc_5869(data_key: bytes, salt: bytes, key: str) -> None:
    info = b"teleread object 1\0" + key.encode()
    expected = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt[:12], info=info).derive(data_key)
    assert sealing.content_key(data_key, salt, key) == expected


def test_all_raw_objects_share_a_scope_that_is_no_other_objects() -> None:
    keys = [raw_key(ROOT), raw_key("0" * 64), "raw/sha256/x", "raw/sha256", "a", "b"]
    found = [sealing.content_key(bytes(32), bytes(16), key) for key in keys]
    assert found[0] == found[1] == sealing.content_key(bytes(32), bytes(16), sealing.RAW_SCOPE)
    assert len(set(found)) == 5


@given(st.integers(0, 1 << 45))
def test_sizes_follow_from_each_other(size: int) -> None:
    assert sealing.plain_size(sealing.sealed_size(size)) == size


def test_exactly_the_sizes_that_objects_have_are_sizes() -> None:
    possible = {sealing.sealed_size(size): size for size in range(3 * CHUNK_BYTES)}
    for stored in range(sealing.sealed_size(3 * CHUNK_BYTES - 1) + 1):
        assert sealing.plain_size(stored) == possible.get(stored), stored


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_chunks_are_those_of_the_stream_construction(size: int) -> None:
    data = pattern(size)
    sealed = list(sealing.seal_chunks(data, bytes(32), first=0, ends=True))
    assert len(sealed) == max(1, -(-size // CHUNK_BYTES))
    for i, chunk in enumerate(sealed):
        nonce = i.to_bytes(11, "big") + bytes([i == len(sealed) - 1])
        assert AESGCM(bytes(32)).decrypt(nonce, chunk, None) == data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]
    assert b"".join(chunks_of(io.BytesIO(b"".join(sealed)), bytes(32), "a")) == data
    assert b"".join(chunks_of(Unseekable(b"".join(sealed)), bytes(32), "a")) == data  # type: ignore[arg-type]


def test_an_empty_last_chunk_after_others_is_none_of_ours() -> None:
    full = AESGCM(bytes(32)).encrypt(bytes(12), bytes(CHUNK_BYTES), None)
    empty = AESGCM(bytes(32)).encrypt((1).to_bytes(11, "big") + b"\1", b"", None)
    with pytest.raises(StorageError) as refused:
        list(sealing.open_chunks(full + empty, bytes(32), "a", first=0, ends=True))
    assert refused.value.code == "object_corrupt"
    assert len(full) == SEALED_CHUNK_BYTES


@given(st.binary(max_size=50), st.integers(1, 12), st.integers(1, 12))
def test_blocks_are_full_but_the_last(data: bytes, size: int, piece: int) -> None:
    class Trickling(Unseekable):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(memoryview(buffer)[:piece])

    for source in (io.BytesIO(data), Trickling(data)):
        found = list(blocks(source, size))  # type: ignore[arg-type]
        assert b"".join(block for block, _ in found) == data
        assert [ends for _, ends in found] == [False] * (len(found) - 1) + [True]
        assert all(len(block) == size for block, _ in found[:-1])
        assert found[-1][0] or not data


def test_what_is_left_of_a_stream_is_counted_where_it_can_be() -> None:
    source = io.BytesIO(b"0123456789")
    source.seek(4)
    assert bytes_left(source) == 6
    assert source.read() == b"456789"
    assert bytes_left(Unseekable(b"one")) is None  # type: ignore[arg-type]


def test_no_random_bytes_are_used_twice(tmp_path: Path) -> None:
    """A header that stands in for one still unknown must not be wrapped with the same nonce."""
    seen: list[bytes] = []
    store = SealedStore(FileBlobs(tmp_path), TestKeys())

    def watched(data_key: object, taken: tuple[bytes, bytes], random: bytes) -> bytes:
        seen.append(random)
        return sealing.make_header(data_key, taken, random)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("teleread.storage.objects.sealed.make_header", watched)
        for form in (b"one", io.BytesIO(pattern(700_000)), Unseekable(pattern(700_001))):
            store.put_raw(form)  # type: ignore[arg-type]
    assert len(set(seen)) == len(seen) == 3


# broken twins: what the contract must catch


def unnumbered(number: int, is_last: bool) -> bytes:
    return bytes([is_last]).rjust(12, b"\0")


def endless(number: int, is_last: bool) -> bytes:
    return (number << 8).to_bytes(12, "big")


@pytest.mark.parametrize("nonce", [unnumbered, endless])
def test_the_contract_catches_chunks_that_do_not_know_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonce: Callable[[int, bool], bytes]
) -> None:
    monkeypatch.setattr(sealing, "_nonce", nonce)
    blobs = FileBlobs(tmp_path)
    with pytest.raises(AssertionError, match="'read'"):
        ObjectStoreContract().test_what_is_cut_moved_or_added_is_found(
            SealedStore(blobs, TestKeys()), blobs, 3 * CHUNK_BYTES
        )


def test_the_contract_catches_objects_that_do_not_know_their_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unbound(data_key: bytes, salt: bytes, _: str) -> bytes:
        return sealing.content_key(data_key, salt, "")

    monkeypatch.setattr("teleread.storage.objects.sealed.content_key", unbound)
    blobs = FileBlobs(tmp_path)
    with pytest.raises(AssertionError, match="'read'"):
        ObjectStoreContract().test_an_object_in_the_place_of_another_is_found(SealedStore(blobs, TestKeys()), blobs)


def test_the_contract_catches_a_header_without_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unchecked:
        @staticmethod
        def crc32(_: bytes) -> int:
            return 0

    monkeypatch.setattr(sealing, "zlib", Unchecked)
    blobs = FileBlobs(tmp_path)
    contract = ObjectStoreContract()
    contract.flips = 400
    with pytest.raises(AssertionError, match="object_key_missing"):
        contract.test_every_flipped_bit_is_found(SealedStore(blobs, TestKeys()), blobs)


def test_the_contract_catches_a_store_that_seals_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(data: bytes, _: bytes, *, first: int, ends: bool) -> list[bytes]:
        return [bytes(data) + bytes(16)]

    monkeypatch.setattr("teleread.storage.objects.sealed.seal_chunks", plain)
    blobs = FileBlobs(tmp_path)
    with pytest.raises(AssertionError):
        ObjectStoreContract().test_nothing_of_the_plaintext_is_stored(SealedStore(blobs, TestKeys()), blobs)


def test_damaged_objects_are_never_given_out() -> None:
    with damaged_objects() as prove:
        for number in range(60):
            prove(number)


@pytest.mark.parametrize("nonce", [unnumbered, endless])
def test_the_proof_catches_chunks_that_do_not_know_their_place(
    monkeypatch: pytest.MonkeyPatch, nonce: Callable[[int, bool], bytes]
) -> None:
    monkeypatch.setattr(sealing, "_nonce", nonce)
    with damaged_objects() as prove:

        def prove_all() -> None:
            for number in range(400):
                prove(number)

        with pytest.raises(AssertionError, match="'read'"):
            prove_all()
