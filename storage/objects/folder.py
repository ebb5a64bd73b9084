"""Whether a folder's file system can hold objects."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from teleread.errors import Misconfigured
from teleread.storage.objects.streams import os_failure


def check_folder(root: Path) -> None:
    """Raise unless the folder's file system gives hard links that refuse a taken name, and syncs.

    Args:
        root: the folder of a file store, which exists. What is made in it begins with a dot and is removed.

    Raises:
        Misconfigured: ``store_does_not_enforce``.
        StorageError: ``store_io`` or ``store_full`` when not even a file can be made there.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix=".probe-", dir=root))
    except OSError as error:
        raise os_failure(error) from error
    try:
        first, second = place / "first", place / "second"
        try:
            first.write_bytes(b"first")
            second.write_bytes(b"second")
        except OSError as error:
            raise os_failure(error) from error
        _check(place, first, second)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _check(place: Path, first: Path, second: Path) -> None:
    try:
        for path in (first, place):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise _refused("sync files and folders to the disk") from error
    final = place / "final"
    try:
        os.link(first, final)
    except OSError as error:
        raise _refused("give hard links") from error
    try:
        os.link(second, final)
    except FileExistsError:
        pass
    except OSError as error:
        raise _refused("give hard links") from error
    else:
        raise _refused("refuse a hard link to a name that is taken")
    if final.read_bytes() != b"first":
        raise _refused("keep what a hard link names")


def _refused(what: str) -> Misconfigured:
    return Misconfigured(
        "store_does_not_enforce", f"the file system of the object store's folder does not {what}; use another one"
    )
