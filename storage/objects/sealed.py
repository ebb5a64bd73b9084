"""The object store: plaintext above, sealed bytes below.

Plaintext never reaches the blobs. Data keys are not kept: each is unwrapped or recovered when it is needed, so that
what the vault forgets cannot be read from that moment on; what is kept of raw objects are their headers, which are
no secret.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.protocol import (
    KEYS_SILENT,
    Blobs,
    DataKey,
    Header,
    ObjectInfo,
    ObjectKeys,
    StoredObject,
    check_key,
    check_range,
    corrupt,
    key_missing,
    missing,
    other_bytes,
)
from teleread.storage.objects.raw import raw_key, raw_root
from teleread.storage.objects.reader import SealedReader, chunks_of
from teleread.storage.objects.sealing import (
    CHUNK_BYTES,
    HEADER_BYTES,
    RANDOM_FOR_HEADER,
    RANDOM_FOR_KEY,
    RANDOM_FOR_SALT,
    RAW_SCOPE,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    content_key,
    make_header,
    new_data_key,
    open_chunks,
    plain_size,
    seal_chunks,
    sealed_size,
    unpack_header,
    unwrap,
)
from teleread.storage.objects.streams import blocks, bytes_left, read_full

_BLOCK_BYTES = 4 * CHUNK_BYTES
_SMALL_BYTES = HEADER_BYTES + SEALED_CHUNK_BYTES + 1  # fewer are the whole object, in one chunk
_HEADERS = 4096
_ENDLESS = 1 << 50


class SealedStore:
    """See :class:`ObjectStore`.

    Args:
        blobs: where the sealed bytes lie.
        keys: where the keys come from.
        random_bytes: that many unpredictable bytes.
    """

    def __init__(self, blobs: Blobs, keys: ObjectKeys, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.blobs = blobs
        self._keys = keys
        self._random_bytes = random_bytes
        # Headers of raw objects by root. A dictionary's single operations need no lock, which a fork could inherit
        # held. Another process may delete an object and store it anew under another data key: whoever derives
        # something has read the raw object just before, and each reading renews the header.
        self._headers: dict[str, Header] = {}

    def put(self, key: str, data: bytes | BinaryIO, *, root: str | None = None) -> StoredObject:
        """See :meth:`ObjectStore.put`."""
        own = raw_root(check_key(key))
        if own is not None and root not in (None, own):
            raise StorageError("bad_key", "a raw object stands for itself")
        return self._put(key, data, None if own else root)

    def put_raw(self, data: bytes | BinaryIO) -> StoredObject:
        """See :meth:`ObjectStore.put_raw`."""
        return self._put(None, data, None)

    def get(self, key: str) -> bytes:
        """See :meth:`ObjectStore.get`."""
        stored = self.blobs.get(key)
        content = self._content_key(key, self._seen(key, stored))
        return b"".join(open_chunks(memoryview(stored)[HEADER_BYTES:], content, key, first=0, ends=True))

    def open(self, key: str) -> BinaryIO:
        """See :meth:`ObjectStore.open`."""
        file, content = self._opened(key)
        return io.BufferedReader(SealedReader(file, content, key), CHUNK_BYTES)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See :meth:`ObjectStore.get_range`; header and first chunk come in one request, others in a second."""
        check_range(start, length)
        length = min(length, _ENDLESS)  # no store is as large, and some servers fail on larger numbers
        first, skip = divmod(start, CHUNK_BYTES)
        if start > _ENDLESS or length == 0:
            self._check_end(key)
            return b""
        # one byte more than the chunks wanted says whether the object ends with them
        wanted = (-(-(skip + length) // CHUNK_BYTES)) * SEALED_CHUNK_BYTES
        if first == 0:
            stored = self.blobs.get_range(key, 0, HEADER_BYTES + wanted + 1)
            content = self._content_key(key, self._seen(key, stored))
            sealed = memoryview(stored)[HEADER_BYTES:]
        else:
            content = self._content_key(key, self.header(key))
            at = HEADER_BYTES + first * SEALED_CHUNK_BYTES
            sealed = memoryview(self.blobs.get_range(key, at, wanted + 1))
            if not sealed:
                self._check_end(key)
                return b""
        ends = len(sealed) <= wanted
        data = b"".join(open_chunks(sealed[:wanted], content, key, first=first, ends=ends))
        return data if skip == 0 and len(data) <= length else data[skip : skip + length]

    def stat(self, key: str) -> ObjectInfo | None:
        """See :meth:`ObjectStore.stat`.

        Raises:
            StorageError: also ``object_corrupt`` where the sealed bytes are too few to be an object.
        """
        found = self.blobs.stat(key)
        if found is None:
            return None
        size = plain_size(found.size_bytes)
        if size is None:
            raise corrupt(key)
        return replace(found, size_bytes=size)

    def exists(self, key: str) -> bool:
        """See :meth:`ObjectStore.exists`."""
        return self.blobs.stat(key) is not None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`."""
        for found in self.blobs.list(prefix, after=after):
            size = plain_size(found.size_bytes)
            yield replace(found, size_bytes=-1 if size is None else size)

    def delete(self, key: str) -> None:
        """See :meth:`ObjectStore.delete`."""
        self.blobs.delete(key)
        self._headers.pop(raw_root(key) or "", None)

    def header(self, key: str) -> Header:
        """See :meth:`ObjectStore.header`."""
        return self._seen(key, self.blobs.get_range(key, 0, HEADER_BYTES))

    def data_key(self, root_sha256: str) -> DataKey:
        """See :meth:`ObjectStore.data_key`."""
        key = raw_key(root_sha256)
        return self._data_key(key, self._headers.get(root_sha256) or self.header(key))

    def measure(self, key: str) -> tuple[str, int]:
        """See :meth:`ObjectStore.measure`."""
        digest, size = hashlib.sha256(), 0
        with self.blobs.open(key) as file:
            start = read_full(file, _SMALL_BYTES)
            content = self._content_key(key, self._seen(key, start))
            sealed = memoryview(start)[HEADER_BYTES:]
            if len(start) < _SMALL_BYTES:
                chunks = open_chunks(sealed, content, key, first=0, ends=True)
            else:
                chunks = chunks_of(file, content, key, begun=sealed)
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
        return digest.hexdigest(), size

    def close(self) -> None:
        """See :meth:`ObjectStore.close`."""
        self.blobs.close()

    def _put(self, key: str | None, data: bytes | BinaryIO, root: str | None) -> StoredObject:
        """Seal in one pass; without a key, at the hash of the bytes."""
        source, size_hint = _source(data)
        block, at_once = next(source)
        digest, size = hashlib.sha256(block), 0
        random = self._random_bytes(RANDOM_FOR_KEY + RANDOM_FOR_HEADER)
        data_key = new_data_key(digest.hexdigest(), random) if root is None else self.data_key(root)
        content = content_key(data_key.key, random[-RANDOM_FOR_SALT:], key or RAW_SCOPE)

        def make(data_key: DataKey) -> bytes:
            return make_header(data_key, self._keys.intake(), random[RANDOM_FOR_KEY:])

        # A header is made once. Where more is to come it is made at the end: then the hash is known, and the intake
        # key is the present one however long the stream took.
        packed = make(data_key) if at_once else bytes(HEADER_BYTES)
        with self.blobs.draft(size_hint) as draft:
            start = packed
            for chunk in _sealed(block, at_once, source, digest, content):
                draft.write(start + chunk)
                start = b""
                size += len(chunk) - TAG_BYTES
            sha256 = digest.hexdigest()
            final = raw_key(sha256) if key is None else key
            if raw_root(final) not in (None, sha256):
                raise StorageError("bad_key", "a raw object lies at its own hash")
            if not at_once:
                packed = make(data_key if root is not None else replace(data_key, root_sha256=sha256))
                draft.rewrite_start(packed)
            new = draft.publish(final)
        if not new:
            return self._held(final, sha256, size)
        header = self._seen(final, packed)
        return StoredObject(final, sha256, size, header.root_sha256, header.intake_id.hex())

    def _held(self, key: str, sha256: str, size_bytes: int) -> StoredObject:
        """What the key holds already, where its plaintext is the same.

        The data key of a raw object may be in the vault alone, and bytes are to be landed while that does not answer.
        Then header and size decide, for raw objects only: the header, whose checksum holds, names the hash of the
        bytes that were just received, and as many bytes are stored. Rot behind the header is left to the scrub.
        """
        try:
            header = self.header(key)
            try:
                found = self.measure(key)
            except StorageError as error:
                if error.code not in KEYS_SILENT or header.root_sha256 != sha256 or raw_root(key) != sha256:
                    raise
                info = self.stat(key)
                found = sha256, -1 if info is None else info.size_bytes
        except StorageError as error:
            if error.code == "object_missing":
                raise StorageError("object_swept", "the object was removed while it was being written") from error
            raise
        if found == (sha256, size_bytes):
            return StoredObject(key, sha256, size_bytes, header.root_sha256, header.intake_id.hex())
        raise other_bytes(key) if raw_root(key) is None else corrupt(key)

    def _opened(self, key: str) -> tuple[BinaryIO, bytes]:
        """The object's sealed stream, standing behind the header, and its content key."""
        file = self.blobs.open(key)
        with ExitStack() as failing:
            failing.callback(file.close)
            content_key = self._content_key(key, self._seen(key, file.read(HEADER_BYTES)))
            failing.pop_all()
        return file, content_key

    def _seen(self, key: str, stored: bytes) -> Header:
        """The header at the start of the stored bytes, remembered where it is a raw object's."""
        header = unpack_header(stored, key)
        if raw_root(key) is not None:
            if len(self._headers) >= _HEADERS:
                self._headers.clear()
            self._headers[header.root_sha256] = header
        return header

    def _data_key(self, key: str, header: Header) -> DataKey:
        intake_key = self._keys.intake_key(header.intake_id)
        if intake_key is not None:
            return unwrap(header, intake_key, key)
        recovered = self._keys.recover(header.root_sha256, header.data_key_id)
        if recovered is None:
            raise key_missing(key)
        return DataKey(header.root_sha256, header.data_key_id, recovered)

    def _content_key(self, key: str, header: Header) -> bytes:
        return content_key(self._data_key(key, header).key, header.salt, key)

    def _check_end(self, key: str) -> None:
        """Raise unless the object ends with its last chunk: nothing was cut off."""
        found = self.blobs.stat(key)
        if found is None:
            raise missing(key)
        size = plain_size(found.size_bytes)
        if size is None:
            raise corrupt(key)
        content = self._content_key(key, self.header(key))
        last = max(0, size - 1) // CHUNK_BYTES
        sealed = self.blobs.get_range(key, HEADER_BYTES + last * SEALED_CHUNK_BYTES, SEALED_CHUNK_BYTES)
        for _ in open_chunks(sealed, content, key, first=last, ends=True):
            pass


def _source(data: bytes | BinaryIO) -> tuple[Iterator[tuple[bytes, bool]], int | None]:
    """The bytes in blocks, with whether nothing follows, and about how many will be stored."""
    if isinstance(data, bytes):
        return iter(((data, True),)), sealed_size(len(data))
    left = bytes_left(data)
    return blocks(data, _BLOCK_BYTES), None if left is None else sealed_size(left)


def _sealed(
    block: bytes, ends: bool, source: Iterator[tuple[bytes, bool]], digest: hashlib._Hash, content: bytes
) -> Iterator[bytes]:
    """Seal the block, which is in the digest, and what follows, which is added, chunk by chunk."""
    first = 0
    while True:
        yield from seal_chunks(block, content, first=first, ends=ends)
        if ends:
            return
        first += _BLOCK_BYTES // CHUNK_BYTES
        block, ends = next(source)
        digest.update(block)
