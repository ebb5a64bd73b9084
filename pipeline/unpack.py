"""A ZIP of a whole study, taken apart: each recording or image in it becomes an arrival of its own.

Nothing is written under a name from the archive, and nothing is inflated before the archive's own directory has been
looked at in bounded memory.
"""

from __future__ import annotations

import os
import posixpath
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO

from teleread.errors import InputRejected
from teleread.ingest.formats import kind_of, missing_part, safe_name, safe_names, sniff
from teleread.ingest.formats.bundle import MAX_ENTRIES

MAX_MEMBERS = 20_000
MAX_DIRECTORY_BYTES = MAX_MEMBERS * 512
MAX_TOTAL_BYTES = 8 << 30
MAX_RATIO = 100

_SMALL = 64 << 10  # below this, a high ratio harms nobody
_HEAD_BYTES = 64 << 10
_SET_BYTES = 256 << 20  # of several files that are one recording
_SEARCH_BYTES = 65_557  # an archive's end lies in its last bytes
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Members:
    """What an archive holds, by the names of its members.

    Args:
        recordings: each a tuple of members that belong together: one, or a WFDB header and what it names.
        others: how many members hold no recording and no image.
    """

    recordings: tuple[tuple[str, ...], ...]
    others: int


@contextmanager
def opened(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive, after its directory was found to be harmless.

    Raises:
        InputRejected: ``bundle_broken``, ``bundle_too_many``, ``bundle_too_large``, ``bundle_ratio``,
            ``bundle_bad_name``, ``bundle_encrypted``.
    """
    size = _check_directory(file)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive.infolist(), size)
            yield archive
    except _BROKEN as error:
        raise InputRejected("bundle_broken", "The ZIP file is damaged, cut off or of an unsupported kind.") from error


def is_plain(archive: zipfile.ZipFile) -> bool:
    """Whether the archive could be the files of one recording as they are: few, and in no folder."""
    infos = archive.infolist()
    return len(infos) <= MAX_ENTRIES and all(safe_name(info.filename) for info in infos)


def look(archive: zipfile.ZipFile) -> Members:
    """Which members are recordings or images, told from the first bytes of each.

    Raises:
        InputRejected: ``bundle_broken``.
    """
    infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    headers: list[str] = []
    singles: list[str] = []
    others: list[str] = []
    for name in infos:
        with archive.open(name) as member:
            head = member.read(_HEAD_BYTES)
        if sniff(head) == "wfdb":
            headers.append(name)
        elif kind_of(head) != "unknown" and sniff(head) != "zip":
            singles.append(name)
        else:
            others.append(name)
    sets = [_wfdb_set(archive, name, infos) for name in headers]
    named = {name for members in sets for name in members}
    recordings = (*sets, *((name,) for name in singles if name not in named))
    return Members(recordings, sum(name not in named for name in others))


def _wfdb_set(archive: zipfile.ZipFile, header: str, infos: dict[str, zipfile.ZipInfo]) -> tuple[str, ...]:
    folder = posixpath.dirname(header)
    with archive.open(header) as member:
        files = {posixpath.basename(header): member.read(_HEAD_BYTES)}
    total = infos[header].file_size
    while (wanted := missing_part(files)) is not None:
        name = posixpath.join(folder, wanted)
        if name not in infos or total + infos[name].file_size > _SET_BYTES:
            break  # what is there is landed all the same; the reader says what is missing
        with archive.open(name) as member:
            files[wanted] = member.read(_HEAD_BYTES)  # enough to be seen as a header that names more
        total += infos[name].file_size
    return tuple(posixpath.join(folder, name) for name in files)


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """All bytes of a member that belongs to a set."""
    if archive.getinfo(name).file_size > _SET_BYTES:
        raise InputRejected("bundle_too_large", "A file of a recording in the ZIP file exceeds the size limit.")
    return archive.read(name)


def bundle_to(out: BinaryIO, parts: Mapping[str, Callable[[], IO[bytes]]], piece_bytes: int = 1 << 20) -> None:
    """Write what :func:`teleread.ingest.formats.bundle` makes of the same files, byte for byte, in constant memory.

    Args:
        parts: by name, each opened when its turn comes.

    Raises:
        InputRejected: ``bundle_broken``: a part comes from an archive and is damaged.
    """
    names = dict(zip(sorted(parts), safe_names(dict.fromkeys(parts, b"")), strict=True))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(parts, key=names.__getitem__):
            info = zipfile.ZipInfo(names[name], _FIXED_DATE)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o600) << 16
            try:
                with parts[name]() as source, archive.open(info, "w") as target:
                    while piece := source.read(piece_bytes):
                        target.write(piece)
            except _BROKEN as error:
                raise InputRejected("bundle_broken", "A file in the ZIP file is damaged.") from error


def _check_directory(file: BinaryIO) -> int:
    """Look at the archive's directory without building anything from it; returns the archive's size.

    zipfile builds an object for every entry before it can be asked how many there are, and it takes the directory from
    where the end says it is; so do we, whatever else the end claims.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _SEARCH_BYTES)
    file.seek(start)
    tail = file.read(_SEARCH_BYTES)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise InputRejected("bundle_broken", "The ZIP file has no end: it is cut off or damaged.")
    entries, length = struct.unpack_from("<HI", tail, at + 10)
    end = start + at
    if tail[max(0, at - 20) : at].startswith(_LOCATOR_64):
        (where,) = struct.unpack_from("<Q", tail, at - 20 + 8)
        end -= 76
        if end < 0 or where != end:
            raise InputRejected("bundle_broken", "The end of the ZIP file is damaged.")
        file.seek(end)
        record = file.read(56)
        if len(record) < 56 or not record.startswith(_END_64):
            raise InputRejected("bundle_broken", "The end of the ZIP file is damaged.")
        entries, length = struct.unpack_from("<QQ", record, 32)
    if entries > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise InputRejected("bundle_too_many", f"The ZIP file holds more than {MAX_MEMBERS} files.")
    if length > end:
        raise InputRejected("bundle_broken", "The end of the ZIP file is damaged.")
    file.seek(end - length)
    _count_entries(file.read(length))
    return size


