"""Looking at a folder tree: what lies there, and reading it only while nobody writes.

Nothing is followed out of the folder: symbolic links are left alone, and a file that is opened must be the one that
was looked at (device and inode), so that a directory swapped in between leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from teleread.errors import InputRejected, PeerError

MAX_DEPTH = 8
MAX_ENTRIES = 100_000
MAX_FILE_BYTES = 2 << 30

_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload", "~")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file system says about one file; any write, replacement or rename changes it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """The stamp of a stat result."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a tree.

    Args:
        files: path relative to the root, with "/", to stamp.
        left: links, devices and the like: left alone.
        denied: relative paths of folders that could not be entered.
        too_much: True when depth or number of entries went beyond the limits.
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    left: int = 0
    denied: tuple[str, ...] = ()
    too_much: bool = False


class Changed(Exception):
    """The file is not, or no longer, the one that was looked at."""


def scan(root: Path, *, max_depth: int = MAX_DEPTH, max_entries: int = MAX_ENTRIES) -> Seen:
    """Look at all files below ``root``.

    Names that programs give to unfinished files are skipped until they are renamed.

    Raises:
        PeerError: ``folder_missing``, ``folder_denied`` for the root itself.
    """
    files: dict[str, Stamp] = {}
    denied: list[str] = []
    left, entries, too_much = 0, 0, False
    for name, entry in _walk(root, denied, max_depth):
        entries += 1
        if entries > max_entries or entry is None:
            too_much = True
            if entries > max_entries:
                break
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone in between
        if stat.S_ISREG(found.st_mode):
            files[name] = Stamp.of(found)
        elif not stat.S_ISDIR(found.st_mode):
            left += 1
    return Seen(files, left, tuple(denied), too_much)


def _walk(root: Path, denied: list[str], max_depth: int) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Entries with their relative names; None stands for a folder that lies too deep."""
    folders = [("", 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise _unusable(error) from error
            denied.append(folder)
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield name, entry
            elif depth + 1 < max_depth:
                yield name, entry
                folders.append((name, depth + 1))
            else:
                yield name, None


def read_unchanged(root: Path, name: str, stamp: Stamp, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file that is, before and after reading, the one that was looked at.

    Raises:
        Changed: it was written, replaced or removed meanwhile.
        InputRejected: ``file_too_large``.
        PeerError: ``file_denied``, ``file_unreadable``.
    """
    if stamp.size > limit:
        raise InputRejected("file_too_large", f"The file is larger than {limit} bytes.")
    try:
        handle = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise PeerError("file_denied", "The file may not be read.") from error
    except OSError as error:
        raise Changed from error
    with os.fdopen(handle, "rb") as file:
        try:
            if Stamp.of(os.fstat(file.fileno())) != stamp:
                raise Changed
            data = file.read(stamp.size + 1)
            if Stamp.of(os.fstat(file.fileno())) != stamp or len(data) != stamp.size:
                raise Changed
        except OSError as error:
            raise PeerError("file_unreadable", "The file could not be read.") from error
    return data


def read_head(root: Path, name: str, stamp: Stamp, size: int) -> bytes:
    """The first bytes of a file as it is now, empty when it cannot be read; for grouping only, never for landing."""
    try:
        handle = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            now = Stamp.of(os.fstat(file.fileno()))
            return file.read(size) if (now.device, now.inode) == (stamp.device, stamp.inode) else b""
    except OSError:
        return b""


def _unusable(error: OSError) -> PeerError:
    if isinstance(error, PermissionError):
        return PeerError("folder_denied", "The folder may not be read.")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return PeerError("folder_missing", "The folder is not there.")
    return PeerError("folder_unreadable", "The folder could not be read.")
