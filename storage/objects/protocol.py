"""What stores of objects promise, and which keys they take.

Two layers. *Blobs* keep sealed bytes by key on a disk or in a bucket and understand nothing of them. The *object
store* is what everybody else uses: it takes and gives plaintext, and seals on the way.

An object is written once and never changed. No key is a folder of another: where ``a/b`` is an object, ``a`` is
none. Keys hold hashes, versions and fixed names, never a name, a UID or a patient, so they may be logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

from teleread.errors import StorageError

_KEY = re.compile(r"[a-z0-9][a-z0-9._/-]{0,199}")
_PREFIX = re.compile(r"([a-z0-9][a-z0-9._/-]{0,199})?")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without reading it.

    Args:
        key: where it lies.
        size_bytes: of the sealed bytes where blobs say it, of the plaintext where the object store does.
        written_at: aware, UTC, by the clock of the disk or the server.
    """

    key: str
    size_bytes: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key that seals a raw object and all that is derived from it.

    Args:
        root_sha256: of the raw object's plaintext, 64 lower-case hexadecimal digits.
        id: 8 random bytes; the same bytes stored anew after a deletion have another key with another id.
        key: 32 bytes. Whoever has them can read the objects, so they are never shown.
    """

    root_sha256: str
    id: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the sealed bytes of every object; nothing in it is secret or personal.

    Args:
        root_sha256: of the plaintext of the raw object that this one is or is derived from.
        intake_id: which intake key wraps the data key here, 8 bytes.
        data_key_id: 8 bytes.
        wrap_nonce: 12 bytes.
        wrapped: the data key under the intake key, 48 bytes.
        salt: 16 bytes: 12 random ones, with which the data key gives the key of this object's bytes, and a CRC-32 of
            the header before it.
    """

    root_sha256: str
    intake_id: bytes
    data_key_id: bytes
    wrap_nonce: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durable and whole.

    Args:
        key: where it lies.
        sha256: of its plaintext, 64 lower-case hexadecimal digits, computed while it was taken in.
        size_bytes: number of bytes of the plaintext.
        root_sha256: of the raw object that it is or is derived from; its own for anything else.
        intake_key: id of the intake key that wraps its data key, 16 hexadecimal digits.
    """

    key: str
    sha256: str
    size_bytes: int
    root_sha256: str
    intake_key: str


class Draft(Protocol):
    """Bytes of one object on their way. Nothing of them is visible before they are published."""

    def write(self, piece: bytes) -> None:
        """Add bytes at the end. Raises ``StorageError``: ``store_full``, ``store_io``; ``PeerError``."""
        ...

    def rewrite_start(self, piece: bytes) -> None:
        """Replace the first bytes, which were written in the first piece and are as many."""
        ...

    def publish(self, key: str) -> bool:
        """Make the bytes the object at the key; at most once for each draft.

        Returns:
            True when they are durable and whole there. False when the key holds an object already, durable too and
            left as it is.

        Raises:
            StorageError: ``bad_key``, ``store_full``, ``store_io``, ``object_corrupt`` (not what was written).
            PeerError: a remote store did not answer; the object is whole or absent.
        """
        ...


class Blobs(Protocol):
    """Bytes by key, created once; they are sealed already and are kept as they are.

    Every method raises ``StorageError("bad_key")`` for a key that :func:`check_key` refuses, ``StorageError`` when
    the store cannot keep its promise and ``PeerError`` when a remote one does not answer. Safe to use from several
    threads, and in a process forked from one that used them.
    """

    def draft(self, size_hint: int | None = None) -> AbstractContextManager[Draft]:
        """A new draft; what was not published is gone when the block ends.

        Args:
            size_hint: about how many bytes will come, where known; never trusted.
        """
        ...

    def get(self, key: str) -> bytes:
        """All bytes. Raises ``StorageError("object_missing")``."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The bytes as a stream to be read forwards and closed; it may be seekable.

        Raises ``StorageError("object_missing")``.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length``, fewer where the object ends before, none behind its end.

        Raises:
            StorageError: ``object_missing``; ``bad_range`` for a negative number.
        """
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and age of the object; None when there is none."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose keys start with the prefix (a string, not a folder) and come after a key, ascending by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""
        ...

    def close(self) -> None:
        """Give back connections; the blobs are not used afterwards."""
        ...


class ObjectKeys(Protocol):
    """Where the keys come from that wrap the data keys. Safe to use from several threads and forked processes."""

    def intake(self) -> tuple[bytes, bytes]:
        """Id (8 bytes) and key (32 bytes) that wrap the data keys of what is stored now."""
        ...

    def intake_key(self, key_id: bytes) -> bytes | None:
        """The key with this id; None when it was retired."""
        ...

    def recover(self, root_sha256: str, data_key_id: bytes) -> bytes | None:
        """The data key, from where it is kept for good; None when nobody holds it (any more)."""
        ...


class ObjectStore(Protocol):
    """Objects by key, created once; plaintext in, plaintext out, sealed wherever they lie.

    Every method raises ``StorageError("bad_key")`` for a key that :func:`check_key` refuses, ``StorageError`` when
    the store cannot keep its promise and ``PeerError`` when a remote store does not answer. Whatever reads raises
    ``StorageError``: ``object_missing``; ``object_corrupt`` for bytes that are not the ones that were stored under
    this key; ``object_key_missing`` where nobody holds the key to them. Stores are safe to use from several
    threads, and in a process forked from one that used them.
    """

    @property
    def blobs(self) -> Blobs:
        """What holds the sealed bytes: for backups, which copy them as they are, and for the sweeper."""
        ...

    def put(self, key: str, data: bytes | BinaryIO, *, root: str | None = None) -> StoredObject:
        """Keep the bytes under the key; durable and whole when this returns, absent when it raises.

        The same bytes again change nothing and give what is there. A stream is read once, from where it stands to
        its end, in constant memory.

        Args:
            key: a key that :func:`check_key` takes. One of a raw object must be that of these very bytes.
            data: all the bytes, or a stream of them.
            root: SHA-256 of the stored raw object that this one is derived from; both are then lost together with
                one data key. None: the object stands for itself.

        Raises:
            StorageError: ``object_exists`` (the key holds other bytes), ``store_full``, ``store_io``;
                ``object_missing`` or ``object_key_missing`` for a root that is not there or cannot be read.
        """
        ...

    def put_raw(self, data: bytes | BinaryIO) -> StoredObject:
        """Keep the bytes at their own hash; otherwise as :meth:`put`.

        Raises:
            StorageError: also ``object_corrupt`` when the object at this hash has rotted; these bytes are not kept.
        """
        ...

    def get(self, key: str) -> bytes:
        """All bytes, each of them authenticated."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The bytes as a stream to be closed; each byte is authenticated before it is given out.

        It can be rewound where the blobs' own can. That nothing was cut off the end is known only at the end.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length``, fewer where the object ends before, none behind its end.

        Raises:
            StorageError: also ``bad_range`` for a negative number.
        """
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and age of the object without reading it; None when there is none."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key holds an object, whole or not."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose keys start with the prefix (a string, not a folder) and come after a key, ascending by key.

        The size is -1 where the sealed bytes are too few to be an object; to read it raises ``object_corrupt``.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""
        ...

    def header(self, key: str) -> Header:
        """What stands before the object, read without any key; checked against chance, not against malice."""
        ...

    def data_key(self, root_sha256: str) -> DataKey:
        """The key of a stored raw object, from its header by the intake key, or recovered."""
        ...

    def measure(self, key: str) -> tuple[str, int]:
        """SHA-256 (hexadecimal) and size in bytes of the plaintext, read through in constant memory."""
        ...

    def close(self) -> None:
        """Close the blobs."""
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


KEYS_SILENT = frozenset({"vault_unreachable", "vault_busy", "vault_unmigrated", "vault_io"})
"""Codes of :meth:`ObjectKeys.recover`: whoever keeps the keys does not answer now; it says nothing of the object."""


def missing(key: str) -> StorageError:
    """The error for a key that holds nothing."""
    return StorageError("object_missing", f"there is no object {key}")


def other_bytes(key: str) -> StorageError:
    """The error for a key that already holds something else."""
    return StorageError("object_exists", f"object {key} exists with other bytes")


def corrupt(key: str) -> StorageError:
    """The error for bytes that are not what was stored."""
    return StorageError("object_corrupt", f"object {key} is not what was stored")


def key_missing(key: str) -> StorageError:
    """The error for an object whose data key nobody holds."""
    return StorageError("object_key_missing", f"nobody holds the key to object {key}")
