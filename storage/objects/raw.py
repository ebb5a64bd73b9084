"""Bytes exactly as received, at an address made of their own hash.

Writing the same bytes again changes nothing on any server, and what is read can be verified without a catalogue.
"""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.protocol import ObjectStore, StoredObject, corrupt

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RAW = re.compile(r"raw/sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")


def raw_key(sha256: str) -> str:
    """``raw/sha256/ab/cd/<hash>``. Raises ``StorageError("bad_key")`` when it is no hash."""
    if not _SHA256.fullmatch(sha256):
        raise StorageError("bad_key", "a SHA-256 has 64 hexadecimal digits")
    return f"raw/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def raw_root(key: str) -> str | None:
    """The hash that the key of a raw object is made of; None for every other key."""
    found = _RAW.fullmatch(key)
    return found[3] if found else None


def put_raw(store: ObjectStore, data: bytes | BinaryIO) -> StoredObject:
    """Keep the bytes at their own hash: :meth:`ObjectStore.put_raw`. A stream is read from where it stands."""
    return store.put_raw(data)


def rewound(data: bytes | BinaryIO) -> bytes | BinaryIO:
    """The same, to be read from its beginning."""
    if not isinstance(data, bytes):
        data.seek(0)
    return data


def get_raw(store: ObjectStore, sha256: str) -> bytes:
    """The bytes with this hash, verified.

    Raises:
        StorageError: ``object_missing``; ``object_corrupt`` when the stored bytes have another hash;
            ``object_key_missing`` when nobody holds the key to them.
    """
    key = raw_key(sha256)
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise corrupt(key)
    return data


def check_raw(store: ObjectStore, sha256: str) -> int:
    """Read the object through in constant memory and return its size in bytes; errors as :func:`get_raw`."""
    key = raw_key(sha256)
    found, size_bytes = store.measure(key)
    if found != sha256:
        raise corrupt(key)
    return size_bytes
