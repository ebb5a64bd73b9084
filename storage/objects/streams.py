"""Reading bytes once, in pieces or blocks, and naming what a disk says."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from teleread.errors import StorageError

_PIECE_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """What is left of the stream, in pieces of at most 1 MiB: for backups, which copy sealed bytes."""
    while piece := source.read(_PIECE_BYTES):
        yield piece


def blocks(source: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """What is left of the stream in blocks of this many bytes, and whether nothing follows the block.

    Only the last block may be shorter; it is empty only where nothing was left at all. One block is read ahead.
    Errors of the source are the caller's own and pass unchanged.
    """
    block = read_full(source, size)
    while len(block) == size and (ahead := read_full(source, size)):
        yield block, False
        block = ahead
    yield block, True


def read_full(source: BinaryIO, size: int) -> bytes:
    """So many bytes of the stream, fewer only at its end."""
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


def os_failure(error: OSError) -> StorageError:
    """The error that stands for one of the operating system's."""
    if error.errno in _FULL:
        return StorageError("store_full", "no space is left in the object store")
    return StorageError("store_io", "the object store could not read or write a file")
