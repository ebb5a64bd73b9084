"""Content addresses and store URLs."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleread.errors import Misconfigured, StorageError
from teleread.storage.objects import (
    FileBlobs,
    SealedStore,
    check_key,
    check_raw,
    get_raw,
    open_store,
    put_raw,
    raw_key,
    raw_root,
)
from tests.contract.keys import TestKeys
from tests.contract.stored_objects import Trickle


@pytest.fixture
def store(tmp_path: Path) -> SealedStore:
    return SealedStore(FileBlobs(tmp_path / "objects"), TestKeys())


def test_raw_bytes_lie_at_their_own_hash(store: SealedStore) -> None:
    data = b"leads" * 1000
    digest = hashlib.sha256(data).hexdigest()
    for form in (data, io.BytesIO(data)):
        stored = put_raw(store, form)
        assert stored.key == f"raw/sha256/{digest[:2]}/{digest[2:4]}/{digest}"
        assert (stored.sha256, stored.size_bytes) == (digest, len(data))
    assert [info.key for info in store.list()] == [stored.key]
    assert get_raw(store, digest) == data
    assert check_raw(store, digest) == len(data)


def test_a_stream_that_cannot_be_rewound_lies_at_its_hash_too(store: SealedStore) -> None:
    stored = put_raw(store, Trickle(10_000_000))  # type: ignore[arg-type]
    assert get_raw(store, stored.sha256) == b"ECG-" * 2_500_000


def test_bytes_that_are_not_those_of_the_hash_are_never_given_out(store: SealedStore) -> None:
    """The seal says that we wrote them; the hash says that they are the ones."""

    class Lying(SealedStore):
        def get(self, key: str) -> bytes:
            return super().get(key) + b"x"

        def measure(self, key: str) -> tuple[str, int]:
            return hashlib.sha256(b"x").hexdigest(), 1

    sha256 = put_raw(store, b"one").sha256
    lying = Lying(store.blobs, store._keys)
    for read in (get_raw, check_raw):
        with pytest.raises(StorageError) as found:
            read(lying, sha256)
        assert found.value.code == "object_corrupt"


def test_raw_bytes_that_are_absent_are_missing(store: SealedStore) -> None:
    with pytest.raises(StorageError) as failed:
        get_raw(store, "0" * 64)
    assert failed.value.code == "object_missing"


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
def test_what_is_no_hash_is_refused(digest: str) -> None:
    with pytest.raises(StorageError) as refused:
        raw_key(digest)
    assert refused.value.code == "bad_key"


def test_a_raw_key_names_its_root_and_no_other_key_does() -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    assert raw_root(raw_key(digest)) == digest
    for key in (f"raw/sha256/00/00/{digest}", f"raw/sha256/{digest}", "raw/sha256/ab/cd/first", f"x{raw_key(digest)}"):
        assert raw_root(key) is None


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_accepted_key_leaves_its_folder(key: str) -> None:
    try:
        check_key(key)
    except StorageError:
        return
    root = Path("/store")
    assert (root / key).resolve().is_relative_to(root)
    assert str(Path(key)) == key


@pytest.mark.parametrize(
    "url",
    [
        "",
        "objects",
        "file://host/path",
        "file:///",
        "ftp://host/bucket",
        "s3://host/bucket",
        "s3://key:secret@host",
        "s3://key:secret@host/",
        "s3://key:secret@host/bucket/deeper",
        "s3://key@host/bucket",
        "s3://k:s@host:x/bucket",
        "s3://key:secret@host/bucket?secure=maybe",
        "s3://key:secret@host/bucket?endpoint=x",
        "s3://[/bucket",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        open_store(url, TestKeys())
    assert refused.value.code == "bad_store_url"
    assert "secret@" not in str(refused.value).replace("key:secret@host:port", "")


def test_a_file_url_names_its_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/with%20space", TestKeys())
    assert isinstance(store, SealedStore)
    assert isinstance(store.blobs, FileBlobs)
    assert store.blobs.root == tmp_path / "with space"
    assert get_raw(store, put_raw(store, b"one").sha256) == b"one"