def _count_entries(directory: bytes) -> None:
    at = count = 0
    while at + 46 <= len(directory) and directory.startswith(_ENTRY, at):
        at += 46 + sum(struct.unpack_from("<HHH", directory, at + 28))
        count += 1
        if count > MAX_MEMBERS:
            raise InputRejected("bundle_too_many", f"The ZIP file holds more than {MAX_MEMBERS} files.")


def _check_members(infos: list[zipfile.ZipInfo], size: int) -> None:
    if sum(info.compress_size for info in infos) > size:
        raise InputRejected("bundle_broken", "Files in the ZIP file overlap.")
    if len(infos) > MAX_MEMBERS:
        raise InputRejected("bundle_too_many", f"The ZIP file holds more than {MAX_MEMBERS} files.")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise InputRejected("bundle_too_large", "The ZIP file unpacks to more than the size limit.")
    if len({info.filename for info in infos}) != len(infos):
        raise InputRejected("bundle_bad_name", "Two files in the ZIP file have the same name.")
    for info in infos:
        parts = info.filename.removesuffix("/").split("/")
        if stat.S_ISLNK(info.external_attr >> 16) or not all(map(_harmless, parts)):
            raise InputRejected("bundle_bad_name", "The ZIP file holds a link or a forbidden name.")
        if info.flag_bits & 0x1:
            raise InputRejected("bundle_encrypted", "The ZIP file is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputRejected("bundle_broken", "The ZIP file uses an unsupported compression.")
        if info.file_size > max(_SMALL, MAX_RATIO * info.compress_size):
            raise InputRejected("bundle_ratio", "A file in the ZIP file unpacks to far more than its size.")


def _harmless(part: str) -> bool:
    # hidden files that viewers and file managers leave in archives are no reason to refuse one
    return safe_name(part.lstrip(".-~") or "x") and part not in {".", ".."}


def copy(archive: zipfile.ZipFile, name: str, to: IO[bytes], piece_bytes: int = 1 << 20) -> None:
    """Write a member out in pieces; zipfile checks its CRC at the end and ends where the directory says.

    Raises:
        InputRejected: ``bundle_broken``.
    """
    try:
        with archive.open(name) as member:
            while piece := member.read(piece_bytes):
                to.write(piece)
    except _BROKEN as error:
        raise InputRejected("bundle_broken", "A file in the ZIP file is damaged.") from error
