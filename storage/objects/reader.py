"""A sealed object as a stream of plaintext."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from teleread.storage.objects.protocol import corrupt
from teleread.storage.objects.sealing import (
    CHUNK_BYTES,
    HEADER_BYTES,
    SEALED_CHUNK_BYTES,
    open_chunks,
    plain_size,
)
from teleread.storage.objects.streams import read_into

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_AT_ONCE = 4  # chunks in one read


def chunks_of(
    file: BinaryIO, content: bytes, key: str, *, first: int = 0, begun: bytes | memoryview = b""
) -> Iterator[bytes]:
    """The plaintext of a sealed stream from the chunk on before which it stands, chunk by chunk.

    Args:
        file: the sealed stream.
        content: the content key.
        key: of the object, for errors.
        first: number of the chunk.
        begun: what was read of it already, no more than three chunks.

    Raises:
        StorageError: ``object_corrupt``.
    """
    # One byte more than the chunks says whether anything follows them; it stays for the next round. One buffer for
    # all, because a new one for each round costs as much as to open what is in it.
    buffer = bytearray(_AT_ONCE * SEALED_CHUNK_BYTES + 1)
    view, kept, ends = memoryview(buffer), len(begun), False
    view[:kept] = begun
    while not ends:
        filled = kept + read_into(file, view[kept:])
        ends = filled < len(buffer)
        yield from open_chunks(view[: filled if ends else -1], content, key, first=first, ends=ends)
        buffer[0], kept = buffer[-1], 1
        first += _AT_ONCE


class SealedReader(io.RawIOBase):
    """Plaintext of one object; it closes the sealed stream below it.

    Args:
        file: the sealed stream, standing behind the header.
        content: the object's content key.
        key: of the object, for errors.
    """

    def __init__(self, file: BinaryIO, content: bytes, key: str) -> None:
        super().__init__()
        self._file, self._content, self._key = file, content, key
        self._chunks = chunks_of(file, content, key)
        self._rest = memoryview(b"")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._rest and len(view):
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        n = min(len(view), len(self._rest))
        view[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        self._at += n
        return n

    def readall(self) -> bytes:
        data = b"".join((self._rest, *self._chunks))
        self._rest = memoryview(b"")
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        size = plain_size(self._file.seek(0, io.SEEK_END))
        if size is None:
            raise corrupt(self._key)
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence]
        if target < 0:
            raise ValueError("a negative position in an object")
        # behind the end there is nothing to read, but the last chunk still says whether it is the last
        first = min(target, max(0, size - 1)) // CHUNK_BYTES
        self._file.seek(HEADER_BYTES + first * SEALED_CHUNK_BYTES)
        self._chunks = chunks_of(self._file, self._content, self._key, first=first)
        self._rest = memoryview(next(self._chunks))[target - first * CHUNK_BYTES :]
        self._at = target
        return target

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
