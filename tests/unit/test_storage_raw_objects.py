"""Content addresses and store URLs."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleread.errors import Misconfigured, StorageError
from teleread.storage.objects import FileSystemStore, check_key, check_raw, get_raw, open_store, put_raw, raw_key
from tests.contract.object_store_contract import Trickle


@pytest.fixture
def store(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore(tmp_path / "objects")


def test_raw_bytes_lie_at_their_own_hash(store: FileSystemStore) -> None:
    data = b"leads" * 1000
    digest = hashlib.sha256(data).hexdigest()
    for form in (data, io.BytesIO(data)):
        stored = put_raw(store, form)
        assert stored.key == f"raw/sha256/{digest[:2]}/{digest[2:4]}/{digest}"
        assert (stored.sha256, stored.size_bytes) == (digest, len(data))
    assert list(store.list()) == [stored.key]
    assert get_raw(store, digest) == data
    assert check_raw(store, digest) == len(data)


def test_a_stream_that_cannot_be_rewound_lies_at_its_hash_too(store: FileSystemStore) -> None:
    stored = put_raw(store, Trickle(10_000_000))  # type: ignore[arg-type]
    assert get_raw(store, stored.sha256) == b"ECG-" * 2_500_000


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 7999))
def test_a_single_rotten_bit_is_always_found(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    store = FileSystemStore(tmp_path_factory.mktemp("objects"))
    data = bytes(1000)
    stored = put_raw(store, data)
    rotten = bytearray(data)
    rotten[bit // 8] ^= 1 << bit % 8
    (store.root / stored.key).write_bytes(rotten)
    for read in (get_raw, check_raw):
        with pytest.raises(StorageError) as found:
            read(store, stored.sha256)
        assert found.value.code == "object_corrupt"
    with pytest.raises(StorageError) as found:
        put_raw(store, data)
    assert found.value.code == "object_corrupt"


def test_raw_bytes_that_are_absent_are_missing(store: FileSystemStore) -> None:
    with pytest.raises(StorageError) as failed:
        get_raw(store, "0" * 64)
    assert failed.value.code == "object_missing"


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
def test_what_is_no_hash_is_refused(digest: str) -> None:
    with pytest.raises(StorageError) as refused:
        raw_key(digest)
    assert refused.value.code == "bad_key"


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
        open_store(url)
    assert refused.value.code == "bad_store_url"
    assert "secret@" not in str(refused.value).replace("key:secret@host:port", "")


def test_a_file_url_names_its_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/with%20space")
    assert isinstance(store, FileSystemStore)
    assert store.root == tmp_path / "with space"
