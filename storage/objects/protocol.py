"""What every object store promises, and which keys it takes.

An object is written once and never changed. No key is a folder of another: where ``a/b`` is an object, ``a`` is none.
Keys hold hashes, versions and fixed names, never a name, a UID or a
patient, so they may be logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from teleread.errors import StorageError

_KEY = re.compile(r"[a-z0-9][a-z0-9._/-]{0,199}")
_PREFIX = re.compile(r"([a-z0-9][a-z0-9._/-]{0,199})?")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durable and whole.

    Args:
        key: where it lies.
        sha256: of its bytes, 64 lower-case hexadecimal digits, computed while they were taken in.
        size_bytes: their number.
    """

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int


class ObjectStore(Protocol):
    """Objects by key, created once.

    Every method raises ``StorageError("bad_key")`` for a key that :func:`check_key` refuses, ``StorageError`` when
    the store cannot keep its promise and ``PeerError`` when a remote store does not answer. Stores are safe to use
    from several threads.
    """

    def put(self, key: str, data: bytes | BinaryIO, *, size_hint: int | None = None) -> StoredObject:
        """Keep the bytes under the key; durable and whole when this returns, absent when it raises.

        The same bytes again change nothing. A stream is read from where it stands to its end, in constant memory.

        Args:
            key: a key that :func:`check_key` takes.
            data: all the bytes, or a stream of them.
            size_hint: about how many bytes a stream holds, where the caller knows; never trusted.

        Raises:
            StorageError: ``object_exists`` (the key holds other bytes), ``store_full``, ``store_io``.
        """
        ...

    def get(self, key: str) -> bytes:
        """All bytes, unverified. Raises ``StorageError("object_missing")``."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The bytes as a stream to be read forwards and closed. Raises ``StorageError("object_missing")``."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length``, fewer where the object ends before, none behind its end.

        Raises:
            StorageError: ``object_missing``; ``bad_range`` for a negative number.
        """
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Size of the object; None when there is none."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with the prefix (a string, not a folder), in ascending order."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""
        ...


def check_key(key: str) -> str:
    """Return the key, or raise ``StorageError("bad_key")``.

    Beyond its alphabet a key has no empty segment and none that starts with a dot, so that two keys never name one
    file and no key leaves the store's folder.
    """
    if _KEY.fullmatch(key) and all(part and not part.startswith(".") for part in key.split("/")) and ".." not in key:
        return key
    raise StorageError("bad_key", "the object key is not well formed")


def check_prefix(prefix: str) -> str:
    """Return the prefix, or raise ``StorageError("bad_key")`` where no key could start so."""
    if _PREFIX.fullmatch(prefix) and not any(sign in prefix for sign in ("..", "//", "/.")):
        return prefix
    raise StorageError("bad_key", "the prefix of object keys is not well formed")


def check_range(start: int, length: int) -> None:
    """Raise ``StorageError("bad_range")`` for a negative start or length."""
    if start < 0 or length < 0:
        raise StorageError("bad_range", "a range of bytes cannot be negative")


def missing(key: str) -> StorageError:
    """The error for a key that holds nothing."""
    return StorageError("object_missing", f"there is no object {key}")


def other_bytes(key: str) -> StorageError:
    """The error for a key that already holds something else."""
    return StorageError("object_exists", f"object {key} exists with other bytes")
