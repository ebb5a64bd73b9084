"""Bytes exactly as received, at an address made of their own hash.

Writing the same bytes again changes nothing on any server, and what is read can be verified without a catalogue.
"""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.protocol import ObjectStore, StoredObject
from teleread.storage.objects.streams import measure, rewindable

_SHA256 = re.compile(r"[0-9a-f]{64}")


def raw_key(sha256: str) -> str:
    """``raw/sha256/ab/cd/<hash>``. Raises ``StorageError("bad_key")`` when it is no hash."""
    if not _SHA256.fullmatch(sha256):
        raise StorageError("bad_key", "a SHA-256 has 64 hexadecimal digits")
    return f"raw/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def put_raw(store: ObjectStore, data: bytes | BinaryIO) -> StoredObject:
    """Keep the bytes at their own hash; durable when this returns. Errors as :meth:`ObjectStore.put`.

    Raises:
        StorageError: also ``object_corrupt`` when the store already holds other bytes at this hash: they have
            rotted, and these here are not kept.
    """
    with rewindable(data) as source:
        try:
            stored = store.put(raw_key(source.sha256), source.stream, size_hint=source.size_bytes)
        except StorageError as error:
            if error.code == "object_exists":
                raise StorageError("object_corrupt", f"object {raw_key(source.sha256)} has rotted") from error
            raise
        if stored.sha256 != source.sha256:
            store.delete(stored.key)
            raise StorageError("source_changed", "the bytes changed while they were being stored")
        return stored


def get_raw(store: ObjectStore, sha256: str) -> bytes:
    """The bytes with this hash, verified.

    Raises:
        StorageError: ``object_missing``; ``object_corrupt`` when the stored bytes have another hash.
    """
    data = store.get(raw_key(sha256))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _corrupt(sha256)
    return data


def check_raw(store: ObjectStore, sha256: str) -> int:
    """Read the object through in constant memory and return its size in bytes; errors as :func:`get_raw`."""
    with store.open(raw_key(sha256)) as file:
        found, size_bytes = measure(file)
    if found != sha256:
        raise _corrupt(sha256)
    return size_bytes


def _corrupt(sha256: str) -> StorageError:
    return StorageError("object_corrupt", f"object {raw_key(sha256)} is not what was stored")
