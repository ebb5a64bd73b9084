"""Files that are whole or not there, on any system."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TRIES, _PAUSE_S = 20, 0.05
_FOLDER_TRIES = 200  # a scanner reads all that is in it


# not every system has every one of these
FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS") if hasattr(errno, name))
"""Errors of a disk that takes nothing more, whatever is written."""


def private_folder(folder: Path) -> None:
    """Make a folder that nobody else on this PC can look into; one that is there stays as it is. (On Windows the
    person's own folder, in which it lies by default, is closed to others.)
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a power cut it holds these bytes, or is as it was before; nobody else can read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with open(draft, "wb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(draft, path)
    except OSError:
        # on a full disk what is left of it would take room from what comes
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _put_in_place(draft: Path, path: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Replace, also on Windows, where that fails for a moment while a virus scanner or another program reads it."""
    for _ in range(_TRIES - 1):
        try:
            os.replace(draft, path)
        except PermissionError:
            pause(_PAUSE_S)
        else:
            return
    os.replace(draft, path)


def renamed(folder: Path, to: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Give a folder another name that nothing has yet. (Windows replaces no folder, and fails for a moment while a
    virus scanner looks into this one.)
    """
    for _ in range(_FOLDER_TRIES - 1):
        try:
            os.rename(folder, to)
        except PermissionError:
            pause(_PAUSE_S)
        else:
            return
    os.rename(folder, to)


def write_json(path: Path, value: Any) -> None:
    """:func:`write_whole` of a value as JSON."""
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote; None where there is no such file or it cannot be understood."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system knows how: Windows does it by itself."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # a network share that cannot; the files themselves are durable
    finally:
        os.close(handle)
