"""Reading bytes once, in pieces, and knowing their hash."""

from __future__ import annotations

import errno
import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from teleread.errors import StorageError

PIECE_BYTES = 1 << 20
_SPOOL_IN_MEMORY_BYTES = 8 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Rewindable:
    """A stream that stands at the first of its bytes, and what was found by reading it through once."""

    stream: BinaryIO
    sha256: str
    size_bytes: int


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """What is left of the stream, in pieces of at most 1 MiB."""
    while piece := source.read(PIECE_BYTES):
        yield piece


def blocks(source: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """What is left of the stream in blocks of this many bytes, and whether nothing follows the block.

    Only the last block may be shorter; it is empty only where nothing was left at all. One block is read ahead.
    Errors of the source are the caller's own and pass unchanged.
    """
    block = _full(source, size)
    while len(block) == size and (ahead := _full(source, size)):
        yield block, False
        block = ahead
    yield block, True


def _full(source: BinaryIO, size: int) -> bytes:
    piece = source.read(size)
    if len(piece) == size or not piece:
        return piece
    parts, left = [piece], size - len(piece)  # a raw stream gives what it has
    while left and (piece := source.read(left)):
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)


def read_into(source: BinaryIO, view: memoryview) -> int:
    """Fill the view from the stream; how many bytes there were, fewer only at its end."""
    filled = 0
    readable = cast("io.BufferedIOBase", source)  # what typing calls a BinaryIO cannot do this, what is one can
    while filled < len(view) and (count := readable.readinto(view[filled:])):
        filled += count
    return filled


def bytes_left(source: BinaryIO) -> int | None:
    """How many bytes are left in the stream, as far as it says; None where it cannot be rewound."""
    if not source.seekable():
        return None
    here = source.tell()
    end = source.seek(0, io.SEEK_END)
    source.seek(here)
    return end - here


def measure(source: BinaryIO) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and number of the bytes left in the stream."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces(source):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


@contextmanager
def rewindable(data: bytes | BinaryIO) -> Iterator[Rewindable]:
    """The bytes with their hash; a stream that cannot be rewound is copied to a temporary file first.

    Raises:
        StorageError: ``store_full`` or ``store_io`` when the temporary file cannot be written.
    """
    if isinstance(data, bytes):
        yield Rewindable(io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data))
        return
    if data.seekable():
        start = data.tell()
        sha256, size = measure(data)
        data.seek(start)
        yield Rewindable(data, sha256, size)
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY_BYTES) as spool:
        digest, size = hashlib.sha256(), 0
        for piece in pieces(data):
            digest.update(piece)
            size += len(piece)
            try:
                spool.write(piece)
            except OSError as error:
                raise os_failure(error) from error
        spool.seek(0)
        yield Rewindable(cast("BinaryIO", spool), digest.hexdigest(), size)


def os_failure(error: OSError) -> StorageError:
    """The error that stands for one of the operating system's."""
    if error.errno in _FULL:
        return StorageError("store_full", "no space is left in the object store")
    return StorageError("store_io", "the object store could not read or write a file")
