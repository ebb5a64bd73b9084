"""Files of a backup whose content only the two halves open, written and read in constant memory.

A file is a row of pieces, each sealed to the recovery key by itself: four bytes of length, then the sealed bytes.
Inside, each piece begins with its number and says whether it is the last, so that pieces that were left out,
repeated or exchanged are found.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from teleread.errors import StorageError
from teleread.storage.objects.streams import os_failure

Seal = Callable[[bytes], bytes]
Unseal = Callable[[bytes], bytes]

_PIECE_BYTES = 1 << 20
_LONGEST_PIECE = 16 << 20
_LENGTH = struct.Struct(">I")
_INSIDE = struct.Struct(">Q?")


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is durable.

    Args:
        name: inside its backup's folder.
        sha256: of the file as it lies there, hexadecimal.
        size_bytes: of the file.
    """

    name: str
    sha256: str
    size_bytes: int


class SealedFile:
    """A file of compressed lines, sealed piece by piece; :meth:`close` makes it durable.

    Args:
        path: must not exist.
        seal: seals one piece to the recovery key.

    Raises:
        StorageError: here and from every method: ``store_full``, ``store_io``.
    """

    def __init__(self, path: Path, seal: Seal) -> None:
        self._path = path
        self._seal = seal
        self._compress = zlib.compressobj(6, zlib.DEFLATED, 31)
        self._waiting = bytearray()
        self._pieces = 0
        self._size = 0
        self._digest = hashlib.sha256()
        try:
            self._file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        except OSError as error:
            raise os_failure(error) from error

    def __enter__(self) -> SealedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: bytes) -> None:
        """Add bytes at the end."""
        self._waiting += self._compress.compress(line)
        while len(self._waiting) >= _PIECE_BYTES:
            piece = bytes(self._waiting[:_PIECE_BYTES])
            del self._waiting[:_PIECE_BYTES]
            self._put(piece, last=False)

    def close(self) -> Written:
        """Write what is left, sync and close."""
        self._waiting += self._compress.flush()
        self._put(bytes(self._waiting), last=True)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise os_failure(error) from error
        return Written(self._path.name, self._digest.hexdigest(), self._size)

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._seal(_INSIDE.pack(self._pieces, last) + piece)
        self._pieces += 1
        framed = _LENGTH.pack(len(sealed)) + sealed
        self._digest.update(framed)
        self._size += len(framed)
        try:
            self._file.write(framed)
        except OSError as error:
            raise os_failure(error) from error


def sealed_lines(path: Path, unseal: Unseal) -> Iterator[bytes]:
    """The lines of such a file, without their ends.

    Raises:
        StorageError: ``backup_corrupt`` when the file is not what was written.
    """
    inflate = zlib.decompressobj(31)
    rest = b""
    try:
        for piece in _pieces(path, unseal):
            *lines, rest = (rest + inflate.decompress(piece)).split(b"\n")
            yield from lines
    except zlib.error as error:
        raise corrupt(path) from error
    if rest or not inflate.eof:
        raise corrupt(path)


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size of a file, read in constant memory.

    Raises:
        StorageError: ``backup_corrupt`` when there is none, ``store_io``.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
            return found.hexdigest(), file.tell()
    except FileNotFoundError as error:
        raise corrupt(path) from error
    except OSError as error:
        raise os_failure(error) from error


def corrupt(path: Path) -> StorageError:
    """The error for a file of a backup that is not what was written."""
    return StorageError("backup_corrupt", f"The backup's file {path.name} is missing or is not what was written.")


def _pieces(path: Path, unseal: Unseal) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            expected, last = 0, False
            while not last:
                inside = unseal(_framed(file, path))
                if len(inside) < _INSIDE.size:
                    raise corrupt(path)
                number, last = _INSIDE.unpack_from(inside)
                if number != expected:
                    raise corrupt(path)
                expected += 1
                yield inside[_INSIDE.size :]
            if file.read(1):
                raise corrupt(path)
    except FileNotFoundError as error:
        raise corrupt(path) from error
    except OSError as error:
        raise os_failure(error) from error


def _framed(file: BinaryIO, path: Path) -> bytes:
    head = file.read(_LENGTH.size)
    if len(head) != _LENGTH.size:
        raise corrupt(path)
    (length,) = _LENGTH.unpack(head)
    if length > _LONGEST_PIECE:
        raise corrupt(path)
    sealed = file.read(length)
    if len(sealed) != length:
        raise corrupt(path)
    return sealed
