"""The key ring's file: whose it is, whether it changed, and how what stood in it is overwritten."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teleread.errors import Misconfigured, StorageError


def signature(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_mode


def check_private(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o077 or facts.st_uid not in (os.geteuid(), 0):
        raise Misconfigured(
            "key_file_open_to_others",
            "The key file must be a plain file of the service's own account, mode 0400 or 0600.",
        )


def open_or_none(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def blank(old: int) -> None:
    """Overwrite a file that has no name any more, so that keys which left the ring do not wait in free blocks.

    No more than a courtesy: journals, flash and copy-on-write file systems keep old blocks as they like.
    """
    facts = os.fstat(old)
    if facts.st_nlink:
        return
    with contextlib.suppress(OSError):
        os.fchmod(old, 0o600)
        handle = os.open(f"/proc/self/fd/{old}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, b"\0" * facts.st_size)
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("key_file_io", f"the key file cannot be read or written ({error.strerror})") from error
