"""A lock on a file, as the system knows how; it ends with the process that holds it, however that ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teleread.agent.disk import private_folder


def try_lock(handle: int) -> bool:
    """Lock the open file; False while somebody else does."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def runs(folder: Path) -> bool:
    """Whether an agent owns the folder now."""
    try:
        with open(folder / "running", "r+b") as file:
            return not try_lock(file.fileno())
    except OSError:
        return False


class Owned(ValueError):
    """Another process owns the agent's folder."""


@contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """One agent owns its folder."""
    private_folder(folder)
    with open(folder / "running", "a+b") as file:
        if not try_lock(file.fileno()):
            raise Owned("Another agent runs in this folder already; put files into the folder that it watches.")
        yield
