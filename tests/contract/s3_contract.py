"""What the blobs in any S3 bucket must do beyond the contract of every store."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from teleread.errors import StorageError
from teleread.storage.objects import SealedStore
from teleread.storage.objects.creating import Creator
from teleread.storage.objects.listing import entries, uploads
from teleread.storage.objects.s3 import S3Blobs
from tests.contract.keys import TestKeys
from tests.contract.object_store_contract import ObjectStoreContract
from tests.contract.stored_objects import MIB, at_once, pattern

LARGE = 17 * MIB  # more than is kept in memory, and more than one part
_numbers = count(1)


def new_blobs(endpoint: str, access_key: str, secret_key: str) -> S3Blobs:
    """A bucket of its own, of whose server nothing is relied on yet."""
    blobs = S3Blobs(endpoint, f"bucket-{os.getpid()}-{next(_numbers)}", access_key, secret_key, secure=False)
    blobs.ensure_bucket()
    return blobs


def publish(blobs: S3Blobs, key: str, data: bytes) -> bool:
    """Create the object by a draft of pieces."""
    with blobs.draft() as draft:
        draft.write(bytes(len(data[:8])))
        for at in range(8, len(data), MIB):
            draft.write(data[at : min(at + MIB, len(data))])
        draft.rewrite_start(data[:8])
        return draft.publish(key)


class Torn(io.BytesIO):
    """A temporary file on a disk that fails behind its first 16 MiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 16 * MIB:
            raise OSError(errno.EIO, "the disk is broken")
        return super().read(size)


class S3Contract(ObjectStoreContract):
    """Inherit, and provide the fixtures ``new`` (makes blobs in a bucket of their own) and ``enforced``."""

    memory_bound_bytes = 40 * MIB  # a draft of 16 MiB while it grows

    @pytest.fixture
    def new(self) -> Callable[[], S3Blobs]:
        raise NotImplementedError

    @pytest.fixture
    def enforced(self) -> frozenset[str]:
        """What the server is relied on for."""
        raise NotImplementedError

    @pytest.fixture
    def blobs(self, new: Callable[[], S3Blobs], enforced: frozenset[str]) -> Iterator[S3Blobs]:
        made = new()
        made.rely_on(enforced)
        yield made
        made.close()

    @pytest.fixture(params=["as probed", "nothing relied on"])
    def either(self, request: Any, blobs: S3Blobs) -> S3Blobs:
        """By conditional requests where the server has them, and in parts."""
        if request.param == "nothing relied on":
            blobs.rely_on(())
        return blobs

    @pytest.mark.parametrize("size", [8, MIB, 16 * MIB, 16 * MIB + 1, LARGE])
    def test_a_draft_is_published_whole(self, either: S3Blobs, size: int) -> None:
        data = pattern(size)
        assert publish(either, "a/b", data)
        assert either.get("a/b") == data
        assert either.get_range("a/b", size - 7, 100) == data[-7:]
        assert list(uploads(either.wire)) == []

    @pytest.mark.parametrize("size", [100, LARGE])
    def test_a_published_object_stays_as_it_is(self, either: S3Blobs, size: int) -> None:
        first = pattern(size)
        assert publish(either, "a", first)
        for other in (first[::-1], first, pattern(20), pattern(LARGE + 1)):
            assert not publish(either, "a", other)
        assert either.get("a") == first
        assert list(uploads(either.wire)) == []

    @pytest.mark.parametrize("size", [100, LARGE])
    def test_of_drafts_at_once_exactly_one_is_published(self, either: S3Blobs, size: int) -> None:
        drafts = [bytes([i]) * size for i in range(4)]
        found = at_once(4, lambda i: publish(either, "a", drafts[i]))
        assert sorted(found) == [False, False, False, True]
        assert either.get("a") == drafts[found.index(True)]
        assert list(uploads(either.wire)) == []

    def test_what_is_not_published_is_not_there(self, blobs: S3Blobs) -> None:
        with blobs.draft(LARGE) as draft:
            draft.write(b"one")
        assert list(blobs.list()) == []

    def test_an_upload_that_fails_leaves_nothing(self, blobs: S3Blobs) -> None:
        creator = Creator(blobs.wire)
        with pytest.raises(StorageError) as failed:
            creator.create_large("a", Torn(bytes(LARGE)), LARGE)
        assert failed.value.code == "store_io"
        assert blobs.stat("a") is None
        assert list(uploads(blobs.wire)) == []

    def test_leftover_parts_are_swept_only_when_older_than_an_hour(self, blobs: S3Blobs) -> None:
        for key in ("a", "b/c"):
            blobs.wire.send("POST", key, query={"uploads": ""})
        begun = max(upload.begun_at for upload in uploads(blobs.wire))
        hour = timedelta(hours=1)
        assert blobs.sweep_temporaries(begun + timedelta(minutes=59) - hour) == 0
        assert len(list(uploads(blobs.wire))) == 2
        assert blobs.sweep_temporaries(begun + timedelta(minutes=61) - hour) == 2
        assert list(uploads(blobs.wire)) == []
        assert blobs.sweep_temporaries(begun + hour) == 0
        with pytest.raises(ValueError, match="naive"):
            blobs.sweep_temporaries(begun.replace(tzinfo=None))

    def test_a_listing_goes_on_page_by_page(self, blobs: S3Blobs) -> None:
        keys = sorted(f"{folder}/{i}" for folder in ("a", "b", "b-c") for i in range(4))
        for key in keys:
            assert publish(blobs, key, pattern(9))
        for page in (1, 2, 5, 1000):
            assert [info.key for info in entries(blobs.wire, "", "", page)] == keys
            assert [info.key for info in entries(blobs.wire, "b", "b/1", page)] == [
                key for key in keys if key.startswith("b") and key > "b/1"
            ]

    def test_a_bucket_may_be_made_again(self, blobs: S3Blobs) -> None:
        blobs.ensure_bucket()
        assert publish(blobs, "a", pattern(9))
        blobs.ensure_bucket()
        assert blobs.stat("a") is not None

    def test_a_wrong_secret_is_named_as_the_cause(self, blobs: S3Blobs) -> None:
        assert publish(blobs, "a", pattern(9))
        stranger = blobs.wire.with_secret("wrong")
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            with pytest.raises(StorageError) as failed:
                stranger.send(method, "a")
            assert failed.value.code == "store_access_denied"
        stranger.close()
        assert blobs.get("a") == pattern(9)

    def test_a_bucket_that_is_not_there_is_named_as_the_cause(self, blobs: S3Blobs) -> None:
        wire = blobs.wire.with_bucket("nobody-made-it")
        for method in ("GET", "PUT"):
            with pytest.raises(StorageError) as failed:
                wire.send(method, "a")
            assert failed.value.code == "bucket_missing"
        wire.close()

    def test_a_forked_child_shares_no_connections(self, blobs: S3Blobs) -> None:
        store = SealedStore(blobs, TestKeys())
        store.put("before", b"one")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for i in range(20):
                    store.put(f"child-{i}", bytes([i]) * 1000)
                    assert store.get("before") == b"one"
                code = 0
            finally:
                os._exit(code)
        for i in range(20):
            store.put(f"parent-{i}", bytes([i]) * 1000)
            assert store.get("before") == b"one"
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(store.list())) == 41
